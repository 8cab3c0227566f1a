"""`pickle.load` of what MegEngine's programs pickled, without megengine.load; recorded by record_pickles.py."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import tengen
import tengen.compat.megengine

RECORDED = json.loads(Path(__file__).with_name("pickles.json").read_text())
LAYERS = sorted(name for name, row in RECORDED.items() if isinstance(row, list))


def test_tensors():
    found = pickle.loads(base64.b64decode(RECORDED["tensors"]))
    assert [type(found[key]) for key in "wpis"] == [tengen.Tensor, tengen.Parameter, tengen.Tensor, tengen.Tensor]
    expected = np.random.RandomState(0).normal(size=(2, 2)).astype("float32")
    np.testing.assert_array_equal(found["w"].numpy(), expected)
    assert [found["p"].tolist(), found["i"].tolist(), found["s"].item()] == [[1.0, 2.0], [1, 2], 2.5]
    assert [found[key].dtype.name for key in "wpis"] == ["float32", "float32", "int32", "float32"]


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    text, x, y = RECORDED[name]
    layer = pickle.loads(base64.b64decode(text))
    made = layer(tengen.Tensor(np.array(x), dtype="int32" if name == "Embedding" else "float32"))
    made = made[0] if isinstance(made, tuple) else made
    np.testing.assert_allclose(made.numpy(), y, rtol=2e-5, atol=2e-6)
    assert repr(layer)
    again = pickle.loads(pickle.dumps(layer))
    assert {key: value.tolist() for key, value in again.state_dict().items()} == {
        key: value.tolist() for key, value in layer.state_dict().items()
    }


def test_quantized_tensors_are_left_to_load():
    with pytest.raises(TypeError, match=r"holds a quantized tensor.*megengine\.load\(file\)"):
        pickle.loads(base64.b64decode(RECORDED["quantized"]))


def test_a_tensor_is_made_as_ever():
    x = np.arange(3, dtype="float32")
    assert tengen.Tensor(x, np.dtype("float16"), "cpu0").dtype.name == "float16"
    with pytest.raises(RuntimeError, match="gpu7"):
        tengen.Tensor(x, np.dtype("float32"), "gpu7")

    class Named(tengen.Tensor):
        def __init__(self, data, kind, name):
            super().__init__(data, name=f"{name} {kind}")

    assert Named(x, np.dtype("float32"), "x").name == "x float32"


def test_conv1d_holds_numbers():
    """As in MegEngine, where programs that count operations multiply them."""
    layer = tengen.module.Conv1d(4, 2, 3, stride=2, padding=1)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == (3, 2, 1, 1)
