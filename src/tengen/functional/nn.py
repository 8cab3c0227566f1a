"""The functions that networks are made of.

Those of neighbouring modules are gathered here under the names that programs use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .._rt import apply
from ..core import Tensor
from ..core.ops.base import INTS
from ..core.ops.index import Embedding, IndexingOneHot, OneHot
from ..core.ops.layout import PadBy, PixelShuffle, SlidingWindow, SlidingWindowTranspose
from ..core.ops.shape import Pad, Reduced
from . import activation, attention, convolution, local_convolution, normalization, pooling
from .activation import *  # noqa: F403
from .arguments import (
    as_index,
    as_tensor,
    dtype_of,
    integer,
    integers,
    need_choice,
    need_fitting,
    need_integers,
    need_rank,
    normal_axis,
    number,
    pair,
    several,
)
from .attention import *  # noqa: F403
from .convolution import *  # noqa: F403
from .local_convolution import *  # noqa: F403
from .loss import *  # noqa: F403  # not in __all__: losses stand in no other module than this and `loss`
from .math import normalize
from .normalization import *  # noqa: F403
from .pooling import *  # noqa: F403
from .vision import *  # noqa: F403  # here and in `vision` only, but for those in __all__
from .vision import remap, warp_affine, warp_perspective

__all__ = [
    "embedding", "indexing_one_hot", "normalize", "one_hot", "pad", "pixel_shuffle", "remap", "sliding_window",
    "sliding_window_transpose", "warp_affine", "warp_perspective",
]  # fmt: skip
__all__ += activation.__all__
__all__ += attention.__all__
__all__ += convolution.__all__
__all__ += local_convolution.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__

Pair = int | tuple[int, int]
_EMBEDDING = Embedding()
_PAD_MODES = {"constant": "constant", "edge": "edge", "replicate": "edge", "reflect": "reflect"}


def embedding(
    inp: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float | None = None,
) -> Tensor:
    """The rows of `weight` at given numbers.

    Args:
        inp: integers of any shape.
        weight: floats (n, d).
        padding_idx, max_norm, norm_type: must be None; module.Embedding has a padding_idx.

    Returns: a tensor (…, d).

    Raises:
        ValueError: an argument that must be None is not.
        IndexError: a number is not that of a row.

    >>> F.embedding(Tensor([1, 0]), Tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    for name, value in (("padding_idx", padding_idx), ("max_norm", max_norm), ("norm_type", norm_type)):
        if value is not None:
            raise ValueError(f"embedding does not support {name}, got {value}; module.Embedding has a padding_idx")
    index, rows = need_integers("embedding", "inp", as_index(inp, weight)), as_tensor(weight, inp)
    need_rank("embedding: weight", rows, 2)
    return apply(_EMBEDDING, rows, index)


def one_hot(inp: Tensor, num_classes: int) -> Tensor:
    """1 at the label along a new last axis, else 0.

    Args:
        inp: integers of any shape, 0 … num_classes - 1.
        num_classes: the extent of the new axis.

    Returns: a tensor of int32 (…, num_classes).

    Raises:
        ValueError: num_classes is below 1.
        TypeError: the labels are not integers.
        IndexError: a label is out of range.

    >>> F.one_hot(Tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    classes = integer("one_hot", "num_classes", num_classes)
    if classes < 1:
        raise ValueError(f"one_hot: num_classes must be at least 1, got {classes}")
    return apply(OneHot(classes, "int32"), need_integers("one_hot", "inp", as_index(inp)))


def indexing_one_hot(src: Tensor, index: Tensor, axis: int = 1, keepdims: bool = False) -> Tensor:
    """The element of `src` at one index for each place along `axis`.

    Args:
        src: a tensor of any dtype.
        index: integers of the shape of src without `axis`.
        axis: along which dim.
        keepdims: whether the axis stays, with extent 1.

    Returns: a tensor of the dtype of src.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range.

    >>> F.indexing_one_hot(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1, 0])).tolist()
    [2.0, 3.0]
    """
    x = as_tensor(src, index)
    along = normal_axis("indexing_one_hot", axis, x.ndim)
    place = need_integers("indexing_one_hot", "index", as_index(index, src))
    return apply(Reduced(IndexingOneHot(along), (along,), keepdims), x, place)


def pad(src: Tensor, pad_width: Sequence[Sequence[int]], mode: str = "constant", constant_value: float = 0.0) -> Tensor:
    """`src` with elements around it.

    Args:
        src: a tensor of any shape and dtype.
        pad_width: for each dim how many are put before and after it; for missing dims none.
        mode: "constant" (with constant_value), "edge" or "replicate" (the outermost element again) or "reflect" (those
            next to it, mirrored).
        constant_value: the element of mode "constant".

    Returns: a tensor of the padded shape.

    Raises:
        ValueError: the mode is unknown, a width is negative, or there are too few elements to mirror.

    >>> F.nn.pad(Tensor([1.0, 2.0, 3.0]), ((2, 1),), mode="reflect").tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    """
    x = as_tensor(src)
    known = _PAD_MODES[need_choice("pad", "mode", str(mode).lower(), _PAD_MODES)]
    widths = [
        integers("pad", "pad_width", ends)
        for ends in several("pad", "pad_width", pad_width, "(before, after) for each dim")
    ]
    before, after = _padded_by(tuple(widths), x.shape, str(mode))
    if known == "constant":
        fill = number("pad", "constant_value", constant_value)
        need_fitting("pad", "constant_value", constant_value, dtype_of(x))
        whole = isinstance(constant_value, (int, np.integer)) and dtype_of(x) in INTS
        return apply(Pad(before, after, int(constant_value) if whole else fill), x)
    return apply(PadBy(known, before, after), x)


@lru_cache(1024)  # programs use the same ones again
def _padded_by(
    widths: tuple[tuple[int, ...], ...], shape: tuple[int, ...], mode: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many elements stand before and after each dim."""
    if any(len(ends) != 2 for ends in widths):
        raise ValueError(
            f"pad: pad_width takes (before, after) for each dim from the first on, such as ((0, 0), (1, 1)), got {widths}"
        )
    if len(widths) > len(shape) or any(w < 0 for pair in widths for w in pair):
        raise ValueError(
            f"pad: pad_width {widths} does not fit shape {shape}; it takes (before, after) >= 0 for each dim"
        )
    known = _PAD_MODES[mode.lower()]
    widths += ((0, 0),) * (len(shape) - len(widths))
    for extent, ends in zip(shape, widths, strict=True):
        limit = extent - 1 if known == "reflect" else None if extent or known == "constant" else 0
        if limit is not None and max(ends) > max(limit, 0):
            raise ValueError(f"pad: mode {mode!r} cannot put {ends} around a dim of extent {extent} of shape {shape}")
    return tuple([before for before, _ in widths]), tuple([after for _, after in widths])


