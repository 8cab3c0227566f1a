"""Runs Plans through ctypes, without tengen's runtime: what the compiler's own tests stand on."""

from __future__ import annotations

import ctypes

import numpy as np
from gpu import device, launch, uploaded
from numpy.lib.stride_tricks import as_strided

from tengen.base.dtype import NUMPY_CLASS
from tengen.compiler import compile_program
from tengen.compiler.plan import STATUS, DeviceLaunch, Launch
from tengen.compiler.program import Type, build
from tengen.compiler.view import View

GUARD = 256
"""Bytes around each buffer, at least, that no kernel may touch."""

WEAK = {"weak_int": np.int64, "weak_float": np.float64, "bfloat16": np.uint16}


def numpy_dtype(name):
    return np.dtype(WEAK.get(name) or NUMPY_CLASS[name])


def type_of(array, dtype=None):
    return Type(dtype or array.dtype.name, array.shape)


def run_op(op, *arrays, dtypes=None, target=None):
    """The outputs of one op on NumPy arrays (any strides); Python numbers are weak scalars."""
    prepared, types, views = [], [], []
    for i, given in enumerate(arrays):
        weak = {int: "weak_int", float: "weak_float"}.get(type(given))
        array = np.asarray(given, dtype=WEAK.get(weak)) if weak else given
        name = weak or (dtypes or {}).get(i) or array.dtype.name
        prepared.append(array)
        types.append(Type(name, array.shape))
        views.append(View(array.shape, tuple(s // array.itemsize for s in array.strides)))
    plan = compile_program(build(op, types), views, target)
    return run_plan(plan, prepared)


def run_plan(plan, arrays):
    """Run a Plan; returns its outputs as NumPy arrays. With results in the memory of inputs they are the same."""
    results = _run(plan, arrays, ())
    if plan.donations:
        for found, other in zip(results, _run(plan, arrays, plan.donations), strict=True):
            np.testing.assert_array_equal(found, other)
    return results


def _run_on_device(plan, arrays, donations):
    """The same for a Plan of a GPU, on the test double of its driver."""
    status = np.zeros(1, np.int64)
    raws, starts = zip(*map(_bytes_of, arrays), strict=True) if arrays else ((), ())
    donated = dict(donations)
    with (
        uploaded([*raws, status]) as held,
        uploaded([np.full(size, 0xAB, np.uint8) for size in plan.allocations]) as own,
    ):
        bases = [address + start for address, start in zip(held, starts, strict=False)]
        bases += [bases[donated[n]] if n in donated else base for n, base in enumerate(own, len(bases))]
        for step in plan.steps:
            if step.skip_if_donated is None or step.skip_if_donated not in donated:
                places = [held[-1] if slot == STATUS else bases[slot] + offset for slot, offset in step.buffers]
                launch(step.kernel, step.grid, places)
        found = [_from_device(placed, bases[placed.slot]) for placed in plan.outputs]
    if status[0]:
        raise IndexError(f"status {status[0]}")
    return found


def _bytes_of(array):
    """The memory of an array, from the lowest byte on, and where its first element is."""
    copy = _copied(array)
    start = copy.ctypes.data - copy.base.ctypes.data if copy.size else 0
    return copy.base, start


def _from_device(placed, address):
    low, reach = _span(placed)
    size = numpy_dtype(placed.type.dtype).itemsize
    raw = (
        device().get(address + placed.offset + low * size, (reach - low) * size, "uint8")
        if reach > low
        else np.zeros(0, np.uint8)
    )
    return _array(placed._replace(offset=0), {placed.slot: raw.ctypes.data - low * size}).copy()


def _span(placed):
    """The elements that a value lies on, counted from its first."""
    pairs = list(zip(placed.strides, placed.type.shape, strict=True))
    low, high = (sum(limit(s, 0) * (n - 1) for s, n in pairs) for limit in (min, max))
    return low, 1 + high if placed.type.size else low


def _run(plan, arrays, donations):
    """The outputs of a Plan. donations: (slot, input) whose memory is one; steps that only copy from there are skipped."""
    if any(isinstance(step, DeviceLaunch) for step in plan.steps):
        return _run_on_device(plan, arrays, donations)
    memory = [np.full(size + 2 * GUARD, 0xAB, np.uint8) for size in plan.allocations]
    status = np.zeros(1, np.int64)
    arrays = [_copied(a) if any(i == n for _, n in donations) else a for i, a in enumerate(arrays)]
    bases = [a.ctypes.data for a in arrays] + [-(-m.ctypes.data // 64) * 64 + GUARD // 2 for m in memory]
    own = list(bases)
    for slot, number in donations:
        bases[slot] = bases[number]
    donated = {slot for slot, _ in donations}
    for step in backward_groups(plan.steps):
        if not isinstance(step, Launch):
            step.function([_array(p, bases) for p in step.inputs], [_array(p, bases) for p in step.outputs])
        elif step.skip_if_donated is None or step.skip_if_donated not in donated:
            pointers = [status.ctypes.data if slot == STATUS else bases[slot] + offset for slot, offset in step.buffers]
            kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(
                step.address
            )
            buffers = (ctypes.c_void_p * len(pointers))(*pointers)
            params = (ctypes.c_int64 * max(len(step.params), 1))(*step.params)
            for tile in reversed(range(step.tiles)):  # any order must do
                kernel(buffers, params, tile, tile + 1)
    for m, base, size in zip(memory, own[len(arrays) :], plan.allocations, strict=True):
        begin = base - m.ctypes.data
        assert (m[:begin] == 0xAB).all() and (m[begin + size :] == 0xAB).all(), "a kernel wrote outside of its memory"
    if status[0]:
        raise IndexError(f"status {status[0]}")
    return [_array(p, bases).copy() for p in plan.outputs]


def _copied(array):
    """A copy that lies alike."""
    low = sum(min(s, 0) * (n - 1) for s, n in zip(array.strides, array.shape, strict=True))
    reach = sum(abs(s) * (n - 1) for s, n in zip(array.strides, array.shape, strict=True)) + array.itemsize
    raw = np.empty(reach if array.size else 0, np.uint8)
    copy = np.ndarray(array.shape, array.dtype, raw, -low if array.size else 0, array.strides)
    copy[...] = array
    return copy


def backward_groups(steps):
    """Steps that may run at the same time, last first."""
    groups = []
    for step in steps:
        if getattr(step, "joined", False):
            groups[-1].insert(0, step)
        else:
            groups.append([step])
    return [step for group in groups for step in group]


def _array(placed, bases):
    dtype = numpy_dtype(placed.type.dtype)
    if placed.type.size == 0:
        return np.zeros(placed.type.shape, dtype)
    low, reach = _span(placed)
    start = bases[placed.slot] + placed.offset + low * dtype.itemsize
    raw = np.frombuffer((ctypes.c_uint8 * ((reach - low) * dtype.itemsize)).from_address(start), dtype)
    return as_strided(raw[-low:], placed.type.shape, [s * dtype.itemsize for s in placed.strides])
