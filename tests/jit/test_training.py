"""Traced training steps leave what eager steps leave: losses, parameters, buffers, optimizer state, random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import LAMB, SGD, Adadelta, Adagrad, Adam, AdamW, clip_grad_norm
from tengen.random import default_generator

STEPS = 20


class Residual(M.Module):
    """A convolution with batch normalisation, and a way around it."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv, self.norm = M.Conv2d(channels, channels, 3, 1, 1, bias=False), M.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)) + x)


class ConvNet(M.Module):
    def __init__(self):
        super().__init__()
        # No bias before a normalisation or in keys: its gradient is rounding alone, which Adam would blow up.
        self.stem, self.norm = M.Conv2d(2, 8, 3, 2, 1, bias=False), M.BatchNorm2d(8)
        self.pool, self.blocks = M.MaxPool2d(2, 2), M.Sequential(Residual(8), Residual(8))
        self.depthwise, self.head = M.Conv2d(8, 8, 3, 1, 1, groups=8), M.Linear(8, 5)

    def forward(self, x):
        x = self.blocks(self.pool(F.relu(self.norm(self.stem(x)))))
        return self.head(F.mean(self.depthwise(x), (2, 3)))


class Attention(M.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = M.Linear(12, 36, bias=False), M.Linear(12, 12), M.LayerNorm(12)
        self.embed, self.head, self.drop = M.Embedding(7, 12), M.Linear(12, 5), M.Dropout(0.2)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = F.split(self.qkv(self.norm(x)), 3, axis=2)
        weights = F.softmax(F.matmul(q, k, transpose_b=True) * 12**-0.5, axis=-1)
        x = x + self.drop(self.out(F.matmul(weights, v)))
        return self.head(F.mean(F.gelu(x), axis=1))


class Recurrent(M.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = M.LSTMCell(6, 9), M.Linear(9, 5)

    def forward(self, x):
        hidden = (F.zeros((x.shape[0], 9)), F.zeros((x.shape[0], 9)))
        for step in range(x.shape[1]):
            hidden = self.cell(x[:, step], hidden)
        return self.head(hidden[0])


def mlp() -> M.Module:
    return M.Sequential(M.Linear(6, 16), M.ReLU(), M.Dropout(0.3), M.Linear(16, 5))


NETWORKS: dict[str, tuple[Callable[[], M.Module], Callable[[np.random.Generator], np.ndarray]]] = {
    "mlp": (mlp, lambda r: r.standard_normal((9, 6), np.float32)),
    "conv": (ConvNet, lambda r: r.standard_normal((9, 2, 16, 16), np.float32)),
    "attention": (Attention, lambda r: r.integers(0, 7, (9, 4), np.int32)),
    "recurrent": (Recurrent, lambda r: r.standard_normal((9, 3, 6), np.float32)),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: SGD(p, lr=0.01),
    "momentum": lambda p: SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: Adam(p, lr=1e-3, weight_decay=1e-3),
    "adamw": lambda p: AdamW(p, lr=1e-3),
    "adagrad": lambda p: Adagrad(p, lr=1e-3, lr_decay=0.1),
    "adadelta": lambda p: Adadelta(p, lr=0.1),
    "lamb": lambda p: LAMB(p, lr=1e-3, weight_decay=1e-2),
}


def train(network: str, optimizer: str, wrap: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    """Everything that 20 steps leave, by name."""
    make, draw = NETWORKS[network]
    tengen.random.seed(5)
    net, random = make(), np.random.default_rng(1)
    gm, opt = GradManager().attach(net.parameters()), OPTIMIZERS[optimizer](net.parameters())

    @wrap
    def step(x, y):
        with gm:
            loss = F.nn.cross_entropy(net(x), y)
            gm.backward(loss)
        norm = clip_grad_norm(net.parameters(), 1.0)
        opt.step().clear_grad()
        return loss, norm

    left = {}
    for number in range(STEPS):
        x, y = Tensor(draw(random)), Tensor(random.integers(0, 5, 9).astype(np.int32))
        if number == 12:
            opt.param_groups[0]["lr"] *= 0.5
        loss, norm = step(x, y)
        left[f"loss {number}"], left[f"norm {number}"] = loss.numpy(), norm.numpy()
    left |= {name: value.numpy() for name, value in [*net.named_parameters(), *net.named_buffers()]}
    for number, kept in opt.state_dict()["state"].items():
        left |= {f"state {number} {name}": value for name, value in kept.items()}
    return left | {"random": np.array(default_generator().draw(1))}


@pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])
@pytest.mark.parametrize(
    ("network", "optimizer"),
    [*((n, "momentum") for n in NETWORKS), *((n, "adam") for n in NETWORKS), *(("mlp", o) for o in OPTIMIZERS)],
)
def test_traced_training_is_eager_training(network, optimizer, without_host):
    eager = train(network, optimizer, lambda f: f)
    traced = train(network, optimizer, trace(without_host=without_host))
    assert eager.keys() == traced.keys()
    for name, want in eager.items():
        np.testing.assert_allclose(
            traced[name], want, rtol=2e-5, atol=2e-6 * max(1.0, np.abs(want).max()), err_msg=name
        )
