"""Layers from or to no features at all, as a network with a width of 0 has them: their parameters are empty, and all works."""

from __future__ import annotations

import io

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import load, trace

#: layer, shape of its input, shape of its output
LAYERS = {
    "Linear to 0": (lambda: M.Linear(3, 0), (2, 3), (2, 0)),
    "Linear from 0": (lambda: M.Linear(0, 3), (2, 0), (2, 3)),
    "Linear, both": (lambda: M.Linear(0, 0), (2, 0), (2, 0)),
    "Conv2d to 0": (lambda: M.Conv2d(3, 0, 3), (2, 3, 5, 5), (2, 0, 3, 3)),
    "Conv2d from 0": (lambda: M.Conv2d(0, 3, 3, padding=1), (2, 0, 5, 5), (2, 3, 5, 5)),
    "Conv2d, both": (lambda: M.Conv2d(0, 0, 3, stride=2), (2, 0, 5, 5), (2, 0, 2, 2)),
    "Conv2d, groups": (lambda: M.Conv2d(4, 0, 1, groups=2), (2, 4, 5, 5), (2, 0, 5, 5)),
    "Conv2d, reflected": (lambda: M.Conv2d(0, 3, 3, padding=1, padding_mode="reflect"), (2, 0, 5, 5), (2, 3, 5, 5)),
    "Conv1d to 0": (lambda: M.Conv1d(3, 0, 3), (2, 3, 5), (2, 0, 3)),
    "Conv1d from 0": (lambda: M.Conv1d(0, 3, 3), (2, 0, 5), (2, 3, 3)),
    "ConvTranspose2d to 0": (lambda: M.ConvTranspose2d(3, 0, 2), (2, 3, 5, 5), (2, 0, 6, 6)),
    "ConvTranspose2d from 0": (lambda: M.ConvTranspose2d(0, 3, 2), (2, 0, 5, 5), (2, 3, 6, 6)),
    "BatchNorm1d": (lambda: M.BatchNorm1d(0), (2, 0), (2, 0)),
    "BatchNorm2d": (lambda: M.BatchNorm2d(0), (2, 0, 5, 5), (2, 0, 5, 5)),
    "LayerNorm": (lambda: M.LayerNorm((0, 3)), (2, 0, 3), (2, 0, 3)),
    "GroupNorm": (lambda: M.GroupNorm(2, 0), (2, 0, 5, 5), (2, 0, 5, 5)),
    "InstanceNorm": (lambda: M.InstanceNorm(0), (2, 0, 5, 5), (2, 0, 5, 5)),
    "GeneralNorm": (lambda: M.GeneralNorm((0,), 1), (2, 0, 3), (2, 0, 3)),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_gradients(name, traced):
    make, given, wanted = LAYERS[name]
    layer, x = make(), F.ones(given)
    bias = layer.bias
    bias.set_value(np.arange(1, bias.size + 1).reshape(bias.shape).astype(np.float32))
    gm = GradManager().attach([*layer.parameters(), x])

    def step(x):
        with gm:
            y = layer(x)
            gm.backward(F.sum(y))
        return y

    run = trace(step) if traced else step
    for _ in range(2):
        for value in (*layer.parameters(), x):
            value.grad = None
        y = run(x)
    channels = bias.numpy() if len(wanted) == 2 else bias.numpy().reshape(-1, *(1,) * (len(wanted) - 2))
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(channels, wanted) if bias.size else np.zeros(wanted))
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros(given))
    each = np.prod(wanted) // max(bias.size, 1)
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(bias.shape, float(each)))
    assert layer.weight.grad.shape == layer.weight.shape and layer.weight.size == 0


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_and_files(name):
    make, given, wanted = LAYERS[name]
    layer, other = make(), make()
    layer.eval()
    other.load_state_dict(layer.state_dict())
    infer = trace(lambda x: layer(x), capture_as_const=True)
    assert infer(F.ones(given)).shape == wanted
    file = io.BytesIO()
    infer.dump(file)
    file.seek(0)
    assert load(file)(F.ones(given)).shape == wanted


def test_embedding():
    rows, columns = M.Embedding(0, 3), M.Embedding(3, 0)
    assert rows(Tensor(np.zeros((2, 0)), dtype="int32")).shape == (2, 0, 3)
    assert columns(Tensor([0, 2], dtype="int32")).shape == (2, 0)
    with pytest.raises(IndexError):
        rows(Tensor([0], dtype="int32"))


def test_cells():
    x = F.zeros((2, 0))
    rnn, lstm = M.RNNCell(0, 3), M.LSTMCell(0, 3)
    both = rnn.bias_ih + rnn.bias_hh
    np.testing.assert_allclose(rnn(x).numpy(), np.tanh(np.stack([both.numpy()] * 2)), rtol=1e-6)
    assert [state.shape for state in lstm(x)] == [(2, 3), (2, 3)]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0, 3, 2, 2), (3, 0, 2, 2)])
def test_first_values(shape):
    weight = F.zeros(shape)
    for draw in (M.init.xavier_uniform_, M.init.xavier_normal_, M.init.msra_uniform_, M.init.msra_normal_):
        draw(weight)
    M.init.msra_normal_(weight, mode="fan_out")
    assert weight.shape == shape
