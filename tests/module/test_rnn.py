"""Recurrent layers against NumPy in float64, their gradients against finite differences; bad input."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, random

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor, UsageWarning, jit
from tengen._rt import apply
from tengen.autodiff import GradManager
from tengen.compiler import compile_program
from tengen.compiler.program import Type, build
from tengen.core.gradient import backward
from tengen.core.ops import builtin
from tengen.core.ops.loop import Scan
from tengen.core.ops.recurrent import LSTMSequence, RecurrentLayers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(kind, z, c):
    """(h', c') from what goes into a cell."""
    if kind != "lstm":
        return {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}[kind](z), c
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def layers(kind, x, h, c, weights, directions, bias):
    """Outputs, last h and last c of all layers; weights lie one after the other as the parameter has them."""
    cells, batch, size = h.shape
    rows, at = size * (4 if kind == "lstm" else 1), 0

    def take(*shape):
        nonlocal at
        at += math.prod(shape)
        return weights.ravel()[at - math.prod(shape) : at].reshape(shape)

    last = [], []
    for layer in range(cells // directions):
        made = []
        for backwards in range(directions):
            w, u = take(rows, x.shape[2]), take(rows, size)
            b = take(rows) + take(rows) if bias else 0
            state = h[layer * directions + backwards], c[layer * directions + backwards]
            outputs = np.zeros((len(x), batch, size))
            for t in range(len(x))[:: -1 if backwards else 1]:
                state = step(kind, x[t] @ w.T + state[0] @ u.T + b, state[1])
                outputs[t] = state[0]
            made.append(outputs)
            for found, value in zip(last, state, strict=True):
                found.append(value)
        x = np.concatenate(made, axis=2)
    return x, np.stack(last[0]), np.stack(last[1])


def make(kind, *args, **kwargs):
    return M.LSTM(*args, **kwargs) if kind == "lstm" else M.RNN(*args, nonlinearity=kind, **kwargs)


@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm"])
@pytest.mark.parametrize(
    "count, directions, bias, steps, batch",
    [(1, 1, True, 1, 1), (1, 2, False, 5, 3), (2, 1, False, 0, 2), (2, 2, True, 2, 0), (3, 2, True, 4, 17)],
)
def test_layers(kind, count, directions, bias, steps, batch):
    layer = make(kind, 3, 5, num_layers=count, bias=bias, bidirectional=directions == 2)
    x, h, c = (random(s, seed=i) for i, s in enumerate([(steps, batch, 3), *[(count * directions, batch, 5)] * 2]))
    given = [Tensor(v, dtype="float32") for v in (x, h, c)]
    weights = layer._flatten_weights.numpy().astype(np.float64)
    truth = layers(kind, x, h, c, weights, directions, bias)
    if kind == "lstm":
        y, state = layer(given[0], (given[1], given[2]))
    else:
        y, state = layer(given[0], given[1])
    for found, want in zip([y, *(state if kind == "lstm" else [state])], truth, strict=False):
        assert_close(found, want, "float32", factor=5)
    start = np.zeros_like(h)
    y, _ = layer(given[0])
    assert_close(y, layers(kind, x, start, start, weights, directions, bias)[0], factor=5)


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_batch_first(kind):
    layer = make(kind, 3, 4, batch_first=True, bidirectional=True)
    x, start = random((2, 5, 3)), np.zeros((2, 2, 4))
    y, state = layer(Tensor(x, dtype="float32"))
    weights = layer._flatten_weights.numpy().astype(np.float64)
    truth = layers(kind, x.swapaxes(0, 1), start, start, weights, 2, True)
    assert_close(y, truth[0].swapaxes(0, 1), factor=5)
    assert_close(state[0] if kind == "lstm" else state, truth[1], factor=5)


@pytest.mark.parametrize("kind", ["tanh", "relu", "identity", "lstm"])
@pytest.mark.parametrize("directions, bias, kept", [(1, True, False), (2, False, False), (1, True, True)])
def test_gradients(kind, directions, bias, kept):
    states, rows = (2, 8) if kind == "lstm" else (1, 2)
    width = directions * (3 + 2 + 2 * bias) + directions * (2 * directions + 2 + 2 * bias)
    shapes = [(3, 2, 3), *[(2 * directions, 2, 2)] * states, (rows, width)]
    arrays = [random(s, -1, 1, seed=i) for i, s in enumerate(shapes)]
    op = RecurrentLayers(kind, 2, directions, bias, kept=kept)
    check_gradient(lambda *v: apply(op, *v), arrays)
    # What a network reads are often the outputs alone, or the last state alone.
    check_gradient(lambda *v: apply(op, *v)[0], arrays)
    check_gradient(lambda *v: apply(op, *v)[-1] * 1.0, arrays)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_second_gradients(kind, kept):
    states, rows = (2, 4) if kind == "lstm" else (1, 1)
    arrays = [random(s, -1, 1, seed=i) for i, s in enumerate([(3, 1, 2), *[(1, 1, 1)] * states, (rows, 5)])]
    check_second_gradient(lambda *v: apply(RecurrentLayers(kind, 1, 1, True, kept=kept), *v)[0], arrays)


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_a_gradient_takes_no_step_forward_again(kind):
    """If the states of all cells are kept, and what went into their gates."""
    states, rows = (2, 4) if kind == "lstm" else (1, 1)
    types = [Type("float32", shape) for shape in ((5, 2, 1), *[(2, 2, 1)] * states, (rows, 8))]
    loops = []
    for kept in (False, True):
        op = RecurrentLayers(kind, 2, 1, True, kept=kept)
        outputs = tuple(v.type for v in build(op, types).outputs)
        present = tuple(i == 0 for i in range(len(outputs)))
        found = backward(op, tuple(types), outputs, (True,) * len(types), present).op
        nodes = build(found, [v.type for v in found.program.inputs]).nodes
        loops.append(sum(isinstance(node.op, Scan) for node in nodes))
    assert loops == [4 - (kind == "tanh"), 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_inputs_are_computed_with_the_weights(dtype):
    layer, x = M.LSTM(3, 4), random((5, 2, 3))
    y, (h, c) = layer(Tensor(x, dtype=dtype))
    assert_close(y, layer(Tensor(x, dtype="float32"))[0].numpy(), "float32")
    assert (h.dtype, c.dtype) == (np.float32, np.float32)


def test_dropout_is_between_layers_in_training():
    tengen.random.seed(3)
    layer, x = M.LSTM(3, 50, num_layers=2, dropout=1.0), Tensor(random((4, 2, 3)), dtype="float32")
    weights, start = layer._flatten_weights.numpy().astype(np.float64), np.zeros((1, 2, 50))
    second = weights.ravel()[200 * (3 + 50 + 2) :]
    alone = layers("lstm", np.zeros((4, 2, 50)), start, start, second, 1, True)[0]
    manager = GradManager().attach([layer._flatten_weights])
    with manager:
        y = layer(x)[0]
        manager.backward(y.sum())
    assert_close(y, alone, factor=5)
    assert np.isfinite(layer._flatten_weights.grad.numpy()).all()
    layer.dropout = 0.5
    first, again = layer(x)[0].numpy(), layer(x)[0].numpy()
    assert (first != again).any()
    layer.eval()
    start = np.zeros((2, 2, 50))
    assert_close(layer(x)[0], layers("lstm", x.numpy(), start, start, weights, 1, True)[0], factor=5)


def test_one_layer_drops_nothing():
    layer, x = M.RNN(3, 50, dropout=0.5), Tensor(random((4, 2, 3)), dtype="float32")
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


@pytest.mark.parametrize("symbolic", [True, False])
def test_a_layer_trains_in_a_trace_as_it_does_without(symbolic):
    x, goal = Tensor(random((6, 4, 3)), dtype="float32"), Tensor(random((6, 4, 5), seed=1), dtype="float32")

    def losses(wrap):
        tengen.random.seed(1)
        layer = M.LSTM(3, 5, num_layers=2, dropout=0.25)
        manager = GradManager().attach(list(layer.parameters()))
        optimizer = tengen.optimizer.SGD(layer.parameters(), lr=0.5)

        def step():
            with manager:
                loss = F.loss.square_loss(layer(x)[0], goal)
                manager.backward(loss)
            optimizer.step().clear_grad()
            return loss

        step = wrap(step)
        return [float(step().numpy()) for _ in range(4)]

    eager, traced = losses(lambda f: f), losses(jit.trace(symbolic=symbolic))
    np.testing.assert_allclose(traced, eager, rtol=1e-5)
    assert eager[-1] < eager[0]


def test_a_dumped_layer_gives_the_same():
    layer, x = M.LSTM(3, 5, num_layers=2, bidirectional=True), Tensor(random((6, 4, 3)), dtype="float32")
    layer.eval()
    traced = jit.trace(lambda v: layer(v)[0], symbolic=True, capture_as_const=True)
    want, file = traced(x).numpy(), io.BytesIO()
    traced.dump(file)
    file.seek(0)
    found = jit.load(file)(x.numpy())
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


def test_all_weights_are_one_parameter():
    layer = M.LSTM(3, 50, num_layers=2)
    manager, x = GradManager().attach(list(layer.parameters())), Tensor(random((6, 4, 3)), dtype="float32")
    with manager:
        manager.backward(layer(x)[0].sum())
    assert [n for n, p in layer.named_parameters() if p.grad is not None] == ["_flatten_weights"]
    values = layer._flatten_weights.numpy()
    assert np.abs(values).max() <= 1 / math.sqrt(50) and values.std() > 0.9 / math.sqrt(3 * 50)
    layer.reset_parameters()
    assert (layer._flatten_weights.numpy() != values).any()


def test_pieces_that_subclasses_use():
    layer = M.LSTM(3, 4, num_layers=2, bidirectional=True)
    x = Tensor(random((5, 2, 3)), dtype="float32")
    h, c = layer.init_hidden(2)
    assert tuple(h.shape) == tuple(c.shape) == (4, 2, 4)
    assert layer.get_output_from_hidden((h, c)) is h
    y, (last, _) = layer.apply_op(x, (h, c))
    np.testing.assert_array_equal(y.numpy(), layer(x)[0].numpy())
    np.testing.assert_array_equal(last.numpy()[2], y.numpy()[-1, :, :4])
    cell = layer.create_cell(1)
    assert isinstance(cell, M.LSTMCell) and tuple(cell.weight_ih.shape) == (16, 8)
    assert isinstance(M.RNN(3, 4).create_cell(0), M.RNNCell)
    assert tuple(M.RNN(3, 4).init_hidden(2).shape) == (1, 2, 4)


def test_builtin_ops():
    x, h, c = (Tensor(random(s, seed=i), dtype="float32") for i, s in enumerate([(5, 2, 3), (1, 2, 4), (1, 2, 4)]))
    lstm, rnn = M.LSTM(3, 4), M.RNN(3, 4, nonlinearity="relu")
    y, last, cell, _ = apply(builtin.LSTM(1, False, True, 4, 0, 0.0, "TRAINING"), x, h, c, lstm._flatten_weights)
    want, (want_h, want_c) = lstm(x, (h, c))
    for found, truth in ((y, want), (last, want_h), (cell, want_c)):
        np.testing.assert_array_equal(found.numpy(), truth.numpy())
    op = builtin.RNN(num_layers=1, hidden_size=4, nonlineMode="RELU")
    y, last, _ = apply(op, x, h, rnn._flatten_weights)
    np.testing.assert_array_equal(y.numpy(), rnn(x, h)[0].numpy())
    cell = M.RNNCell(3, 4, nonlinearity="relu")
    parts = cell.weight_ih, cell.bias_ih, h[0], cell.weight_hh, cell.bias_hh
    np.testing.assert_array_equal(apply(builtin.RNNCell("RELU"), x[0], *parts).numpy(), cell(x[0], h[0]).numpy())
    cell = M.LSTMCell(3, 4)
    made = apply(builtin.LSTMCell(), x[0], cell.weight_ih, cell.bias_ih, h[0], cell.weight_hh, cell.bias_hh, c[0])
    for found, truth in zip(made, cell(x[0], (h[0], c[0])), strict=False):
        np.testing.assert_array_equal(found.numpy(), truth.numpy())
    arrays = [random(s, -1, 1, seed=i) for i, s in enumerate([(2, 3), (4, 3), (4,), (2, 1), (4, 1), (4,), (2, 1)])]
    check_gradient(lambda *v: apply(builtin.LSTMCell(), *v), arrays)


def test_cells_without_bias_keep_zeros():
    cell = M.LSTMCell(3, 4, bias=False)
    assert sorted(n for n, _ in cell.named_parameters()) == ["weight_hh", "weight_ih"]
    assert {n: tuple(v.shape) for n, v in cell.named_buffers()} == {"bias_hh": (16,), "bias_ih": (16,)}
    assert not cell.bias_ih.numpy().any() and not cell.bias_hh.numpy().any()


X, H = Tensor(np.zeros((5, 2, 3), np.float32)), Tensor(np.zeros((1, 2, 4), np.float32))
WRONG = {
    "an input without a batch": (lambda: M.LSTM(3, 4)(X[0]), r"LSTM takes an input of shape \(steps, batch, 3\), got"),
    "other features": (lambda: M.RNN(5, 4, batch_first=True)(X), r"RNN takes .*\(batch, steps, 5\), got \(5, 2, 3\)"),
    "a state of another batch": (lambda: M.RNN(3, 4)(X, Tensor(np.zeros((1, 3, 4)))), r"initial h of shape \(1, 3, 4\)"),
    "a state without layers": (lambda: M.RNN(3, 4)(X, H[0]), r"\(layers · directions, batch, hidden\) = \(1, 2, hidden_size\)"),
    "cells of another size": (lambda: M.LSTM(3, 4)(X, (H, H[:, :, :3])), r"LSTM: an initial c of shape \(1, 2, 3\)"),
    "a state of another size": (lambda: M.RNN(3, 4)(X, H[:, :, :3]), r"take 24 weights, got 36"),
    "one state of two": (lambda: M.LSTM(3, 4)(X, H), "LSTM takes the state"),
    "a nonlinearity": (lambda: M.RNN(3, 4, nonlinearity="sin"), "'tanh' or 'relu', got 'sin'"),
    "no probability": (lambda: M.LSTM(3, 4, dropout=1.5), "dropout must be a probability, from 0 to 1, got 1.5"),
    "no layers": (lambda: M.LSTM(3, 4, num_layers=0), "LSTM: num_layers must be at least 1, got 0"),
    "a large projection": (lambda: M.LSTM(3, 4, proj_size=4), "LSTM: proj_size must be smaller than hidden_size, got 4"),
}  # fmt: skip


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG.keys())
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="int32"):
        M.LSTM(3, 4)(Tensor(np.zeros((5, 2, 3), np.int32)))


def test_proj_size_says_that_it_does_nothing():
    with pytest.warns(UsageWarning, match="proj_size has no effect"):
        layer = M.LSTM(3, 4, proj_size=2)
    assert tuple(layer(X)[0].shape) == (5, 2, 4)


def test_a_state_that_a_program_learns():
    layer, start = M.RNN(3, 4), Parameter(np.zeros((1, 1, 4), np.float32))
    manager = GradManager().attach([start])
    with manager:
        y, _ = layer(X, F.broadcast_to(start, (1, 2, 4)))
        manager.backward(y.sum())
    assert tuple(start.grad.shape) == (1, 1, 4) and start.grad.numpy().any()


def test_weights_are_packed_once_and_kept():
    types = [Type("float32", s) for s in ((7, 16, 8), (1, 16, 32), (1, 16, 32), (128, 8 + 32 + 2))]
    plan = compile_program(build(RecurrentLayers("lstm", 1, 1, True), types))
    packing = [i for i, step in enumerate(plan.steps) if "layout" in step.name]
    assert [(source, step) for _, source, step in plan.layouts] == [(3, i) for i in packing] and len(packing) == 2
    assert (
        len(plan.steps) == 2 * 7 + len(packing) + 2
    )  # two launches a step; the product of all inputs, the sum of the biases


def steps_of_gradient(length, size):
    """How many launches the gradient of an LSTM takes for so many steps."""
    state, weight = Type("float32", (16, size)), Type("float32", (4 * size, size))
    sums, states = (Type("float32", (length, 16, n * size)) for n in (4, 1))
    inputs, outputs = (state, state, sums, weight), (states, states, sums)
    found = backward(LSTMSequence(False, kept=True), inputs, outputs, (False, False, True, False), (True, False, False))
    slots = (*inputs, *outputs, states)
    return len(compile_program(build(found.op, [slots[a] for a in found.args])).steps)


@pytest.mark.parametrize("size", [4, 32])
def test_a_step_of_the_gradient_of_an_lstm_is_a_product_and_a_map(size):
    """The gradients of the four gates are made where the next product reads them."""
    assert steps_of_gradient(8, size) - steps_of_gradient(7, size) == 2
