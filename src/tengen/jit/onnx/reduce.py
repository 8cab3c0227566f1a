"""Reductions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...base.dtype import is_float
from ...core.ops.base import statistics_dtype
from ...core.ops.formula import Mean
from ...core.ops.reduce import ArgExtreme, Reduce, Within
from ...core.ops.scan import CumSum, PrefixFold
from ...core.ops.shape import Reduced
from ...core.ops.sort import ArgSort, TopK
from .graph import Graph, Operand
from .rules import rule, write_op

OPERATORS = {
    "SUM": "ReduceSum",
    "PRODUCT": "ReduceProd",
    "MAX": "ReduceMax",
    "MAX_NUMBER": "ReduceMax",
    "MIN": "ReduceMin",
}


@rule(Reduce)
def reduce(g: Graph, op: Reduce, x: Operand) -> Operand:
    y = g.working(x, x.dtype)
    made = _reduced(g, OPERATORS[op.mode], y, op.axes)
    if op.mode not in ("MAX", "MIN") or not is_float(y.dtype):
        return made
    # ONNX leaves open what happens to nan, and ONNX Runtime loses it, so it is added to the result.
    nans = g.where(g.node("IsNaN", y, dtype="bool"), y, 0)
    return made + _reduced(g, "ReduceSum", nans, op.axes)


@rule(Mean)
def mean(g: Graph, op: Mean, x: Operand) -> Operand:
    return _reduced(g, "ReduceMean", g.cast(x, statistics_dtype(x.dtype)), op.axes)


def _reduced(g: Graph, operator: str, x: Operand, axes: Sequence[int]) -> Operand:
    return g.node(operator, x, g.integers(axes), keepdims=1) if axes else x  # no axes would mean all axes


@rule(Reduced)
def reduced(g: Graph, op: Reduced, *xs: Operand) -> Operand:
    (y,) = write_op(g, op.op, xs)
    return y if op.keepdims or not op.axes else g.node("Squeeze", y, g.integers(op.axes))


@rule(Within)
def within(g: Graph, op: Within, x: Operand, *limits: Operand) -> Operand:
    places, ends = limits[: len(op.axes)], limits[len(op.axes) :]
    inside = [g.node("Less", *pair, dtype="bool") for pair in zip(places, ends, strict=True)]
    for other in inside[1:]:
        inside[0] = g.node("And", inside[0], other, dtype="bool")
    return g.where(inside[0], x, op.fill)


@rule(ArgExtreme)
def arg_extreme(g: Graph, op: ArgExtreme, x: Operand, order: Operand) -> Operand:
    """The second operand is always the running number over the axes, which ONNX counts itself."""
    others = [d for d in range(x.ndim) if d not in op.axes]
    y = g.transpose(g.working(x, x.dtype), [*others, *op.axes])
    if len(op.axes) != 1:
        y = g.reshape(y, [*(x.shape[d] for d in others), prod(x.shape[d] for d in op.axes)])
    if y.dtype == "int64":  # ONNX Runtime has no ArgMax for it
        largest = int(op.monoid == "argmax")
        _, place = g.node_of("TopK", [y, g.integers([1])], [y.dtype, "int64"], axis=-1, largest=largest)
    else:
        operator = "ArgMax" if op.monoid == "argmax" else "ArgMin"
        place = g.node(operator, y, dtype="int64", axis=-1, keepdims=1)
    if len(op.axes) == 1:
        back = sorted(range(x.ndim), key=[*others, *op.axes].__getitem__)
        return g.transpose(place, back)
    return g.reshape(place, [1 if d in op.axes else s for d, s in enumerate(x.shape)])


@rule(TopK)
def top_k(g: Graph, op: TopK, x: Operand) -> Sequence[Operand]:
    return _first(g, op.k, op.descending, x)


@rule(ArgSort)
def arg_sort(g: Graph, op: ArgSort, x: Operand) -> Operand:
    return _first(g, op.k, op.descending, x)[1]


def _first(g: Graph, k: int, descending: bool, x: Operand) -> Sequence[Operand]:
    """Among equal elements the first one comes first in both."""
    y = g.working(x, x.dtype)
    return g.node_of("TopK", [y, g.integers([k])], [y.dtype, "int64"], axis=-1, largest=int(descending), sorted=1)


@rule(PrefixFold)
def prefix(g: Graph, op: PrefixFold, x: Operand) -> Operand | None:
    if op.monoid != "sum":
        return None
    return g.node("CumSum", g.working(x, x.dtype), g.constant(op.axis, "int64"))


@rule(CumSum)
def cumsum(g: Graph, op: CumSum, x: Operand) -> Operand:
    return g.node(
        "CumSum",
        g.working(x, "int32" if x.dtype == "bool" else x.dtype),
        g.constant(op.axis, "int64"),
        reverse=int(op.reverse),
    )
