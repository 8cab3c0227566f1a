"""Reductions over a contraction's rows, from sums that its kernel takes: which are possible, and what combines the
sums.

The kernel has the results of a tile of rows in registers. So it can also sum them, and values computed from them, for
each column (`targets/contractions/column_sums.py`): for the mean and the variance of a convolution's result, or the
gradient of a bias. A group of such reductions then reads a few numbers per tile of rows, not the result.

A reduction may be about a value that is not known yet, like the squared distance from the mean. Then the kernel takes
the sums about a shift s of its own. From the sum S of the n distances v - s and the sum Q of their squares follow the
sums about any r. With d = s - r they are S + n d and Q + d (2 S + n d).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ...kernels.dtypes import COMPUTE
from ...kernels.epilogue import ColumnSum, slots
from ...kernels.nest import Instr
from ...program import Contraction, Elementwise, Reduction, Value, ViewOp
from ...values import reshape_source
from ...view import View
from ..groups import Group
from ..nests.lower import Emitter, Operand, reshaped
from ..places import Taken, Wanted
from ..steps import Steps

FLOATS = ("float32", "float64")


def folds_rows(group: Group, product: Value) -> bool:
    """Whether a group reduces a contraction's result, or what element-wise nodes make of it, over everything that is a
    row to the contraction's kernel. The group may have the result's shape, or one that cuts its rows into several dims.
    """
    op, shape = product.op, group.shape
    channels = op.roles.channels if isinstance(op, Contraction) else None
    if channels is None or not (group.axes and product.size):
        return False
    channel = range(product.ndim)[channels]
    if shape != product.shape:
        if channel != product.ndim - 1 or prod(shape) != product.size or shape[-1] != product.shape[-1]:
            return False
        channel = len(shape) - 1
    return {d for d in group.axes if shape[d] != 1} == {d for d, s in enumerate(shape) if s != 1 and d != channel}


# -- what is asked of an epilogue --------------------------------------------------------------------------------------


def wanted(
    steps: Steps, e: Emitter, group: Group, product: Value, later: Mapping[int | None, Value]
) -> dict[Value, Wanted]:
    """The sums that the reductions of a group want. Their code is added to that of the epilogue `e`. Empty if the
    kernel cannot take one of them.

    later: the buffers that `e` finds for values that are not known before the contraction has run.
    """
    e = e.seen(lambda view: reshaped(view.broadcast(group.shape), e.shape))
    found: dict[Value, Wanted] = {}
    for node in group.nodes:
        (out,) = node.outputs
        others = [v for v in node.inputs if v not in group.passes and not _defines(e, v, product)]
        if not all(v.shape != group.shape or steps.holds(v) for v in others):
            return {}
        if group.shape != e.shape and not all(v in steps.uniform or _reshapes(e, v, group.shape) for v in others):
            return {}
        if isinstance(node.op, Reduction):
            what = _wanted(e, node.op, out, e.value(node.inputs[0]), later)
            if what is None:
                return {}
            found[out] = what
        elif not isinstance(node.op, (Elementwise, ViewOp)):
            return {}
        elif out.shape == group.shape:
            e.node(node)
    return found


def _reshapes(e: Emitter, value: Value, shape: tuple[int, ...]) -> bool:
    """Whether strides can express how an operand of a group of this shape lies over the loops of the kernel."""
    return e.locate(value).view.broadcast(shape).reshape(e.shape) is not None


def _defines(e: Emitter, value: Value, product: Value) -> bool:
    """Whether a value is the product, perhaps reshaped. If so, it is defined as that in `e`."""
    if reshape_source(value) is not reshape_source(product):
        return False
    e.define(value, e.value(product))
    return True


def _wanted(e: Emitter, op: Reduction, out: Value, number: int, later: Mapping[int | None, Value]) -> Wanted | None:
    """How the sum of a value of the code follows from sums that the kernel can take; None if it does not."""
    dtype = COMPUTE[out.dtype]
    if op.monoid != "sum" or dtype not in FLOATS or e.code[number].dtype != dtype:
        return None
    late = _late(e, later)
    if number not in late:
        return Wanted(number)
    instr, degree = e.code[number], 1
    if instr.op == "mul" and instr.args[0] == instr.args[1]:
        instr, degree = e.code[instr.args[0]], 2
    if instr.op != "sub":
        return None
    value, shift = instr.args
    if value in late or shift not in late or e.code[shift].op != "load":
        return None
    return Wanted(value, degree, later[_source(e, e.code[shift])])


def _source(e: Emitter, load: Instr) -> int | None:
    """The buffer that is loaded from."""
    assert isinstance(load.attr, int)
    return e.operands[load.attr].buffer


def _late(e: Emitter, later: Mapping[int | None, Value]) -> set[int]:
    """The values of the code that depend on one that is not known yet."""
    found: set[int] = set()
    for number, instr in enumerate(e.code):
        if any(a in found for a in instr.args) or (instr.op == "load" and _source(e, instr) in later):
            found.add(number)
    return found


# -- combining the sums ------------------------------------------------------------------------------------------------


def column_sums(found: Mapping[Value, Wanted]) -> tuple[ColumnSum, ...]:
    """What the kernel sums: each value once, about a shift if a reduction needs that."""
    shifted = {x.number for x in found.values() if x.degree}
    return tuple(ColumnSum(number, number in shifted) for number in dict.fromkeys(x.number for x in found.values()))


def taken(found: Mapping[Value, Wanted], buffer: int, tiles: int) -> dict[Value, Taken]:
    """Where the kernel has put the sums that the reductions want."""
    sums = column_sums(found)
    starts = {x.value: slots(sums[:i]) - any(y.shifted for y in sums[:i]) for i, x in enumerate(sums)}
    shifted = {x.value for x in sums if x.shifted}
    return {
        out: Taken(x, buffer, tiles, slots(sums), starts[x.number], x.number in shifted) for out, x in found.items()
    }


def combine(steps: Steps, group: Group, places: Mapping[Value, Taken]) -> Emitter:
    """The code of the kernel that computes what the group does, over (tiles, *its row shape). It reduces the first dim."""
    tiles = next(places[v].tiles for v in group.passes if v in places)
    shape = (tiles, *group.row_shape)
    one = (1, *group.row_shape)
    e = Emitter(steps.locate, shape, lambda view: reshaped(view.broadcast(group.row_shape), one).broadcast(shape))
    for node in group.nodes:
        (out,) = node.outputs
        if out in places:
            dtype = COMPUTE[out.dtype]
            e.define(out, e.reduce([_sum(e, places[out], dtype, shape)], "sum", dtype))
        elif out.shape != group.shape:
            e.node(node)
    return e


def _sum(e: Emitter, place: Taken, dtype: str, shape: tuple[int, ...]) -> int:
    """The sum of a reduction for one tile of rows."""
    channels = prod(shape[1:])
    strides = (place.slots * channels, *(int(extent != 1) for extent in shape[1:]))

    def load(slot: int) -> int:
        view = View(shape, strides, slot * channels)
        return e("load", dtype=dtype, attr=e.operand(Operand(place.buffer, dtype, view)))

    if not place.shifted:
        return load(place.slot)
    shift, first, count = load(place.slot), load(place.slot + 1), load(place.slots - 1)
    about = place.wanted.about
    distance = shift if about is None else e("sub", shift, e.value(about), dtype=dtype)
    moved = e("add", first, e("mul", count, distance, dtype=dtype), dtype=dtype)
    if place.wanted.degree < 2:
        return moved
    both = e("mul", distance, e("add", first, moved, dtype=dtype), dtype=dtype)
    return e("add", load(place.slot + 2), both, dtype=dtype)
