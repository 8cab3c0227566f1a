"""Sums of products on GPUs: a Nest with a loop for each dim of the result, which reduces the loops of k. An element of
the result is the work of one thread, or of a few that share its sum.

Operands are read where they lie. Where a window leaves the image it sees what stands for 0, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

from ...kernels.dtypes import COMPUTE
from ...kernels.epilogue import CHANNEL, ELEMENT, NUMBER, Epilogue
from ...plan import ITEM_BYTES
from ...program import Value
from ...view import View
from ..nests.lower import Emitter, Operand
from ..places import Location
from .device_loops import DeviceLoops, DeviceRequest, launches, layout
from .problem import Bid, KernelRun, Offer, Storage, Unit, Way

SLOWER = 8
"""How much longer a multiply-add takes than one of a tile, because its factors come from memory."""


def _by_threads(r: DeviceRequest) -> Bid:
    """An element for each thread, which is always possible."""

    def cost() -> int:
        return SLOWER * sum(prod(loops.shape) for loops in launches(r, r.strides or layout(r)))

    return Bid(cost, partial(_offered, r))


WAYS = (Way("threads", ("matmul", "forward", "by data", "by weight"), _by_threads, on_gpus=True),)


def _offered(r: DeviceRequest) -> Offer:
    strides, end = r.strides or layout(r), r.storage.epilogue
    why_not = "threads take no sums over rows" if end and end.sums else None
    storage = r.storage._replace(epilogue=None) if why_not else r.storage

    def make() -> tuple[Sequence[KernelRun], int]:
        return [run_threads(r.unit, storage, loops) for loops in launches(r, strides)], 0

    return Offer(None, None, strides, prod(r.shape), make, why_not=why_not)


# -- kernels -----------------------------------------------------------------------------------------------------------


def run_threads(unit: Unit, storage: Storage, loops: DeviceLoops, operands: Sequence[str] = ("a", "b")) -> KernelRun:
    """The launch of a kernel for these loops. operands: what is multiplied; without b, the elements of a are summed."""
    e, end, sums = Emitter(_in_memory, loops.shape), storage.epilogue, COMPUTE[storage.out]
    names = [*operands, "out", *(end.buffers if end else ())]
    a, b, c = loops.views
    factors = []
    views = (storage.a, a._replace(fill=float(storage.zero))), (storage.b, b)
    for name, (dtype, view) in zip(operands, views, strict=False):
        access = e.operand(Operand(names.index(name), dtype, view))
        factors.append(e.cast(e("load", dtype=COMPUTE[dtype], attr=access), storage.out))
    if storage.zero:
        factors[0] = e("sub", factors[0], e("const", dtype=sums, attr=storage.zero), dtype=sums)
    factor = e("mul", *factors, dtype=sums) if len(factors) > 1 else factors[0]
    value, dtype = e.reduce([factor], "sum", storage.out), storage.out
    out = e.operand(Operand(names.index("out"), end.dtype if end else dtype, c))
    if end:
        dtype, value = end.dtype, end.emitted(e, value, _places(e, end, loops, names))[end.result]
    e("store", value, dtype=COMPUTE[dtype], attr=out)
    return _finished(e, unit, len(loops.kept), names, end)


def _places(e: Emitter, end: Epilogue, loops: DeviceLoops, names: Sequence[str]) -> dict[int, int]:
    """The accesses of what an epilogue reads: first memory, then numbers."""
    still = View(loops.shape, (0,) * len(loops.shape))
    channels = still._replace(strides=tuple([loop.channel for loop in loops.all]))
    views, found = {NUMBER: still, CHANNEL: channels, ELEMENT: loops.views[2]}, dict[int, int]()
    for number, source in enumerate(end.sources):
        if source.buffer is not None:
            found[number] = e.operand(Operand(names.index(source.buffer), source.dtype, views[source.along]))
    for number, source in enumerate(end.sources):
        if source.is_parameter:  # one that differs from the others; its value is known later
            found[number] = e.operand(Operand(None, f"param_{source.dtype}", still, parameter=number))
    return found


def _finished(e: Emitter, unit: Unit, kept: int, names: Sequence[str], end: Epilogue | None) -> KernelRun:
    """The launch of what an emitter has collected, without the numbers of the epilogue."""
    assert unit.device is not None
    made = e.finish(range(kept, len(e.shape)), unit.device)
    assert made.blocks is not None
    after = len(made.source.blocks(made.loops.extents, ()).params)
    at = len(made.params) - after - len(end.parameters if end else ())
    params = made.params[:at] + made.params[len(made.params) - after :]
    buffers = [
        (names[0], 0) if o.buffer is None else (names[o.buffer], o.view.offset * ITEM_BYTES[o.dtype])
        for o in e.operands
    ]
    run = KernelRun(made.source, tuple(buffers), params, made.tiles, made.work)
    return run._replace(epilogue=end, numbers_at=at, blocks=made.blocks._replace(params=params))


def _in_memory(value: Value) -> Location:
    raise AssertionError("the operands of a contraction are buffers with names")
