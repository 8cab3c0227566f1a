"""Convolutions, and the linear layer."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from .._rt import apply
from ..base.frames import shorten
from ..core import Tensor
from ..core.ops.conv import Conv1d, Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from ..core.ops.linalg import Linear
from .arguments import pair, single, triple

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "linear"]

Pair = int | tuple[int, int]
Triple = int | tuple[int, int, int]
_LINEAR, _LINEAR_BIAS = Linear(False), Linear(True)


def linear(inp: Tensor, weight: Tensor, bias: Tensor | None = None, compute_mode: str = "default") -> Tensor:
    """x @ weightᵀ + bias over the last dim of x.

    Args:
        inp: floats (…, in_features).
        weight: (out_features, in_features).
        bias: (out_features,).
        compute_mode: sums are always kept in float32 or wider.

    Returns: a tensor (…, out_features).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.linear(Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0]]), Tensor([0.5])).tolist()
    [[11.5]]
    """
    return apply(_LINEAR, inp, weight) if bias is None else apply(_LINEAR_BIAS, inp, weight, bias)


def conv2d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """2-d convolution (as cross-correlation: the kernel is not mirrored).

    Args:
        inp: floats (N, C, H, W).
        weight: (out, C / groups, kh, kw), or for groups also (groups, out / groups, C / groups, kh, kw).
        bias: `out` numbers, such as (1, out, 1, 1).
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, (H + 2 · padding - dilation · (kh - 1) - 1) // stride + 1, …).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.conv2d(F.ones((1, 1, 3, 3)), F.ones((1, 1, 2, 2))).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    parameters = stride, padding, dilation, groups, conv_mode, bias is not None
    try:
        try:
            op = _known_conv2d(*parameters)
        except TypeError:  # a list, which cannot be looked up, or a tensor
            op = None
        op = _conv2d(*parameters) if op is None else op
        return apply(op, inp, weight) if bias is None else apply(op, inp, weight, bias)
    except Exception as error:
        shorten(error)
        raise


@lru_cache(256, typed=True)  # checking these takes longer than a small convolution
def _known_conv2d(*parameters: Any) -> Conv2d:
    numbers = [n for p in parameters[:4] for n in (p if isinstance(p, tuple) else (p,))]
    if any(isinstance(n, Tensor) for n in numbers):
        raise TypeError("a tensor may have another value when it is looked up again")
    return _conv2d(*parameters)


def _conv2d(stride: Pair, padding: Pair, dilation: Pair, groups: int, conv_mode: str, biased: bool) -> Conv2d:
    need_cross_correlation("conv2d", conv_mode)
    return Conv2d(*pairs("conv2d", stride, padding, dilation), groups_of("conv2d", groups), biased)


def conv1d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """1-d convolution: conv2d of images of one row.

    Args:
        inp: floats (N, C, L).
        weight: (out, C / groups, k), or for groups also (groups, out / groups, C / groups, k).
        bias: `out` numbers, such as (1, out, 1).
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, (L + 2 · padding - dilation · (k - 1) - 1) // stride + 1).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.conv1d(F.ones((1, 1, 4)), F.ones((1, 1, 3)), padding=1).tolist()
    [[[2.0, 3.0, 3.0, 2.0]]]
    """
    need_cross_correlation("conv1d", conv_mode)
    steps = _geometry(single, "conv1d", stride, padding, dilation)
    return convolved(Conv1d(*steps, groups_of("conv1d", groups), bias is not None), (inp, weight), bias)


def conv_transpose2d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
    compute_mode: str = "default",
) -> Tensor:
    """The transposed 2-d convolution: what conv2d with the same parameters does to gradients.

    Args:
        inp: (N, C, H, W).
        weight: (C, out / groups, kh, kw), or for groups also (groups, C / groups, out / groups, kh, kw).
        bias: `out` numbers.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        output_padding: how much larger the result is at its lower and right end; less than stride or dilation.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (N, out, (H - 1) · stride - 2 · padding + dilation · (kh - 1) + 1 + output_padding, …).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.conv_transpose2d(F.ones((1, 1, 2, 2)), F.ones((1, 1, 2, 2)), stride=2).shape
    (1, 1, 4, 4)
    """
    need_cross_correlation("conv_transpose2d", conv_mode)
    strides, paddings, dilations = pairs("conv_transpose2d", stride, padding, dilation)
    extra = pair("conv_transpose2d", "output_padding", output_padding)
    _need_less("conv_transpose2d", extra, strides, dilations)
    op = ConvTranspose2d(strides, paddings, extra, dilations, groups_of("conv_transpose2d", groups), bias is not None)
    return convolved(op, (inp, weight), bias)


