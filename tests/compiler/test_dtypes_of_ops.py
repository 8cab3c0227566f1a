"""Each element-wise op and reduction, of each dtype: it gives a kernel that means something, or is refused at the call with a TypeError."""

from __future__ import annotations

import itertools

import pytest

import tengen
from tengen.compiler.kernels.nest import verify
from tengen.compiler.program import Type, build
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets.host import host_target
from tengen.compiler.view import contiguous
from tengen.core.ops.elemwise import ROWS, Elemwise, TypeCvt
from tengen.core.ops.reduce import ArgReduce, Reduce

DTYPES = "bool uint8 int8 uint16 int16 int32 int64 float16 bfloat16 float32 float64".split()
SCALARS = "weak_bool weak_int weak_float".split()


def verified(op, dtypes):
    """Verifies the kernels of an op; whether it is not refused."""
    types = [Type(d, () if d.startswith("weak") else (5, 3)) for d in dtypes]
    try:
        program = build(op, types)
    except TypeError as error:
        assert op.name in str(error) and all(d in str(error) for d in dtypes)
        return False
    scheduler = Scheduler(program, [contiguous(t.shape) for t in types], host_target())
    scheduler.lower()
    for source in scheduler.sources:
        verify(source.nest)
    return True


@pytest.mark.parametrize("mode", ROWS)
def test_each_mode_of_each_dtype(mode):
    arity = ROWS[mode].arity
    for first, other in itertools.product(DTYPES, DTYPES + SCALARS if arity > 1 else [""]):
        verified(Elemwise(mode), [first, *[other] * (arity - 1)])


def test_reductions_and_conversions_of_each_dtype():
    ops = [*(Reduce(m, (0,)) for m in ("SUM", "PRODUCT", "MAX", "MIN")), ArgReduce("argmax", (1,))]
    for op, dtype in itertools.product([*ops, *map(TypeCvt, DTYPES)], DTYPES):
        assert verified(op, [dtype])


@pytest.mark.parametrize("other", [True, tengen.tensor([True, False])], ids=["number", "tensor"])
def test_bools_are_not_shifted(other):
    x = tengen.tensor([True, False])
    for shifted in (lambda: x << other, lambda: x >> other, lambda: other << x):
        with pytest.raises(TypeError, match=r"sh[lr] works on integers, got (weak_)?bool and (weak_)?bool"):
            shifted()
    assert (x.astype("int32") << 2).tolist() == [4, 0]
