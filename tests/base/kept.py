"""A program that saves one of everything that can be saved, or loads it and says what is wrong: `python kept.py save|load FOLDER`.

It runs on its default device. What it saves on the way is compared where it is loaded: on another device, or where there is no GPU.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import jit, optimizer
from tengen.autodiff import GradManager
from tengen.base.errors import DeviceError
from tengen.distributed import checkpoint
from tengen.formats.safetensors import save_safetensors
from tengen.traced_module import trace_module


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(2, 3, 3, padding=1)
        self.bn = M.BatchNorm2d(3)
        self.linear = M.Linear(3, 4)

    def forward(self, x):
        return self.linear(F.flatten(F.relu(self.bn(self.conv(x))).mean(axis=(2, 3)), 1))


def made():
    """A network and its optimizers after a step."""
    tengen.random.seed(0)
    net = Net()
    gm = GradManager().attach(net.parameters())
    found = {
        "adam": optimizer.Adam(net.parameters(), lr=0.01),
        "sgd": optimizer.SGD(net.parameters(), lr=0.01, momentum=0.9),
    }
    for one in found.values():
        with gm:
            gm.backward(F.square(net(images())).sum())
        one.step().clear_grad()
    net.eval()
    return net, found


def images():
    return tengen.tensor(np.linspace(-1, 1, 2 * 2 * 5 * 5, dtype=np.float32).reshape(2, 2, 5, 5))


def save(folder):
    net, found = made()
    x = images()
    values = {
        "float32": tengen.tensor([1.5, 2.5]), "bfloat16": tengen.tensor([1.5, -2.0], dtype="bfloat16"), "bool": tengen.tensor([True, False]),
        "int64": tengen.tensor([1, 2], dtype="int64"), "complex64": tengen.tensor([1 + 2j]), "view": tengen.tensor([[1.0, 2.0], [3.0, 4.0]]).T,
        "qint8": tengen.tensor(np.int8([1, 2]), dtype="qint8(0.5)"),
    }  # fmt: skip
    tengen.save(values, folder / "values")
    tengen.save(net.state_dict(), folder / "net")
    tengen.save({name: one.state_dict() for name, one in found.items()}, folder / "optimizers")
    (folder / "tensor.pickle").write_bytes(pickle.dumps(values["float32"]))
    (folder / "net.pickle").write_bytes(pickle.dumps(net))
    tengen.save(trace_module(net, x), folder / "traced")
    function = jit.trace(net, without_host=True, capture_as_const=True)
    function(x)
    function.dump(str(folder / "function"), arg_names=["x"])
    save_safetensors(net.state_dict(), folder / "net.safetensors")
    checkpoint.save(folder / "checkpoints", 1, {"net": net.state_dict()})
    state = {
        name: [{k: np.asarray(v) for k, v in kept.items()} for kept in one.state_dict()["state"].values()]
        for name, one in found.items()
    }
    expected = net(x).numpy(), {name: np.asarray(v) for name, v in net.state_dict().items()}, state
    (folder / "expected.pickle").write_bytes(pickle.dumps(expected))


def load(folder):
    """Prints where tensors of `values` are. Raises what is wrong."""
    result, weights, states = pickle.loads((folder / "expected.pickle").read_bytes())
    x = images()

    def like(net):
        weight = next(iter(net.parameters())) if isinstance(net, M.Module) else x
        np.testing.assert_allclose(net(x.to(weight.device)).numpy(), result, rtol=1e-5, atol=1e-6)

    where = None
    try:
        values = tengen.load(folder / "values")
    except DeviceError as error:
        where = tengen.get_default_device()
        print(error)
        values = tengen.load(folder / "values", map_location=where)
    assert values["float32"].tolist() == [1.5, 2.5] and values["view"].tolist() == [[1, 3], [2, 4]]
    assert values["bfloat16"].tolist() == [1.5, -2.0] and values["bool"].tolist() == [True, False]
    assert values["int64"].tolist() == [1, 2] and values["complex64"].tolist() == [1 + 2j]
    assert str(values["qint8"].dtype) == "qint8(0.5)" and values["qint8"].numpy().tolist() == [1, 2]

    net = Net()
    assert {name: np.asarray(v).tolist() for name, v in tengen.load(folder / "net", map_location=where).items()} == {
        name: v.tolist() for name, v in weights.items()
    }
    net.load_state_dict(tengen.load(folder / "net", map_location=where))
    net.eval()
    like(net)
    other, found = made()
    for name, state in tengen.load(folder / "optimizers", map_location=where).items():
        found[name].load_state_dict(state)
        for kept, wanted in zip(found[name].state_dict()["state"].values(), states[name], strict=True):
            assert {k: np.asarray(v).tolist() for k, v in kept.items()} == {k: v.tolist() for k, v in wanted.items()}
        with GradManager().attach(other.parameters()) as gm:
            gm.backward(other(x).sum())
        found[name].step().clear_grad()
    assert pickle.loads((folder / "tensor.pickle").read_bytes()).tolist() == [1.5, 2.5]
    like(pickle.loads((folder / "net.pickle").read_bytes()))
    like(tengen.load(folder / "traced", map_location=where))
    like(jit.load(str(folder / "function")))
    other.load_state_dict(tengen.load(folder / "net.safetensors"))
    other.eval()
    like(other)
    again = checkpoint.load(folder / "checkpoints").state["net"]
    assert {name: np.asarray(v).tolist() for name, v in again.items()} == {
        name: v.tolist() for name, v in weights.items()
    }
    print(values["float32"].device, values["float32"].device.physical, next(iter(net.parameters())).device.physical)


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
