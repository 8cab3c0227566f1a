"""A model that is exported from recordings at two batch sizes runs at every other; the truth is tengen's recording at that size."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from frozen_functions import frozen
from onnx_harness import assert_same, draw, eager, model_of, session

from tengen.base.errors import ExportError
from tengen.compiler.program import Type
from tengen.core.ops import conv, create, formula, index, layout, linalg, loss, normalization
from tengen.core.ops.elemwise import cast
from tengen.core.ops.pool import Pooling
from tengen.core.ops.reduce import Reduce
from tengen.core.ops.shape import Broadcast, Concatenate, Fill, Reduced, Reshape, Slice, Transpose, Windows
from tengen.jit.onnx import export


def w(*shape: int, seed: int = 0) -> np.ndarray:
    return draw(shape, seed=seed, low=-0.5, high=0.5)


def cnn(x, kernel, bias, weight):
    y = conv.Conv2d((1, 1), (1, 1), (1, 1), 1, True)(x, kernel, bias)
    y = Pooling("max", (2, 2), (2, 2), (0, 0))(y)
    return linalg.Linear(False)(Reshape((y.shape[0], y.size // y.shape[0]))(y), weight)


def attention(x, weight):
    """Self-attention with 2 heads, x (batch, place, 8)."""
    n, places, width = x.shape
    q, k, v = layout.Split(2, (0, width, 2 * width, 3 * width))(linalg.Linear(False)(x, weight))

    def heads(t):
        return Transpose((0, 2, 1, 3))(Reshape((n, places, 2, width // 2))(t))

    scores = linalg.Product(False, True)(heads(q), heads(k)) * 0.5
    mixed = linalg.Product()(formula.Softmax((3,))(scores), heads(v))
    return Reshape((n, places, width))(Transpose((0, 2, 1, 3))(mixed))


def with_token(x, token):
    """A learned token in front of each sequence."""
    return Concatenate(1)(Broadcast((x.shape[0], 1, x.shape[2]))(token), x)


def chosen(x):
    """x[arange(n), 2]."""
    rows = x.builder.iota((x.shape[0],))
    return index.take_op(2, (0, 1), 1)(x, rows, x.builder.constant(2))


FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], list[np.ndarray]]] = {
    "cnn": (cnn, [(3, 6, 6)], [w(4, 3, 3, 3), w(1, 4, 1, 1), w(5, 36)]),
    "attention": (attention, [(5, 8)], [w(24, 8)]),
    "a linear layer of rows": (lambda x, a: linalg.Linear(False)(x, a), [(3, 4)], [w(2, 4)]),
    "rows as one dim": (lambda x: Reshape((x.shape[0] * 3, 4))(x), [(3, 4)], []),
    "two dims of the batch": (lambda x: Reshape((2, x.shape[0] // 2, 4))(x), [(4,)], []),
    "a token": (with_token, [(5, 8)], [w(1, 1, 8)]),
    "group norm": (lambda x: normalization.GroupNorm(2, False, "g")(x, 1e-5), [(4, 5)], []),
    "layer norm": (lambda x: normalization.Normalize((1, 2), False, "n")(x, 1e-5), [(4, 5)], []),
    "a mean": (lambda x: formula.Mean((0, 1))(x), [(4,)], []),
    "a mean as a sum": (lambda x: Reduced(Reduce("SUM", (0,)), (0,), False)(x) / float(x.shape[0]), [(4,)], []),
    "times the batch size": (lambda x: x * (2 * x.shape[0]), [(4,)], []),
    "a loss": (lambda x, y: loss.CrossEntropy(1, True, False, "mean")(x, y, 0.0), [(4,), ()], []),
    "one-hot": (lambda x, y: x + cast(index.OneHot(4, "int32")(y), "float32"), [(4,), ()], []),
    "chosen": (chosen, [(4,)], []),
    "running numbers": (lambda x: x + cast(x.builder.iota((x.shape[0], 4)), "float32"), [(4,)], []),
    "numbers of rows": (lambda x: x * create.Arange(x.shape[0], "float32", "")(x.builder.constant(1.0), 2.0), [()], []),
    "filled": (lambda x: x + Fill((x.shape[0], 4), "float32", "")(x.builder.constant(2.0)), [(4,)], []),
    "a slice of places": (lambda x: Slice((0, 1), (x.shape[0], 2), (1, 2))(x), [(4,)], []),
    "all rows but the first": (lambda x: Slice((1, 0), (x.shape[0] - 1, 4), (1, 1))(x), [(4,)], []),
    "windows": (lambda x: Windows((2,), (3,), (1,), (1,))(x), [(4, 7)], []),
    "pixel shuffle": (lambda x: layout.PixelShuffle(2)(x), [(4, 3, 3)], []),
    "edges": (lambda x: layout.PadBy("edge", (0, 0, 1), (0, 0, 2))(x), [(2, 3)], []),
    "stacked": (lambda x: layout.Stack(1)(x, x), [(2, 3)], []),
    "repeated": (lambda x: layout.Repeat(2, 1)(x), [(2, 3)], []),
    "two arguments": (lambda x, y: x + y, [(4,), (4,)], []),
}


def recorded(name: str, batch: int):
    function, tails, weights = FUNCTIONS[name]
    kinds = ["int32" if not tail and n else "float32" for n, tail in enumerate(tails)]
    types = [Type(kind, (batch, *tail)) for kind, tail in zip(kinds, tails, strict=True)]
    return frozen(function, types, weights)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_batch_size(name):
    run = session(recorded(name, 4), recorded(name, 6))
    for batch in (2, 4, 6, 10):
        function = recorded(name, batch)
        arrays = [
            draw(v.shape, v.dtype, low=0 if v.dtype == "int32" else -3, seed=n)
            for n, v in enumerate(function.argument_values)
        ]
        found = run.run(None, dict(zip(function.arguments, arrays, strict=True)))
        assert_same(found, eager(function, arrays), factor=2)


def test_dims_are_named():
    model = onnx.load_from_string(model_of(recorded("rows as one dim", 2), recorded("rows as one dim", 3)))
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert dims == [["batch", 3, 4]]
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert dims == [["3*batch", 4]]


def test_one_dim_that_depends_on_the_batch_size_is_left_to_reshape():
    model = onnx.load_from_string(model_of(recorded("cnn", 2), recorded("cnn", 3)))
    (reshape,) = (n for n in model.graph.node if n.op_type == "Reshape")
    (target,) = (onnx.numpy_helper.to_array(t).tolist() for t in model.graph.initializer if t.name == reshape.input[1])
    assert target == [-1, 36]
    assert "Shape" not in {n.op_type for n in model.graph.node}


def test_an_argument_without_a_batch_keeps_its_shape():
    def function(batch):
        return frozen(lambda x, y: x * y, [Type("float32", (batch, 4)), Type("float32", (4,))])

    run = session(function(2), function(3))
    assert [i.shape for i in run.get_inputs()] == [["batch", 4], [4]]


WRONG = {
    "batch size 1": (lambda x: x + 1, (1, 4), (2, 4), "batch of 2 or more"),
    "the same size": (lambda x: x + 1, (2, 4), (2, 4), "must differ between the two recordings"),
    "another dim": (lambda x: x + 1, (2, 4), (3, 5), "x0 differs in more than its first dimension"),
    "all but one": (lambda x: Slice((0, 0), (x.shape[0] - 1, 4), (1, 1))(x), (2, 4), (3, 4), "Slice: one of its numbers is"),
    "a square": (lambda x: x * x.shape[0] ** 2, (2, 4), (3, 4), r"mul: one of its numbers is 4\.0 with batch size 2 and 9\.0 with 3"),
    "another op": (lambda x: x + 1 if x.shape[0] == 2 else x - 1, (2, 4), (3, 4), "add: with another batch size it is Sub"),
    "another length": (lambda x: x + 1 if x.shape[0] == 2 else x, (2, 4), (3, 4), "(applies other operations|with another batch size)"),
}  # fmt: skip


@pytest.mark.parametrize("function, first, second, message", WRONG.values(), ids=WRONG.keys())
def test_what_no_batch_size_can_say(function, first, second, message):
    one, other = (frozen(function, [Type("float32", shape)]) for shape in (first, second))
    with pytest.raises(ExportError, match=message):
        export(one, io.BytesIO(), other)
