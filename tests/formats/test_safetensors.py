"""safetensors files: written and read next to the library's own functions for NumPy."""

from __future__ import annotations

import builtins
import io
import json
import sys

import numpy as np
import pytest
import safetensors.numpy

import tengen
from tengen import Parameter, Tensor
from tengen.base.errors import SerializationError
from tengen.formats.safetensors import save_safetensors

NUMPY_DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64".split()


def arrays():
    values = {name: np.array([[0, 1, 2], [3, 100, 5]]).astype(name) for name in NUMPY_DTYPES}
    return values | {
        "none": np.zeros((0, 3), np.float32),
        "one": np.array(2.5),
        "turned": np.arange(6.0).reshape(2, 3).T,
    }


def test_it_reads_what_the_library_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({name: np.asarray(value, order="C") for name, value in arrays().items()}, path)
    found = tengen.load(path)
    assert set(found) == set(arrays())
    for name, want in arrays().items():
        value = found[name]
        assert isinstance(value, np.ndarray if name in ("uint32", "uint64") else Tensor)
        assert (value.dtype, tuple(value.shape)) == (want.dtype, want.shape)
        assert np.array_equal(value if isinstance(value, np.ndarray) else value.numpy(), want)


def test_the_library_reads_what_it_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors(arrays(), str(path), {"by": "tengen"})
    found = safetensors.numpy.load_file(path)
    assert set(found) == set(arrays())
    for name, want in arrays().items():
        assert found[name].dtype == want.dtype
        np.testing.assert_array_equal(found[name], want)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"by": "tengen"}


def header(path):
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def test_bfloat16_and_views(tmp_path):
    path = tmp_path / "a.safetensors"
    numbers = Tensor([[1.0, -2.5, 3.0]], dtype="bfloat16")
    cube = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    save_safetensors({"b": numbers, "t": cube.T, "row": cube[1], "p": Parameter([1.0])}, path)
    said, data = header(path)
    assert said["b"]["dtype"] == "BF16"
    start, end = said["b"]["data_offsets"]
    assert np.frombuffer(data[start:end], np.uint16).tolist() == [0x3F80, 0xC020, 0x4040]
    found = tengen.load(path, map_location="cpu1")
    assert (found["b"].dtype.name, found["b"].tolist()) == ("bfloat16", [[1.0, -2.5, 3.0]])
    assert found["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["row"].tolist() == [3, 4, 5]
    assert str(found["p"].device) == "cpu1:0"


def test_float8(tmp_path):
    """All bits, next to the formulas of the two formats."""
    content = {"e4": {"dtype": "F8_E4M3", "shape": [256], "data_offsets": [0, 256]}}
    content["e5"] = {"dtype": "F8_E5M2", "shape": [256], "data_offsets": [256, 512]}
    text = json.dumps(content).encode()
    file = io.BytesIO(len(text).to_bytes(8, "little") + text + bytes(range(256)) * 2)
    found = tengen.load(file)
    for bits in range(256):
        sign = -1.0 if bits >> 7 else 1.0
        exponent, mantissa = bits >> 3 & 15, bits & 7
        want = np.nan if bits & 127 == 127 else sign * (mantissa / 8 + (exponent > 0)) * 2.0 ** (max(exponent, 1) - 7)
        np.testing.assert_equal(float(found["e4"][bits]), want)
        # A float8_e5m2 is the first byte of a float16.
        np.testing.assert_equal(float(found["e5"][bits]), float(np.array([bits << 8], np.uint16).view(np.float16)[0]))


@pytest.mark.parametrize(
    "state, kind, message",
    [
        ({"a": 3}, TypeError, "'a' is a int"),
        ({"a": {"b": Tensor([1.0])}}, TypeError, "'a' is a dict"),
        ({1: Tensor([1.0])}, TypeError, "names .* got 1"),
        ({"a": np.zeros(1, np.complex128)}, ValueError, "complex128"),
        ({"a": np.array(["x"])}, ValueError, "no dtype"),
    ],
)
def test_what_cannot_be_saved(tmp_path, state, kind, message):
    with pytest.raises(kind, match=message):
        save_safetensors(state, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_damaged_files(tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors({"a": Tensor([1.0, 2.0]), "b": Tensor([3])}, path)
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SerializationError, match=r"a\.safetensors"):
            tengen.load(path)
    path.write_bytes((200).to_bytes(8, "little") + b"{" + b"x" * 300)
    with pytest.raises(SerializationError, match="damaged"):
        tengen.load(path)


def test_without_the_library(monkeypatch, tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors({"a": Tensor([1.0])}, path)
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "safetensors":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "safetensors")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"tengen\[safetensors\]"):
        tengen.load(path)
