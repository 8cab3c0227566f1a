"""What rules of several ops share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import Tensor
from ......autodiff import GradManager

__all__: list[str] = []

_FIRST, _LAST = ("NCHW", "NCDHW"), ("NHWC", "NDHWC")


def shape_of(op: Any, given: Sequence[Any]) -> Any:
    """The shape that an op has as a parameter, or gets as its last input."""
    return tuple(int(n) for n in (given[0].numpy() if given else op.shape))


def steps(op: Any, name: str, dims: str = "hw") -> Any:
    """A parameter that exists once per dim of an image: `stride_h` and `stride_w`."""
    return tuple(getattr(op, f"{name}_{dim}") for dim in dims)


def channels_first(op: Any, x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """An image with its channels in axis 1, and a function that brings results back to the layout that is the op's
    `format`."""
    if op.format.name in _FIRST:
        return x, lambda y: y
    if op.format.name in _LAST:
        last = x.ndim - 1
        return F.transpose(x, (0, last, *range(1, last))), lambda y: F.transpose(y, (0, *range(2, y.ndim), 1))
    raise ValueError(
        f"{op!r}: {op.format} is an order of bytes that tengen does not have; give {_FIRST[x.ndim > 4]} or {_LAST[x.ndim > 4]}"
    )


def kept(dtype: str = "float32") -> Tensor:
    """An empty tensor in place of what MegEngine keeps for its own backward; its ops give that as an output."""
    return Tensor(np.empty(0, dtype))


def gradient(function: Callable[[Any], Any], x: Any, dy: Any) -> Any:
    """The gradient of a function at x, given the gradient dy of its result."""
    at = x.detach()
    with GradManager().attach(at) as manager:
        manager.backward(function(at), dy)
    return at.grad
