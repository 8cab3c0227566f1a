"""Plans on a GPU whose kernels are PTX written by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from double.driver import ptx

import tengen
from tengen import _rt

# c[i] = a[i] + b for the float32 elements of a; b is a Python float; params: the number of elements
_ADD = """
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.s32 %r4, %r1, %r2, %r3;
    cvt.s64.s32 %d1, %r4; setp.ge.s64 %p1, %d1, %n0; @%p1 bra END;
    ld.global.f64 %w, [%b1]; cvt.rn.f32.f64 %f2, %w;
    shl.b64 %d2, %d1, 2; add.s64 %d3, %b0, %d2; ld.global.f32 %f1, [%d3];
    add.rn.f32 %f3, %f1, %f2; add.s64 %d4, %b2, %d2; st.global.f32 [%d4], %f3;
    END:"""
ADD = ptx(_ADD, ".reg .f64 %w;", buffers=3)
ADD_FROM_MEMORY = ptx(_ADD, ".reg .f64 %w;", buffers=3, from_memory=True)
# the same, but does nothing if the status word, buffer 3, is not 0
GUARDED_ADD = ptx(
    f"ld.global.u64 %d5, [%b3]; setp.ne.s64 %p2, %d5, 0; @%p2 bra END; {_ADD}", ".reg .f64 %w;", buffers=4
)
# writes a number into the status word
FAIL = ptx("st.global.u64 [%b0], %n0;", buffers=1)


@dataclass(frozen=True, eq=False)
class Op:
    """What the hook makes of an op: a Plan."""

    name: str
    plan: object


def like(desc, slot):
    return slot, 0, _rt.Descriptor(desc.dtype, desc.shape, None, desc.device)


def launch(code, buffers, params, blocks=1, threads=1, skip_if=-1, place="gpu0", from_memory=False):
    shape = (blocks, 1, 1), (threads, 1, 1), 0
    return _rt.DeviceLaunch(_rt.load_kernel(place, code), buffers, params, *shape, skip_if, from_memory)


def added(descs, **more):
    """a + b as one launch; inputs a and b, slot 2 is the result, slot 3 the status."""
    x = descs[0]
    step = launch(ADD, ((0, 0), (1, 0), (2, 0)), (x.size,), -(-x.size // 64), 64, place=place_of(x))
    return _rt.Plan(2, (4 * x.size,), [step], [like(x, 2)], device=x.device, **more)


def place_of(desc):
    return tengen.base.device.parse(desc.device).physical


def on(place, array):
    return tengen.tensor(np.asarray(array, np.float32), device=place)


class Failed(Exception):
    pass


def guarded(slot_of_number, out, status, size):
    return launch(GUARDED_ADD, ((0, 0), (slot_of_number, 0), (out, 0), (status, 0)), (size,), 1, 64)


@pytest.fixture(autouse=True)
def plans_of_ops():
    before = _rt.set_hooks(compile=lambda op, descs: op.plan(descs), gradient=lambda *_: None, memory=None)
    yield
    _rt.set_hooks(**before)
