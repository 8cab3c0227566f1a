"""Calls of ops on tensors, shared by Tensor's methods and `functional`: arguments are checked, defaults filled in, then
one apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from .._rt import Tensor, apply, recording
from ..base.dtype import NARROW_FLOATS, canonical
from ..base.frames import shorten
from .ops.base import integers, normal_axes, normal_axis, remembered
from .ops.elemwise import TypeCvt
from .ops.formula import Mean
from .ops.precision import Narrowed
from .ops.quantized import Quantize
from .ops.reduce import Reduce
from .ops.shape import Reduced, Reshape, Transpose

Axes = int | Sequence[int] | None


def astype(x: Tensor, dtype: Any) -> Any:
    """`x` converted to `dtype`; `x` itself if it already has it."""
    name = canonical(dtype)
    return x if x.desc.dtype == name else narrowed(apply((Quantize if name[0] == "q" else TypeCvt)(name), x))


def narrowed(x: Any) -> Any:
    """A tensor rounded to its dtype, in a trace too, where small floats are float32 from one op to the next."""
    if recording() is None or x.desc.dtype not in NARROW_FLOATS:
        return x
    return apply(Narrowed(), x)


def reshape(x: Tensor, shape: Any) -> Any:
    """`x` in another shape; one extent may be -1."""
    wanted = integers("reshape", "shape", shape)
    if -1 in wanted:
        known = 1
        for extent in wanted:
            known *= extent if extent != -1 else 1
        if wanted.count(-1) > 1 or known == 0 or x.size % known:
            raise ValueError(f"reshape: {x.size} elements of shape {x.shape} cannot have the shape {wanted}")
        wanted = tuple(x.size // known if extent == -1 else extent for extent in wanted)
    return apply(Reshape(wanted), x)


def transpose(x: Tensor, pattern: Any) -> Any:
    """`x` with its dims in the order `pattern`."""
    return apply(_transposed(x.shape, pattern), x)


@remembered
def _transposed(shape: tuple[int, ...], pattern: Any) -> Transpose:
    axes = [normal_axis("transpose", d, len(shape)) for d in integers("transpose", "pattern", pattern)]
    return Transpose(tuple(axes))


def flatten(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The dims from `start_axis` to `end_axis` (included) as one."""
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = normal_axis("flatten", start_axis, x.ndim), normal_axis("flatten", end_axis, x.ndim)
    return reshape(x, (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def reduce(x: Tensor, mode: str, axis: Axes = None, keepdims: bool = False) -> Any:
    """Fold the axes `axis` (all, if None) with the reduction `mode`."""
    try:
        axes = normal_axes(mode.lower(), axis, x.ndim)
        return apply(Reduced(Mean(axes) if mode == "MEAN" else Reduce(mode, axes), axes, keepdims), x)
    except Exception as error:
        shorten(error)
        raise
