"""The part of a recorded function that depends only on tensors that stay the same, or on nothing: it is computed once,
not at each call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._rt import Tensor, apply
from ..compiler.backend import constants
from ..compiler.program import Builder, Program, Type, Value
from ..core.recorded import Recorded

NOTHING = Type("weak_int", ())  # an op must have an input


class Folded(NamedTuple):
    """program: what is left to do, from the inputs that vary and from `values`. saves: whether it does less than
    before."""

    program: Program
    values: list[Any]
    saves: bool


def fold(program: Program, varying: Sequence[Value], known: Mapping[Value, Tensor], most: float = math.inf) -> Folded:
    """The Program without the part that its `known` inputs determine, if that takes at most `most` bytes. The others
    are `varying`."""
    once, rest = cut = constants.split(program, varying, most)
    made = tuple(v for v in once.outputs if v not in known)
    values: dict[Value, Any] = dict(known)
    if made:
        inputs, given = _some(once.inputs, [known[v] for v in once.inputs])
        results = apply(Recorded("constants", Program(inputs, once.nodes, made)), *given)
        values.update(zip(made, results if isinstance(results, tuple) else (results,), strict=True))
    left, further = _some(rest.inputs, [values[v] for v in once.outputs])
    return Folded(Program(left, rest.nodes, rest.outputs), further, cut.computes)


def _some(inputs: tuple[Value, ...], values: list[Any]) -> tuple[tuple[Value, ...], list[Any]]:
    """At least one input: a number that nothing reads, if there is none."""
    return (inputs, values) if inputs else ((Builder().input(NOTHING),), [0])
