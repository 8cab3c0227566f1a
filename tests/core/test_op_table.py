"""The op table: what may be named from outside, and shape rules that refuse what would read outside of an input."""

from __future__ import annotations

import pytest

from tengen.compiler.program import Constant, Type, build
from tengen.core.ops.conv import Convolution, ConvolutionBackwardFilter
from tengen.core.ops.index import Put, Take
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.random import Drawn, RandomBits
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Concatenate, Fill, Pad, PlaceView, Slice, Windows
from tengen.core.ops.table import op_classes
from tengen.core.recorded import Recorded
from tengen.core.update import FusedUpdate


def test_the_table_has_the_ops_that_are_made_of_data():
    table = op_classes()
    assert {"Constant": Constant, "Reduce": Reduce, "MatMul": MatMul}.items() <= table.items()
    assert not {Recorded, FusedUpdate} & set(table.values())
    assert not any(cls.abstract or name.startswith("_") for name, cls in table.items())


X, M, INDEX = Type("float32", (5, 4)), Type("float32", (1, 2, 6, 6)), Type("int32", (3,))
WRONG = {
    "a start outside": (Slice((5, 0), (1, 4), (1, 1)), [X], "not inside an axis of 5"),
    "an end outside": (Slice((1, 0), (3, 4), (2, 1)), [X], "not inside an axis of 5"),
    "before the start": (Slice((1, 0), (3, 4), (-1, 1)), [X], "not inside an axis of 5"),
    "too few dims": (Slice((0,), (5,), (1,)), [X], "zip"),
    "less than no padding": (Pad((-1, 0), (0, 0), 0.0), [X], "must not be negative"),
    "a window that stays": (Windows((0,), (2,), (0,), (1,)), [X], "do not fit into shape"),
    "a window backwards": (Windows((0,), (2,), (1,), (-1,)), [X], "do not fit into shape"),
    "an axis that is none": (Concatenate(-1), [X, X], "has no axis -1"),
    "values of two dtypes": (Concatenate(0), [X, Type("int32", (5, 4))], "values of one dtype"),
    "a value of another shape": (PlaceView(Slice((0, 0), (2, 4), (1, 1)), "set"), [X, X], "does not fit shape"),
    "a row in a number": (Fill((3,), "float32", ""), [X], "does not fit shape"),
    "an index for each of two axes": (Take((-1,), (0, 1), (0,)), [X, INDEX], "need an integer tensor each"),
    "a float as an index": (Take((-1, 1), (0,), (0,)), [X, Type("float32", (3,))], "need an integer tensor each"),
    "dims in another order": (Take((1, -1), (0,), (0,)), [X, INDEX], "do not say how to index"),
    "a batch of another size": (Take((0, -1), (1,), (0, 1)), [X, Type("int32", (3, 2))], "do not run along shape"),
    "a dim that is not there": (Put("set", (-1, 7), (0,), (0,)), [X, X, INDEX], "do not say how to index"),
    "a stride of 0": (Convolution((0, 1), (0, 0), (1, 1), 1), [M, M], "must be positive"),
    "negative dilation": (Convolution((1, 1), (0, 0), (1, -1), 1), [M, M], "must be positive"),
    "integers": (Convolution((1, 1), (0, 0), (1, 1), 1), [Type("int32", M.shape), M], "a sum of products takes floats"),
    "another kernel": (ConvolutionBackwardFilter((1, 1), (0, 0), (1, 1), 1, (3, 3)), [M, M], "do not give shape"),
    "a product of integers": (MatMul(), [Type("int32", (2, 2))] * 2, "a sum of products takes floats"),
    "an attribute that is no distribution": (Drawn("bytes", (3,)), [Type("weak_int", ())] * 2, "not a distribution"),
    "counters and seeds": (RandomBits(0), [Type("int64", (3,)), Type("int64", (2,))], "do not broadcast"),
}  # fmt: skip


@pytest.mark.parametrize("op, types, message", WRONG.values(), ids=WRONG.keys())
def test_what_no_function_lets_through_is_refused(op, types, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build(op, types)


def test_every_op_has_a_gradient_or_says_why_not():
    for name, cls in op_classes().items():
        reason = "" if isinstance(cls.nondiff, property) else cls.nondiff
        assert bool(reason) != cls.differentiable(), name
