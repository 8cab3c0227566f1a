"""Ops are their parameters: equal ones are one object, and different ones are not."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tengen.compiler.interned import Interned
from tengen.compiler.program import Constant
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.reduce import ArgExtreme, Reduce
from tengen.core.ops.shape import Copy, Pad


def test_equal_parameters_give_the_same_object():
    assert Elemwise("ADD") is Elemwise("ADD") is Elemwise(mode="ADD")
    assert Reduce("SUM", (0,)) is Reduce(axes=(0,), mode="SUM") is Reduce("SUM", axes=(0,))
    assert Copy() is Copy(None) is Copy(device=None)


def test_numbers_that_only_compare_equal_are_different():
    made = [Constant(value, dtype) for value in (0.0, -0.0, 0, False) for dtype in ("float32",)]
    assert len({id(op) for op in made}) == 4
    assert Pad((1,), (0,), 0.0) is not Pad((1,), (0,), -0.0)
    assert Constant(float("nan"), "float32") is Constant(float("nan"), "float32")
    pads = [Pad((1,), (0,), fill) for _ in range(2) for fill in (0.0, -0.0, 0, 1e-12, float("nan"))]  # known ones, too
    assert pads[:5] == pads[5:] and len(set(pads)) == 5
    assert [str(pad.fill) for pad in pads[5:]] == ["0.0", "-0.0", "0", "1e-12", "nan"]


def test_classes_of_the_same_parameters_are_different():
    assert Reduce("SUM", (0,)) is not ArgExtreme("SUM", (0,))


def test_they_cannot_be_changed_and_show_their_parameters():
    op = Reduce("SUM", (0, 1))
    with pytest.raises(AttributeError, match="cannot be changed"):
        op.mode = "MAX"
    assert repr(op) == "Reduce(mode='SUM', axes=(0, 1))"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Reduce("SUM"), "needs axes"),
        (lambda: Reduce("SUM", (0,), 1), "takes 2 parameters"),
        (lambda: Reduce("SUM", (0,), mode="MAX"), "given twice"),
        (lambda: Reduce("SUM", (0,), axis=1), "'axis' is not a parameter"),
    ],
)
def test_wrong_parameters(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_unused_ones_are_forgotten():
    before = len(Interned._table)
    for i in range(1000):
        Pad((i,), (0,), 0.5)
    gc.collect()
    assert len(Interned._table) <= before + 10


def test_threads_get_one_object():
    for i in range(200):
        barrier = threading.Barrier(4)

        def make(_: int, barrier: threading.Barrier = barrier, i: int = i) -> Pad:
            barrier.wait()
            return Pad((i,), (i,), 0.25)

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(make, range(4)))
        assert all(op is made[0] for op in made)
