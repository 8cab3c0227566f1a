"""Scatters on machines whose threads write at the same time: the result does not depend on their order.

Where values are set, the last one wins: a first kernel finds which that is for each place, a second one writes it alone.
Integers are added in memory, each in one step; narrow ones in int32. Floats become integers first, multiples of a power
of 2 such that the sum of all of them fits into 62 bits. So their sum is exact, up to that unit, and has no order. It is
rounded once, when it is added to the base. Values that are not finite leave flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan

from ..kernels.dtypes import COMPUTE, NARROW_FLOATS, NARROW_INTS
from ..kernels.target import Target
from ..program import Node, Place, Scatter, Type
from ..view import View, contiguous
from .groups import Group
from .nests.lower import Emitter, Operand
from .places import Location
from .steps import Steps

ADDED_IN_PLACE = ("int32", "int64", "bool")
FEW = 32  # additions in sequence that are not worth another way
THREADS = 1 << 17  # places apart that keep a machine busy without it
BITS = 61
SMALLEST = 2.0**-149  # float32's


def at_once(target: Target, op: Scatter | Place, dtype: str, apart: int, meeting: int) -> bool:
    """Whether so many writes, `meeting` in sequence at `apart` places, are made at once. Sums of float64 keep their
    order: their unit would be coarser than its own."""
    if not target.at_once or not FEW <= meeting < 1 << 31 or apart >= THREADS:
        return False
    return dtype != "float64" if op.mode == "add" else isinstance(op, Scatter)


def set_at_once(
    steps: Steps, e: Emitter, node: Node, result: Location, meeting: Sequence[int], written: set[int]
) -> None:
    """Append the steps of a Scatter that sets. meeting: the dims along which writes may meet. The rest is as for
    `sum_at_once`; the base is in place."""
    op, shape = node.op, node.inputs[1].shape
    assert isinstance(op, Scatter) and result.buffer is not None
    last = _zeros(steps, "int32", result.view)
    first = Emitter(steps.locate, shape)
    first.put(op, node, last, _number(first, shape, meeting), "int32", "greatest")
    assert last.buffer is not None
    steps.launch(first, (), op.name, {last.buffer}, bases=(last.buffer,))
    e.set_last(op, node, result, last, _number(e, shape, meeting))
    steps.launch(e, (), op.name, {*written, result.buffer}, bases=(result.buffer,))


def _number(e: Emitter, shape: tuple[int, ...], dims: Sequence[int]) -> int:
    """The number of a place along these dims, from 1 on, int32."""
    strides, step = [0] * len(shape), 1
    for d in reversed(dims):
        strides[d], step = step, step * shape[d]
    place = e("load", dtype="int64", attr=e.operand(Operand(None, "iota", View(shape, tuple(strides)))))
    return e("add", e("cast", place, dtype="int32"), e("const", dtype="int32", attr=1), dtype="int32")


def sum_at_once(steps: Steps, group: Group, e: Emitter, result: Location, meeting: int, written: set[int]) -> None:
    """Append the steps of a Scatter or Place that adds.

    e: has the value that is written, and what else its kernel stores in `written`. result: where the sums go; for dtypes
    that are ADDED_IN_PLACE the base is there already. meeting: how many values may meet.
    """
    node = group.nodes[-1]
    dtype = node.inputs[0].dtype
    if dtype in ADDED_IN_PLACE:
        _launch(steps, e, node, [(result, e.cast(e.value(node.inputs[1]), dtype), dtype)], written)
    elif dtype in NARROW_INTS:
        total = _zeros(steps, "int32", result.view)
        _launch(steps, e, node, [(total, e.value(node.inputs[1]), "int32")], written)
        f = Emitter(steps.locate, node.inputs[0].shape)
        added = f("add", f.value(node.inputs[0]), _read(f, total, "int32"), dtype="int32")
        _finish(steps, f, node, f.narrow(added, dtype), result)
    else:
        _floats(steps, group, e, result, meeting, written)


def _floats(steps: Steps, group: Group, e: Emitter, result: Location, meeting: int, written: set[int]) -> None:
    node = group.nodes[-1]
    largest = _largest(steps, group)
    unit = BITS - (meeting - 1).bit_length()
    x = e.cast(e.value(node.inputs[1]), "float32")
    wide = e.cast(x, "float64")
    finite = e("lt", e("abs", x, dtype="float32"), e("const", dtype="float32", attr=inf), dtype="bool")
    scale = e("div", e("const", dtype="float64", attr=2.0**unit), _power(e, largest), dtype="float64")
    zero = e("const", dtype="float64", attr=0.0)
    scaled = e("mul", e("select", finite, wide, zero, dtype="float64"), scale, dtype="float64")
    lost = e("isnan", x, dtype="bool")
    flags = []
    for sign in (inf, -inf):
        here = e("or", lost, e("eq", x, e("const", dtype="float32", attr=sign), dtype="bool"), dtype="bool")
        flags.append((_zeros(steps, "bool", result.view), here, "bool"))
    total = _zeros(steps, "int64", result.view)
    _launch(steps, e, node, [(total, e("cast", scaled, dtype="int64"), "int64"), *flags], written)

    f = Emitter(steps.locate, node.inputs[0].shape)
    whole = f("cast", _read(f, total, "int64"), dtype="float64")
    step = f("mul", _power(f, largest), f("const", dtype="float64", attr=2.0**-unit), dtype="float64")
    summed = f("mul", whole, step, dtype="float64")
    up, down = (_read(f, place, "bool") for place, _, _ in flags)
    for flag, number in ((up, inf), (down, -inf), (f("and", up, down, dtype="bool"), nan)):
        summed = f("select", flag, f("const", dtype="float64", attr=number), summed, dtype="float64")
    own = f("cast", f.value(node.inputs[0]), dtype="float64")
    added = f("add", own, summed, dtype="float64")
    odd = "odd" if node.inputs[0].dtype in NARROW_FLOATS else None  # rounded once
    _finish(steps, f, node, f("cast", added, dtype="float32", attr=odd), result)


def _largest(steps: Steps, group: Group) -> Location:
    """The largest size of a finite value that is written, one number, in steps that many threads take part in."""
    node, shape = group.nodes[-1], group.shape
    e = Emitter(steps.locate, shape)
    for other in group.nodes[:-1]:
        e.node(other)
    size = e("abs", e.cast(e.value(node.inputs[1]), "float32"), dtype="float32")
    finite = e("lt", size, e("const", dtype="float32", attr=inf), dtype="bool")
    number = e("select", finite, size, e("const", dtype="float32", attr=0.0), dtype="float32")
    rows = (*shape[:1], *(1 for _ in shape[1:]))
    place = _maxima(steps, e, number, range(1, len(shape)), rows)
    second = Emitter(steps.locate, rows)
    return _maxima(steps, second, _read(second, place, "float32"), (0,), (1,) * len(shape))


def _maxima(steps: Steps, e: Emitter, number: int, axes: Sequence[int], shape: tuple[int, ...]) -> Location:
    buffer = steps.buffer(Type("float32", shape))
    if axes:
        number = e.reduce([number], "max", "float32")
    view = contiguous(shape)
    e("store", number, dtype="float32", attr=e.operand(Operand(buffer, "float32", view.broadcast(e.shape))))
    steps.launch(e, axes, "largest", {buffer})
    return Location(buffer, view)


def _power(e: Emitter, largest: Location) -> int:
    """The power of 2 below the largest value, float64."""
    one = largest.view.reshape(())
    assert one is not None
    size = _read(e, Location(largest.buffer, one), "float32")
    least = e("max", size, e("const", dtype="float32", attr=SMALLEST), dtype="float32")
    return e("power", e("cast", least, dtype="float64"), dtype="float64")


def _zeros(steps: Steps, dtype: str, layout: View) -> Location:
    """A buffer of zeros that lies alike."""
    buffer = steps.buffer(Type(dtype, layout.shape))
    fill = Emitter(steps.locate, layout.shape)
    fill.fill(dtype, buffer, layout)
    steps.launch(fill, (), "zeros", {buffer})
    return Location(buffer, layout)


def _read(e: Emitter, place: Location, dtype: str) -> int:
    return e("load", dtype=COMPUTE[dtype], attr=e.operand(Operand(place.buffer, dtype, e.over(place.view))))


def _launch(steps: Steps, e: Emitter, node: Node, sums: Sequence[tuple[Location, int, str]], written: set[int]) -> None:
    """The kernel that adds all numbers (place, number, dtype) where the node writes."""
    assert isinstance(node.op, (Scatter, Place))
    for place, number, dtype in sums:
        e.put(node.op, node, place, number, dtype, "at once")
    buffers = [place.buffer for place, _, _ in sums if place.buffer is not None]
    steps.launch(e, (), node.op.name, {*written, *buffers}, bases=buffers)


def _finish(steps: Steps, f: Emitter, node: Node, number: int, result: Location) -> None:
    assert result.buffer is not None
    access = f.operand(Operand(result.buffer, node.inputs[0].dtype, f.over(result.view)))
    f("store", number, dtype=COMPUTE[node.inputs[0].dtype], attr=access)
    steps.launch(f, (), node.op.name, {result.buffer})
