"""What the tests of functions share: tensors in several memory layouts, tolerances, and gradients by central differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager

# Relative to the largest number in the result: a few units in the last place.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
SHAPES = [(), (1,), (0,), (7,), (3, 5), (2, 3, 4), (0, 3), (2, 3, 5, 4)]
LAYOUTS = ["transposed", "every second", "reversed", "channels last", "stretched"]


def random(shape: Sequence[int], low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Numbers that float16 and bfloat16 hold exactly, so that storing them narrow loses nothing."""
    drawn = np.random.default_rng(seed).uniform(low, high, shape)
    bits = drawn.astype(np.float32).view(np.uint32) if np.ndim(drawn) else np.float32(drawn).reshape(1).view(np.uint32)
    return (bits & 0xFFFF0000).view(np.float32).reshape(shape).astype(np.float16).astype(np.float64)


def laid_out(array: np.ndarray, layout: str, dtype: str = "float32") -> Tensor:
    """A tensor with these elements that lies in memory as `layout` says."""
    if layout == "transposed":
        return Tensor(array.T.copy(), dtype=dtype).T
    if layout == "every second":
        wide = np.repeat(array, 2, axis=-1)
        return Tensor(wide, dtype=dtype)[..., ::2]
    if layout == "reversed":
        return Tensor(array[::-1].copy(), dtype=dtype)[::-1]
    if layout == "channels last":
        return F.transpose(
            Tensor(np.moveaxis(array, 1, -1).copy(), dtype=dtype), (0, array.ndim - 1, *range(1, array.ndim - 1))
        )
    assert layout == "stretched"
    return F.broadcast_to(Tensor(array[:1], dtype=dtype), array.shape)


def assert_close(result: Tensor, truth: Any, dtype: str | None = None, factor: float = 1.0) -> None:
    """The result has the shape of the truth, the dtype `dtype`, and its numbers as far as that dtype holds them."""
    truth = np.asarray(truth)
    name = result.desc.dtype
    assert dtype is None or name == dtype
    assert tuple(result.shape) == truth.shape
    found = np.asarray(result.numpy(), dtype=np.float64)
    if name not in TOLERANCE:
        np.testing.assert_array_equal(found, np.asarray(truth, dtype=np.float64))
        return
    finite = truth[np.isfinite(truth)]
    scale = float(np.abs(finite).max()) if finite.size else 1.0
    bound = TOLERANCE[name] * factor
    np.testing.assert_allclose(found, truth, rtol=bound, atol=bound * max(scale, 1e-3))


def gradients(
    function: Callable[..., Tensor], arrays: Sequence[np.ndarray], weights: Any, dtype: str = "float64"
) -> list[np.ndarray]:
    """The gradients of sum(function(*arrays) · weights)."""
    inputs = [Tensor(a, dtype=dtype) for a in arrays]
    manager = GradManager().attach(inputs)
    with manager:
        manager.backward(_weighted(function(*inputs), weights))
    return [np.zeros(a.shape) if t.grad is None else t.grad.numpy() for t, a in zip(inputs, arrays, strict=True)]


def _weighted(result: Any, weights: Any) -> Tensor:
    if isinstance(result, (tuple, list)):
        total = _weighted(result[0], weights[0])
        for part, weight in zip(result[1:], weights[1:], strict=True):
            total = total + _weighted(part, weight)
        return total
    return F.sum(result * Tensor(weights, dtype="float64"))


def _weights_for(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> Any:
    result = function(*(Tensor(a, dtype="float64") for a in arrays))
    generator = np.random.default_rng(3)
    if isinstance(result, (tuple, list)):
        return [generator.uniform(0.5, 1.5, part.shape) for part in result]
    return generator.uniform(0.5, 1.5, result.shape)


def central_differences(scalar: Callable[..., float], arrays: Sequence[np.ndarray], step: float) -> list[np.ndarray]:
    """The gradients of a function of arrays by central differences."""
    found = []
    for number, array in enumerate(arrays):
        grad = np.zeros(array.shape)
        for place in np.ndindex(*array.shape):
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[number][place] += sign * step
                ends.append(scalar(*moved))
            grad[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(grad)
    return found


def check_gradient(function: Callable[..., Tensor], arrays: Sequence[np.ndarray], step: float = 1e-5) -> None:
    """First-order gradients against central differences of the function."""
    weights = _weights_for(function, arrays)

    def scalar(*moved: np.ndarray) -> float:
        return float(_weighted(function(*(Tensor(a, dtype="float64") for a in moved)), weights).numpy())

    _compare(gradients(function, arrays, weights), central_differences(scalar, arrays, step))


def check_second_gradient(function: Callable[..., Tensor], arrays: Sequence[np.ndarray], step: float = 1e-5) -> None:
    """Second-order gradients, by nested managers, against central differences of the first-order ones."""
    weights = _weights_for(function, arrays)
    generator = np.random.default_rng(5)
    directions = [generator.uniform(0.5, 1.5, a.shape) for a in arrays]
    inputs = [Tensor(a, dtype="float64") for a in arrays]
    outer, inner = GradManager().attach(inputs), GradManager().attach(inputs)
    with outer:
        with inner:
            inner.backward(_weighted(function(*inputs), weights))
        pairs = [(t.grad, d) for t, d in zip(inputs, directions, strict=True) if t.grad is not None]
        for tensor in inputs:
            tensor.grad = None
        outer.backward(_weighted([g for g, _ in pairs], [d for _, d in pairs]))
    found = [np.zeros(a.shape) if t.grad is None else t.grad.numpy() for t, a in zip(inputs, arrays, strict=True)]

    def scalar(*moved: np.ndarray) -> float:
        return sum(float((g * d).sum()) for g, d in zip(gradients(function, moved, weights), directions, strict=True))

    _compare(found, central_differences(scalar, arrays, step))


def _compare(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    scale = max((float(np.abs(w).max()) for w in wanted if w.size), default=1.0)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7 * max(scale, 1.0))