def conv3d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Triple = 1,
    padding: Triple = 0,
    dilation: Triple = 1,
    groups: int = 1,
    conv_mode: str = "cross_correlation",
) -> Tensor:
    """3-d convolution (as cross-correlation: the kernel is not mirrored).

    Args:
        inp: floats (N, C, D, H, W).
        weight: (out, C / groups, kd, kh, kw), or for groups also (groups, out / groups, C / groups, kd, kh, kw).
        bias: `out` numbers, such as (1, out, 1, 1, 1).
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.
        conv_mode: "cross_correlation" only.

    Returns: a tensor (N, out, (D + 2 · padding - dilation · (kd - 1) - 1) // stride + 1, …).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.conv3d(F.ones((1, 1, 2, 2, 3)), F.ones((1, 1, 2, 2, 2))).tolist()
    [[[[[8.0, 8.0]]]]]
    """
    need_cross_correlation("conv3d", conv_mode)
    steps = _geometry(triple, "conv3d", stride, padding, dilation)
    return convolved(Conv3d(*steps, groups_of("conv3d", groups), bias is not None), (inp, weight), bias)


def conv_transpose3d(
    inp: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Triple = 1,
    padding: Triple = 0,
    output_padding: Triple = 0,
    dilation: Triple = 1,
    groups: int = 1,
) -> Tensor:
    """The transposed 3-d convolution: what conv3d with the same parameters does to gradients.

    Args:
        inp: (N, C, D, H, W).
        weight: (C, out / groups, kd, kh, kw), or for groups also (groups, C / groups, out / groups, kd, kh, kw).
        bias: `out` numbers.
        stride: how far the window moves: one number, or one for each dim.
        padding: zeros on both sides: one number, or one for each dim.
        output_padding: how much larger the result is at its ends; less than stride or dilation.
        dilation: how far apart the taps of the window are: one number, or one for each dim.
        groups: into how many groups the channels go, each with a window of its own.

    Returns: a tensor (N, out, (D - 1) · stride - 2 · padding + dilation · (kd - 1) + 1 + output_padding, …).

    Raises:
        ValueError: the shapes do not fit.

    >>> F.conv_transpose3d(F.ones((1, 1, 2, 2, 2)), F.ones((1, 1, 2, 2, 2)), stride=2).shape
    (1, 1, 4, 4, 4)
    """
    name = "conv_transpose3d"
    strides, paddings, dilations = _geometry(triple, name, stride, padding, dilation)
    extra = triple(name, "output_padding", output_padding)
    _need_less(name, extra, strides, dilations)
    op = ConvTranspose3d(strides, paddings, extra, dilations, groups_of(name, groups), bias is not None)
    return convolved(op, (inp, weight), bias)


# Shared by all convolution functions, also those of local_convolution.py and quantized.py.


def convolved(op: Any, inputs: tuple[Any, ...], bias: Tensor | None) -> Tensor:
    """The op of the inputs, the bias being the last one if there is one."""
    made: Tensor = apply(op, *inputs) if bias is None else apply(op, *inputs, bias)
    return made


def _geometry(each: Any, op: str, stride: Any, padding: Any, dilation: Any) -> Any:
    """The three as an op has them; `each` reads one of them: a number, or one for each dim."""
    return each(op, "stride", stride, 1), each(op, "padding", padding), each(op, "dilation", dilation, 1)


pairs = partial(_geometry, pair)


def groups_of(op: str, groups: int) -> int:
    """The number of groups, at least 1."""
    return single(op, "groups", groups, 1)


def _need_less(op: str, extra: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> None:
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ValueError(
            f"{op}: output_padding {extra} must be smaller than the stride {strides} or the dilation {dilations}"
        )


def need_cross_correlation(op: str, conv_mode: str) -> None:
    if str(conv_mode).lower() != "cross_correlation":
        raise ValueError(
            f"{op}: conv_mode must be 'cross_correlation', got {conv_mode!r}; to mirror the kernel use weight[..., ::-1, ::-1]"
        )
