"""What the tests of the export to ONNX share: sound models, run by ONNX Runtime, and comparison with what tengen computes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from frozen_functions import frozen

from tengen.jit import Loaded
from tengen.jit.onnx import export

TOLERANCE = {"float64": 1e-12, "float32": 3e-6, "float16": 2e-3}


def model_of(function, other=None) -> bytes:
    """An exported model that is sound by the specification, the types and shapes of its values included."""
    file = io.BytesIO()
    export(function, file, other)
    return sound(file)


def sound(file: io.BytesIO) -> bytes:
    """The model in a file, checked as a whole."""
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    return file.getvalue()


def session(function, other=None) -> onnxruntime.InferenceSession:
    return session_of(model_of(function, other))


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def assert_same(found: Sequence[np.ndarray], want: Sequence[np.ndarray], factor: float = 1.0) -> None:
    """Equal dtypes and shapes, and numbers as far as the dtype holds them, relative to the largest."""
    assert len(found) == len(want)
    for got, truth in zip(found, want, strict=True):
        assert (got.dtype, got.shape) == (truth.dtype, truth.shape)
        if truth.dtype.name not in TOLERANCE:
            np.testing.assert_array_equal(got, truth)
            continue
        bound = TOLERANCE[truth.dtype.name] * factor
        finite = np.abs(truth[np.isfinite(truth)], dtype=np.float64)
        np.testing.assert_allclose(got, truth, rtol=bound, atol=bound * max(finite.max(initial=0), 1e-3))


def eager(function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    made = Loaded(function)(*arrays)
    return [t.numpy() for t in (made if isinstance(made, tuple) else (made,))]


def check(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], weights: Sequence[np.ndarray] = (), factor: float = 1.0
) -> None:
    """ONNX Runtime and tengen give the same for a function on arrays."""
    recorded = frozen(function, arrays, weights)
    names = dict(zip(recorded.arguments, arrays, strict=True))
    assert_same(session(recorded).run(None, names), eager(recorded, arrays), factor)


def draw(shape: Sequence[int], dtype: str = "float32", low: float = -3, high: float = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if np.issubdtype(np.dtype(dtype), np.integer):
        return rng.integers(max(int(low), np.iinfo(dtype).min), int(high) + 1, shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)
