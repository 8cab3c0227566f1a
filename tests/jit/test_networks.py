"""Networks of modules, recorded, saved and exported: what leaves tengen computes what the network does."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx_harness import assert_same, draw, session_of, sound

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.jit import load, trace


class Residual(M.Module):
    """Two convolutions and what goes around them (He et al. 2016, figure 2)."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.body = M.Sequential(
            M.Conv2d(channels, out, 3, stride, 1, bias=False), M.BatchNorm2d(out), M.ReLU(),
            M.Conv2d(out, out, 3, 1, 1, bias=False), M.BatchNorm2d(out),
        )  # fmt: skip
        same = stride == 1 and channels == out
        around = [] if same else [M.Conv2d(channels, out, 1, stride, bias=False), M.BatchNorm2d(out)]
        self.around = M.Sequential(*around) if around else M.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.around(x))


class Pooled(M.Module):
    """A classifier over the mean of each channel."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.linear = M.Linear(channels, classes)

    def forward(self, x):
        return self.linear(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Inverted(M.Module):
    """Wide inside, with a convolution of each channel by itself (Sandler et al. 2018, figure 3)."""

    def __init__(self, channels: int, out: int, stride: int, factor: int):
        super().__init__()
        wide = channels * factor
        self.short = stride == 1 and channels == out
        self.expand = M.Sequential(M.Conv2d(channels, wide, 1, bias=False), M.BatchNorm2d(wide))
        self.each = M.Sequential(M.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), M.BatchNorm2d(wide))
        self.project = M.Sequential(M.Conv2d(wide, out, 1, bias=False), M.BatchNorm2d(out))

    def forward(self, x):
        y = self.project(F.relu6(self.each(F.relu6(self.expand(x)))))
        return x + y if self.short else y


class Encoder(M.Module):
    """A layer of a transformer (Vaswani et al. 2017, figure 1)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values, self.out = (M.Linear(width, width) for _ in range(4))
        self.first, self.second = M.LayerNorm(width), M.LayerNorm(width)
        self.wide, self.narrow = M.Linear(width, 2 * width), M.Linear(2 * width, width)

    def forward(self, x):
        n, places, width = x.shape

        def split(y):
            return F.transpose(F.reshape(y, (n, places, self.heads, width // self.heads)), (0, 2, 1, 3))

        q, k, v = split(self.queries(x)), split(self.keys(x)), split(self.values(x))
        weights = F.softmax(F.matmul(q, k, transpose_b=True) / (width // self.heads) ** 0.5, axis=-1)
        mixed = F.reshape(F.transpose(F.matmul(weights, v), (0, 2, 1, 3)), (n, places, width))
        x = self.first(x + self.out(mixed))
        return self.second(x + self.narrow(F.gelu(self.wide(x))))


class Flatten(M.Module):
    def forward(self, x):
        return F.flatten(x, 1)


def lenet() -> M.Module:
    return M.Sequential(
        M.Conv2d(1, 6, 5), M.ReLU(), M.MaxPool2d(2, 2), M.Conv2d(6, 16, 5), M.ReLU(), M.MaxPool2d(2, 2), Flatten(),
        M.Linear(400, 120), M.ReLU(), M.Linear(120, 84), M.ReLU(), M.Linear(84, 10),
    )  # fmt: skip


def resnet18() -> M.Module:
    widths = [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]
    blocks = [Residual(before, out, s) for (before, _), (out, s) in zip([(64, 1), *widths], widths, strict=False)]
    stem = [M.Conv2d(3, 64, 7, 2, 3, bias=False), M.BatchNorm2d(64), M.ReLU(), M.MaxPool2d(3, 2, 1)]
    return M.Sequential(*stem, *blocks, Pooled(512, 10))


def mobilenet() -> M.Module:
    stem = [M.Conv2d(3, 16, 3, 2, 1, bias=False), M.BatchNorm2d(16)]
    return M.Sequential(*stem, Inverted(16, 16, 1, 2), Inverted(16, 24, 2, 6), Inverted(24, 24, 1, 6), Pooled(24, 10))


NETWORKS: dict[str, tuple[Callable[[], M.Module], tuple[int, ...], set[str]]] = {
    "LeNet": (lenet, (1, 32, 32), {"Conv", "Relu", "MaxPool", "Reshape", "Gemm"}),
    "ResNet-18": (
        resnet18,
        (3, 64, 64),
        {"Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "AveragePool", "Reshape", "Gemm"},
    ),
    "MobileNetV2": (
        mobilenet,
        (3, 32, 32),
        {"Conv", "BatchNormalization", "Clip", "Add", "AveragePool", "Reshape", "Gemm"},
    ),
    "transformer": (
        lambda: Encoder(64, 4),
        (12, 64),
        {"MatMul", "Add", "Reshape", "Transpose", "Div", "Softmax", "LayerNormalization", "Gelu"},
    ),
}


def network_of(name: str) -> M.Module:
    """A network in inference, with statistics as of a trained one."""
    make, _, _ = NETWORKS[name]
    network = make()
    network.eval()
    for seed, (buffer, tensor) in enumerate(network.named_buffers()):
        low, high = (0.5, 1.5) if buffer.endswith("var") else (-0.1, 0.1)
        tensor._reset(Tensor(draw(tensor.shape, low=low, high=high, seed=seed)))
    return network


def traced(name: str, network: M.Module, batch: int) -> trace:
    """The network traced and called once."""
    function = trace(network, without_host=True, capture_as_const=True)
    function(Tensor(draw((batch, *NETWORKS[name][1]))))
    return function


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx(name):
    network, file = network_of(name), io.BytesIO()
    traced(name, network, 2).dump(file, arg_names=["x"], output_names=["y"], dump_format="ONNX", dynamic_batch=True)
    run = session_of(sound(file))
    for batch in (1, 2, 5):
        x = draw((batch, *NETWORKS[name][1]))
        assert_same(run.run(["y"], {"x": x}), [network(Tensor(x)).numpy()], factor=4)
    model = onnx.load_from_string(file.getvalue())
    assert set(Counter(node.op_type for node in model.graph.node)) == NETWORKS[name][2]


@pytest.mark.parametrize("name", NETWORKS)
def test_file(name, tmp_path):
    network, path = network_of(name), tmp_path / "network.tg"
    traced(name, network, 2).dump(path, arg_names=["x"], user_info={"name": name})
    x = Tensor(draw((2, *NETWORKS[name][1]), seed=5))
    loaded = load(path)
    np.testing.assert_allclose(loaded(x=x).numpy(), network(x).numpy(), rtol=1e-5, atol=1e-6)
    assert loaded.metadata == {"user_info": {"name": name}}


@pytest.mark.parametrize("name", NETWORKS)
def test_without_host(name):
    network = network_of(name)
    function = traced(name, network, 3)
    for seed in (1, 2):
        x = Tensor(draw((3, *NETWORKS[name][1]), seed=seed))
        np.testing.assert_allclose(function(x).numpy(), network(x).numpy(), rtol=1e-5, atol=1e-6)
