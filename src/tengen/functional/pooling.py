"""Pooling over windows."""

from __future__ import annotations

from .._rt import apply
from ..core import Tensor
from ..core.ops.pool import AdaptivePooling, Pooling
from .arguments import need_choice, pair

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"]

Pair = int | tuple[int, int]
_AVERAGES = ("average_count_exclude_padding", "average")


def max_pool2d(inp: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest element of each window.

    Padding is never the largest.

    Args:
        inp: numbers (N, C, H, W).
        kernel_size: height and width of the window, or one number for both.
        stride: how far it moves; by default its size.
        padding: how much is padded on both sides: one number, or one for each dim.

    Returns: a tensor (N, C, (H + 2 · padding - kernel) // stride + 1, …).

    Raises:
        ValueError: the window does not fit.

    >>> F.max_pool2d(F.arange(16).reshape(1, 1, 4, 4), 2).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    return _pooled("max_pool2d", "max", inp, kernel_size, stride, padding)


def avg_pool2d(
    inp: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    mode: str = "average_count_exclude_padding",
) -> Tensor:
    """The mean of each window.

    Args:
        inp: numbers (N, C, H, W).
        kernel_size: height and width of the window, or one number for both.
        stride: how far it moves; by default its size.
        padding: zeros on both sides: one number, or one for each dim.
        mode: whether zeros of the padding count ("average") or not ("average_count_exclude_padding").

    Returns: a tensor (N, C, (H + 2 · padding - kernel) // stride + 1, …).

    >>> F.avg_pool2d(F.arange(4).reshape(1, 1, 2, 2), 2).tolist()
    [[[[1.5]]]]
    """
    need_choice("avg_pool2d", "mode", mode, _AVERAGES)
    return _pooled("avg_pool2d", mode, inp, kernel_size, stride, padding)


def _pooled(op: str, mode: str, inp: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair) -> Tensor:
    kernel = pair(op, "kernel_size", kernel_size, 1)
    steps = kernel if stride is None else pair(op, "stride", stride, 1)
    return apply(Pooling(mode, kernel, steps, pair(op, "padding", padding)), inp)


def adaptive_max_pool2d(inp: Tensor, oshp: Pair | Tensor) -> Tensor:
    """max_pool2d with windows such that the result has a given height and width.

    The stride is input // output, the window input - (output - 1) · stride.

    Args:
        inp: numbers (N, C, H, W).
        oshp: height and width of the result, or one number for both.

    Returns: a tensor (N, C, *oshp).

    Raises:
        ValueError: the result is larger than the input.

    >>> F.adaptive_max_pool2d(F.arange(16).reshape(1, 1, 4, 4), 1).tolist()
    [[[[15.0]]]]
    """
    return _adaptive("adaptive_max_pool2d", "max", inp, oshp)


def adaptive_avg_pool2d(inp: Tensor, oshp: Pair | Tensor) -> Tensor:
    """avg_pool2d with windows such that the result has a given height and width.

    The stride is input // output, the window input - (output - 1) · stride.

    Args:
        inp: numbers (N, C, H, W).
        oshp: height and width of the result, or one number for both.

    Returns: a tensor (N, C, *oshp).

    Raises:
        ValueError: the result is larger than the input.

    >>> F.adaptive_avg_pool2d(F.arange(16).reshape(1, 1, 4, 4), 1).tolist()
    [[[[7.5]]]]
    """
    return _adaptive("adaptive_avg_pool2d", "average", inp, oshp)


def _adaptive(op: str, mode: str, inp: Tensor, oshp: Pair | Tensor) -> Tensor:
    return apply(AdaptivePooling(mode, pair(op, "oshp", oshp, 1)), inp)
