"""In-place updates of many tensors as one Program, such as an optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from .._rt import Tensor, update
from ..base.dtype import NARROW_FLOATS
from ..compiler.program import Composite, Op, Value
from .ops.elemwise import cast


class FusedUpdate(Composite):
    """For each of `count` parts: targets = rule(*targets, *inputs, *scalars). Inputs: all targets, all other inputs,
    the scalars. Small floats are computed as float32 and rounded at the end, however many kernels that takes.

    together: the rule is called once, with a list of the targets of each part, a list of its inputs, and the scalars.
    """

    rule: Callable[..., Any]
    count: int
    targets: int
    inputs: int
    together: bool = False

    @property
    def effect(self) -> bool:
        """Whether several processes update together, as the rule says."""
        return bool(getattr(self.rule, "effect", False))

    @property
    def name(self) -> str:
        return getattr(self.rule, "__name__", "update")

    def expand(self, *inputs: Value) -> Sequence[Value]:
        split, rest = self.count * self.targets, self.count * (self.targets + self.inputs)
        scalars, made = inputs[rest:], []
        wide = [cast(x, "float32") if x.dtype in NARROW_FLOATS else x for x in inputs]
        parts = [wide[i * self.targets : (i + 1) * self.targets] for i in range(self.count)]
        others = [wide[split + i * self.inputs : split + (i + 1) * self.inputs] for i in range(self.count)]
        if self.together:
            results = self.rule(parts, others, *scalars)
        else:
            results = [self.rule(*part, *other, *scalars) for part, other in zip(parts, others, strict=True)]
        for i, result in enumerate(results):
            targets = inputs[i * self.targets : (i + 1) * self.targets]
            new = result if isinstance(result, (tuple, list)) else (result,)
            if len(new) != len(targets):
                raise ValueError(f"{self.name} returned {len(new)} values for {len(targets)} tensors")
            made += [cast(value, target.dtype) for value, target in zip(new, targets, strict=True)]
        return made

    grad = Op.grad

    @classmethod
    def differentiable(cls) -> bool:
        return False


def fused_update(
    rule: Callable[..., Any],
    targets: Sequence[tuple[Tensor, ...]],
    inputs: Sequence[tuple[Tensor, ...]],
    scalars: Sequence[float] = (),
    together: bool = False,
) -> None:
    """For each i: targets[i] = rule(*targets[i], *inputs[i], *scalars), all in one Program, in place where memory
    allows.

    rule: written with operators and functional calls. Its identity names the Program, so use module-level or cached
    functions.
    scalars: numbers that may change from call to call.
    together: whether the rule does all i at once; see FusedUpdate.
    """
    if not targets:
        return
    op = FusedUpdate(rule, len(targets), len(targets[0]), len(inputs[0]), together)
    update(op, op.count * op.targets, *chain(*targets), *chain(*inputs), *scalars)
