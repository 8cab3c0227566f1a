"""Have MegEngine write the files that test_megengine.py reads, and note down what is in them.

reference/bin/python tests/formats/record_megengine.py      # see tests/reference/README.md for the reference
"""

from __future__ import annotations

import io
import json
import os

import megengine as mge
import megengine.functional as F
import megengine.module as M
import megengine.optimizer as optim
import numpy as np
from megengine.core.tensor.dtype import qint4, qint8, qint32, quint4, quint8
from megengine.quantization.utils import QuantMode, create_qparams
from megengine.traced_module import trace_module

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "megengine")
RNG = np.random.default_rng(0)


class Block(M.Module):
    """Has members of every kind: tensors and modules in containers, a module twice, functions, plain values."""

    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(2, 4, 3, groups=2)
        self.bn = M.BatchNorm2d(4)
        self.layers = [M.Linear(2, 3), {"prelu": M.PReLU()}]
        self.head = M.Sequential(M.Linear(3, 2, bias=False), M.ReLU())
        self.again = self.head
        self.act = F.relu
        self.kind = M.Conv2d
        self.scale = mge.Parameter([2.0])
        self.table = mge.tensor([[1, 2]], dtype="int32")
        self.steps = [mge.tensor([3.0]), 4]
        self.options = {"eps": 1e-5}

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


def described(value):
    """A value as JSON: an array by its class, dtype, shape and elements."""
    if isinstance(value, (mge.Tensor, np.ndarray)):
        kind = type(value).__name__
        array = value.numpy() if isinstance(value, mge.Tensor) else value
        return {"kind": kind, "dtype": array.dtype.name, "shape": array.shape, "values": array.ravel().tolist()}
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    return [described(item) for item in value] if isinstance(value, (list, tuple)) else value


def trained():
    """A network after a step of its optimizers, and these."""
    net = Block()
    optimizers = {
        "sgd": optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
        "adam": optim.Adam(net.parameters(), lr=0.01),
        "adagrad": optim.Adagrad(net.parameters(), lr=0.01),
        "adadelta": optim.Adadelta(net.parameters(), lr=0.5),
        "adamw": optim.AdamW(net.parameters(), lr=0.01),
    }
    for parameter in net.parameters():
        parameter.set_value(RNG.normal(size=parameter.shape).astype("float32"))
    for optimizer in optimizers.values():
        for parameter in net.parameters():
            parameter.grad = mge.tensor(RNG.normal(size=parameter.shape).astype("float32"))
        optimizer.step()
    return net, optimizers


def quantized():
    """Tensors of quantized dtypes, and the numbers that they stand for."""
    numbers = np.array([[0.1, -0.2, 0.35]], np.float32)
    dtypes = {"qint8": qint8(0.1), "quint8": quint8(0.1, 30), "qint32": qint32(0.01)}
    dtypes |= {"qint4": qint4(0.1), "quint4": quint4(0.1, 3)}
    tensors = {name: mge.tensor(numbers).astype(dtype) for name, dtype in dtypes.items()}
    files = tensors | {"array": tensors["quint8"].numpy()}
    floats = {name: value.astype("float32") for name, value in tensors.items()}
    return files, floats | {"array": floats["quint8"].numpy()}


class Inner(M.Module):
    """Is traced as a graph inside of another."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = M.Conv2d(2, 4, 3, groups=2), M.BatchNorm2d(4)
        self.scale = mge.Parameter([2.0])

    def forward(self, x):
        return F.relu(self.norm(self.conv(x))) * self.scale


class Outer(M.Module):
    """A traced module with layers, a module that is traced itself, and layers in a list."""

    def __init__(self):
        super().__init__()
        self.inner, self.layers = Inner(), [M.Linear(4, 3), M.Linear(3, 2)]

    def forward(self, x):
        x = F.mean(self.inner(x), (2, 3))
        for layer in self.layers:
            x = layer(x)
        return x


def main() -> None:
    net, optimizers = trained()
    noted = mge.tensor([1.0, 2.0])
    noted.qparams.update(create_qparams(QuantMode.SYMMERTIC, "qint8", scale=mge.tensor(0.1)))
    tensors = {
        dtype: mge.tensor(np.arange(6).reshape(2, 3).astype(dtype))
        for dtype in ("float32", "float16", "int32", "int16", "int8", "uint8", "bool")
    }
    plain = {
        "nested": {"tensors": tensors, "list": [mge.Parameter([1.5]), (mge.tensor(2.5), np.arange(3))]},
        "noted": noted,
    }
    state = {"epoch": 3, "state_dict": net.state_dict()}
    state |= {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    files = {f"plain_{protocol}": (plain, plain, protocol) for protocol in (2, 3, 4)}
    files["checkpoint"] = state, state, 4
    whole = {"net": net, "optimizer": optimizers["sgd"]}
    files["whole"] = whole, {"net": net.state_dict(keep_var=True), "optimizer": optimizers["sgd"].state_dict()}, 4
    traced = trace_module(Outer(), mge.tensor(np.ones((1, 2, 5, 5), "float32")))
    files["traced"] = traced, traced.state_dict(keep_var=True), 4
    files["quantized"] = *quantized(), 4
    for name, (obj, want, protocol) in files.items():
        file = io.BytesIO()
        mge.save(obj, file, pickle_protocol=protocol)
        with open(os.path.join(FOLDER, name + ".pkl"), "wb") as out:
            out.write(file.getvalue())
        with open(os.path.join(FOLDER, name + ".json"), "w") as out:
            json.dump(described(want), out)


if __name__ == "__main__":
    main()
