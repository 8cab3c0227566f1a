"""Shapes and positions of elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..core import Tensor

__all__ = "broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll".split()
__all__ += "squeeze stack tile unstack".split()


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: Any = None) -> Tensor:
    """The elements in row-major order, in another shape."""
    return F.reshape(x, tuple(shape) if not isinstance(shape, int) else (shape,))


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """The dims in another order."""
    return x.transpose(*(axis % x.ndim for axis in axes)) if x.ndim else +x


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """Some dims moved to other places, with the rest in order."""
    sources, places = ([axis % x.ndim for axis in _several(axes)] for axes in (source, destination))
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


def _several(axes: Any) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def expand_dims(x: Tensor, /, *, axis: int = 0) -> Tensor:
    """A new dim of size 1."""
    return F.expand_dims(x, axis)


def squeeze(x: Tensor, /, axis: Any) -> Tensor:
    """The tensor without these dims of size 1. Raises ValueError for dims of another size."""
    axes = [one % x.ndim if x.ndim else one for one in _several(axis)]
    if any(x.shape[one] != 1 for one in axes):
        raise ValueError(f"squeeze: dims {axis} of shape {tuple(x.shape)} are not all of size 1")
    return x.reshape(tuple(extent for i, extent in enumerate(x.shape) if i not in axes))


def flip(x: Tensor, /, *, axis: Any = None) -> Tensor:
    """The elements in reverse order along some dims, or along all."""
    axes = range(x.ndim) if axis is None else [one % x.ndim for one in _several(axis)]
    return x[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim))]


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Tensor:
    """The elements moved along dims; those that leave at the end come in at the start."""
    return F.roll(x, shift, axis)


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along a dim."""
    return F.concat([x.flatten() for x in arrays] if axis is None else list(arrays), 0 if axis is None else axis)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Tensors joined along a new dim."""
    return F.stack(list(arrays), axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts along a dim."""
    front = moveaxis(x, axis, 0)
    return tuple(front[i] for i in range(front.shape[0]))


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element repeated; `repeats` is one count for all, or one for each."""
    if isinstance(repeats, int):
        return F.repeat(x, repeats, axis)
    counts = np.broadcast_to(np.asarray(repeats), (x.size if axis is None else x.shape[axis],))
    index = Tensor(np.repeat(np.arange(len(counts)), counts), dtype="int32", device=x.device)
    if axis is None:
        return x.flatten()[index]
    return moveaxis(moveaxis(x, axis, 0)[index], 0, axis)


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """The whole tensor repeated along each dim."""
    given = tuple(repetitions)
    given = (1,) * (x.ndim - len(given)) + given
    x = x.reshape((1,) * (len(given) - x.ndim) + tuple(x.shape))
    return F.tile(x, given) if given else +x


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """The tensor broadcast to a shape."""
    return F.broadcast_to(x, tuple(shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Tensors broadcast to their common shape."""
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]
