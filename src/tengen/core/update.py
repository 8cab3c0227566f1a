"""In-place updates of many tensors as one Program: what an optimizer step is."""

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
    the scalars. Small floats are computed with as float32 and rounded at the end, however many kernels that takes.
    """

    rule: Callable[..., Any]
    count: int
    targets: int
    inputs: int

    @property
    def name(self) -> str:
        return getattr(self.rule, "__name__", "update")

    def expand(self, *inputs: Value) -> Sequence[Value]:
        split, rest = self.count * self.targets, self.count * (self.targets + self.inputs)
        scalars, made = inputs[rest:], []
        wide = [cast(x, "float32") if x.dtype in NARROW_FLOATS else x for x in inputs]
        for i in range(self.count):
            targets = inputs[i * self.targets : (i + 1) * self.targets]
            others = wide[split + i * self.inputs : split + (i + 1) * self.inputs]
            result = self.rule(*wide[i * self.targets : (i + 1) * self.targets], *others, *scalars)
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
) -> None:
    """For each i: targets[i] = rule(*targets[i], *inputs[i], *scalars), all in one Program, in place where memory
    allows.

    rule: written with operators and functional calls; its identity names the Program, so use module-level functions or
    cached ones.
    scalars: numbers that may change from call to call.
    """
    if not targets:
        return
    op = FusedUpdate(rule, len(targets), len(targets[0]), len(inputs[0]))
    update(op, op.count * op.targets, *chain(*targets), *chain(*inputs), *scalars)
