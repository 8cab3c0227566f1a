"""Files that MegEngine 1.13 wrote (record_megengine.py): data, state dicts, and modules and optimizers that were saved whole."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen import Parameter, Tensor
from tengen.base.errors import DeviceError, SerializationError
from tengen.dtype import is_quantize

FOLDER = Path(__file__).parent / "megengine"
PARAMETERS = ("again", "bn", "conv", "layers", "scale")


def recorded(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def check(got, want):
    """`got` is what the recorder described as `want`."""
    if isinstance(want, dict) and set(want) == {"kind", "dtype", "shape", "values"}:
        assert type(got).__name__ == want["kind"]
        array = got.numpy() if isinstance(got, Tensor) else got
        assert (array.dtype.name, list(array.shape)) == (want["dtype"], want["shape"])
        assert array.ravel().tolist() == want["values"]
    elif isinstance(want, dict):
        assert [str(key) for key in got] == list(want)
        for key, item in zip(got.values(), want.values(), strict=True):
            check(key, item)
    elif isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            check(a, b)
    else:
        assert got == want


class Block(M.Module):
    """What the recorder saved, as a program of tengen's."""

    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(2, 4, 3, groups=2)
        self.bn = M.BatchNorm2d(4)
        self.layers = [M.Linear(2, 3), {"prelu": M.PReLU()}]
        self.head = M.Sequential(M.Linear(3, 2, bias=False), M.ReLU())
        self.again = self.head
        self.scale = Parameter([0.0])
        self.table = Tensor([[0, 0]], dtype="int32")
        self.steps = [Tensor([0.0]), 4]

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


@pytest.mark.parametrize("name", ["plain_2", "plain_3", "plain_4", "checkpoint"])
def test_data(name):
    check(tengen.load(FOLDER / f"{name}.pkl"), recorded(name))


def test_what_was_saved_whole():
    found, want = tengen.load(FOLDER / "whole.pkl"), recorded("whole")
    assert found["net"].kind == "__main__.Block"
    assert set(found["net"]) == set(want["net"])
    for name, item in want["net"].items():
        assert isinstance(found["net"][name], Parameter) == (name.startswith(PARAMETERS) and "running" not in name)
        assert found["net"][name].numpy().ravel().tolist() == item["values"]
    assert found["optimizer"].kind == "megengine.optimizer.sgd.SGD"
    check(found["optimizer"], want["optimizer"])


def test_a_traced_module_is_read_as_its_state():
    found, want = tengen.load(FOLDER / "traced.pkl"), recorded("traced")
    assert found.kind == "megengine.traced_module.traced_module.TracedModule"
    assert {name: value.numpy().ravel().tolist() for name, value in found.items()} == {
        name: item["values"] for name, item in want.items()
    }
    layer = M.Conv2d(2, 4, 3, groups=2)
    layer.load_state_dict({name: found[f"inner.conv.{name}"] for name in ("weight", "bias")})


@pytest.mark.parametrize("name", ["checkpoint", "whole"])
def test_it_goes_into_modules_and_optimizers(name):
    found, net = tengen.load(FOLDER / f"{name}.pkl"), Block()
    state, kept = (found[key] for key in (("state_dict", "sgd") if name == "checkpoint" else ("net", "optimizer")))
    net.load_state_dict(state)
    want = recorded("checkpoint")["state_dict"]
    for name, array in net.state_dict().items():
        assert array.ravel().tolist() == want[name]["values"]
    optimizer = optim.SGD(net.parameters(), lr=1.0, momentum=0.5)
    optimizer.load_state_dict(kept)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    check(optimizer.state_dict()["state"], recorded("checkpoint")["sgd"]["state"])


@pytest.mark.parametrize("name", ["adam", "adagrad", "adadelta", "adamw"])
def test_states_of_optimizers(name):
    kinds = {"adam": optim.Adam, "adagrad": optim.Adagrad, "adadelta": optim.Adadelta, "adamw": optim.AdamW}
    optimizer = kinds[name](Block().parameters(), lr=1.0)
    optimizer.load_state_dict(tengen.load(FOLDER / "checkpoint.pkl")[name])
    check(optimizer.state_dict()["state"], recorded("checkpoint")[name]["state"])


def test_quantized_numbers_keep_their_dtype():
    found, want = tengen.load(FOLDER / "quantized.pkl"), recorded("quantized")
    assert list(found) == list(want)
    for name, value in found.items():
        assert type(value).__name__ == want[name]["kind"]
        assert is_quantize(value.dtype)
        real = tengen.tensor(value).astype("float32").numpy()
        np.testing.assert_allclose(real, np.reshape(want[name]["values"], want[name]["shape"]), rtol=1e-6)


def test_locations():
    tensors = tengen.load(FOLDER / "plain_4.pkl", map_location="cpu1")["nested"]["tensors"]
    assert {str(tensor.device) for tensor in tensors.values()} == {"cpu1:0"}


# -- files that mean harm --------------------------------------------------------------------------------------


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def new(module="evil", attribute="Net"):
    return name(module, attribute) + b")\x81"


STATE = b"}X\x0e\x00\x00\x00_forward_hooksNs"
REFUSED = {
    "a class that is no module": (new() + b"}b", "evil.Net"),
    "one without attributes": (new(), "evil.Net"),
    "a function in a list": (b"](" + name("os", "system") + b"N\x85Re", "os.system"),
    "a function as a key": (b"}" + name("os", "system") + b"Ns", "os.system"),
    "a class in a tuple": (new() + b"\x85", "evil.Net"),
    "one beside a module": (b"](" + new() + STATE + b"b" + name("os", "system") + b"e", "os.system"),
    "deep modules": ((new() + STATE + b"X\x01\x00\x00\x00x") * 3000 + b"N" + b"sb" * 3000, "far more"),
    "a module in lists that hold a list twice": (
        new() + STATE + b"X\x01\x00\x00\x00x]" + b"2\x86" * 60 + b"sb",
        "far more",
    ),
    "a list in itself": (new() + STATE + b"X\x01\x00\x00\x00x]q\x00h\x00asb", "deep"),
}


@pytest.mark.parametrize("content, message", REFUSED.values(), ids=list(REFUSED))
def test_what_is_no_module_is_refused(content, message):
    with pytest.raises(SerializationError, match=message):
        tengen.load(io.BytesIO(b"\x80\x02" + content + b"."))


def test_a_module_runs_no_code():
    found = tengen.load(
        io.BytesIO(
            b"\x80\x02" + new() + STATE + b"X\x01\x00\x00\x00x" + name("os", "system") + b"X\x02\x00\x00\x00no\x85Rsb."
        )
    )
    assert (dict(found), found.kind) == ({}, "evil.Net")


def test_cut_and_changed_files_are_clear_errors():
    content = (FOLDER / "whole.pkl").read_bytes()
    for length in range(2, len(content), 397):
        with pytest.raises(SerializationError):
            tengen.load(io.BytesIO(content[:length]))
    for place in range(0, len(content), 131):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with suppress(SerializationError, DeviceError):
            tengen.load(io.BytesIO(changed))