def pixel_shuffle(inp: Tensor, upscale_factor: int) -> Tensor:
    """Channels become pixels: (…, C · r², H, W) → (…, C, H · r, W · r), with r = upscale_factor.

    Shi et al. 2016, section 3.2.

    Args:
        inp: (…, C · r², H, W) of any dtype.
        upscale_factor: r.

    Returns: a tensor (…, C, H · r, W · r).

    Raises:
        ValueError: the number of channels is not a multiple of r².

    >>> F.pixel_shuffle(F.arange(4).reshape(1, 4, 1, 1), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    return apply(PixelShuffle(integer("pixel_shuffle", "upscale_factor", upscale_factor)), inp)


def sliding_window(inp: Tensor, kernel_size: Pair, padding: Pair = 0, stride: Pair = 1, dilation: Pair = 1) -> Tensor:
    """What sliding windows see, with zeros in the padding.

    Args:
        inp: (N, C, H, W) of any dtype.
        kernel_size: height and width of the window, or one number for both.
        padding: zeros on both sides: one number, or one for each dim.
        stride: how far the window moves: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.

    Returns: a tensor (N, C, OH, OW, kh, kw).

    Raises:
        ValueError: no window fits.

    >>> F.nn.sliding_window(F.arange(3).reshape(1, 1, 1, 3), (1, 2)).tolist()
    [[[[[[0.0, 1.0]], [[1.0, 2.0]]]]]]
    """
    return apply(SlidingWindow(*_window("sliding_window", kernel_size, padding, stride, dilation)), inp)


def sliding_window_transpose(
    inp: Tensor, output_size: Pair, kernel_size: Pair, padding: Pair = 0, stride: Pair = 1, dilation: Pair = 1
) -> Tensor:
    """Adds up windows where sliding_window with the same parameters sees them.

    Args:
        inp: (N, C, OH, OW, kh, kw), as sliding_window gives it.
        output_size: height and width of the result.
        kernel_size: height and width of the window, or one number for both.
        padding: zeros on both sides: one number, or one for each dim.
        stride: how far the window moves: one number, or one for each dim.
        dilation: how far apart the taps of the window are: one number, or one for each dim.

    Returns: a tensor (N, C, *output_size).

    Raises:
        ValueError: the shapes do not fit.

    >>> windows = F.nn.sliding_window(F.ones((1, 1, 1, 3)), (1, 2))
    >>> F.nn.sliding_window_transpose(windows, (1, 3), (1, 2)).tolist()
    [[[[1.0, 2.0, 1.0]]]]
    """
    size = pair("sliding_window_transpose", "output_size", output_size, 1)
    window = _window("sliding_window_transpose", kernel_size, padding, stride, dilation)
    return apply(SlidingWindowTranspose(size, *window), inp)


def _window(op: str, kernel_size: Pair, padding: Pair, stride: Pair, dilation: Pair) -> tuple[tuple[int, int], ...]:
    kernel, step = pair(op, "kernel_size", kernel_size, 1), pair(op, "stride", stride, 1)
    return kernel, pair(op, "padding", padding), step, pair(op, "dilation", dilation, 1)
