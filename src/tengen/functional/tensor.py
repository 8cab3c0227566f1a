"""Changing the shapes of tensors, and reading and writing parts of them. Making tensors, and complex numbers, are gathered here too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from .._rt import apply
from ..base.device import Device
from ..core import Tensor, calls
from ..core.indexing import positions
from ..core.ops.elemwise import Where
from ..core.ops.index import GatherAlong, ScatterAlong
from ..core.ops.layout import Join, Repeat, Roll, RollFlat, Split, Stack, Tile
from ..core.ops.scan import CumProd, CumSum
from ..core.ops.shape import Broadcast, Reshape, Transpose
from . import complex_numbers, creation
from .arguments import (
    Axes,
    as_index,
    as_tensor,
    integer_axis,
    integers,
    listed,
    need_integers,
    need_mask,
    normal_axes,
    normal_axis,
    remembered,
    several,
    single,
)
from .complex_numbers import *  # noqa: F403
from .creation import *  # noqa: F403

__all__ = [
    "broadcast_to", "concat", "cond_take", "cumprod", "cumsum", "expand_dims", "flatten", "gather", "repeat",
    "reshape", "roll", "scatter", "split", "squeeze", "stack", "swapaxes", "tile", "transpose", "where",
]  # fmt: skip
__all__ += complex_numbers.__all__
__all__ += creation.__all__

_WHERE = Where()
Shape = int | Sequence[int] | Tensor

# -- shapes ------------------------------------------------------------------------------------------------


def reshape(inp: Tensor, target_shape: Shape) -> Tensor:
    """The elements in row-major order under another shape.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        target_shape: extents of the same product; one may be -1.

    Returns: a tensor of this shape.

    Raises:
        ValueError: the sizes differ.

    >>> F.reshape(F.arange(6), (2, -1)).shape
    (2, 3)
    """
    return calls.reshape(as_tensor(inp), target_shape)


def flatten(inp: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The dims from `start_axis` to `end_axis` (included) as one.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        start_axis, end_axis: the first and the last of these dims.

    Returns: a tensor with as many elements.

    >>> F.flatten(F.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    return calls.flatten(as_tensor(inp), start_axis, end_axis)


def transpose(inp: Tensor, pattern: Iterable[int | str]) -> Tensor:
    """The dims in another order.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        pattern: the old dims in the new order; "x" stands for a new dim of extent 1.

    Returns: a tensor with these dims.

    Raises:
        ValueError: the pattern is not an order of the dims.

    >>> F.transpose(F.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    x, order = as_tensor(inp), tuple(pattern)
    new = [isinstance(d, str) and d == "x" for d in order]
    moved = calls.transpose(x, tuple([d for d, added in zip(order, new, strict=True) if not added]))
    if not any(new):
        return moved
    extents = iter(moved.shape)
    return apply(Reshape(tuple(1 if added else next(extents) for added in new)), moved)


def swapaxes(inp: Tensor, axis1: int, axis2: int) -> Tensor:
    """Two dims exchanged.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis1, axis2: which dims.

    Returns: a tensor with these dims exchanged.

    >>> F.swapaxes(F.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = as_tensor(inp)
    return apply(_swapped(x.shape, axis1, axis2), x)


@remembered
def _swapped(shape: tuple[int, ...], *axes: int) -> Transpose:
    first, second = (normal_axis("swapaxes", a, len(shape)) for a in axes)
    order = list(range(len(shape)))
    order[first], order[second] = order[second], order[first]
    return Transpose(tuple(order))


def broadcast_to(inp: Tensor, shape: Shape) -> Tensor:
    """Stretched to `shape` as NumPy broadcasts, without a copy.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        shape: extents; None stands for one that stays.

    Returns: a tensor of this shape.

    Raises:
        ValueError: inp does not broadcast to it.

    >>> F.broadcast_to(Tensor([1.0, 2.0]), (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    x = as_tensor(inp)
    if isinstance(shape, (list, tuple)) and any(extent is None for extent in shape):
        lead = len(shape) - x.ndim
        if any(extent is None for extent in shape[: max(lead, 0)]):
            raise ValueError(
                f"broadcast_to: None in {tuple(shape)} stands for a dim that shape {tuple(x.shape)} does not have"
            )
        shape = [x.shape[d - lead] if extent is None else extent for d, extent in enumerate(shape)]
    return apply(Broadcast(integers("broadcast_to", "shape", shape)), x)


def expand_dims(inp: Tensor, axis: int | Sequence[int]) -> Tensor:
    """New dims of extent 1.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: where they are in the result: an int or several.

    Returns: a tensor with these dims.

    Raises:
        ValueError: the result has no such axis.

    >>> F.expand_dims(F.zeros((2, 3)), 0).shape, F.expand_dims(F.zeros((2, 3)), (0, -1)).shape
    ((1, 2, 3), (1, 2, 3, 1))
    """
    x = as_tensor(inp)
    return apply(_expanded(x.shape, axis), x)


@remembered
def _expanded(shape: tuple[int, ...], axis: int | Sequence[int]) -> Reshape:
    given = listed(axis)
    rank = len(shape) + len(given)
    new = normal_axes("expand_dims", given, rank)
    extents = iter(shape)
    return Reshape(tuple([1 if d in new else next(extents) for d in range(rank)]))


def squeeze(inp: Tensor, axis: Axes = None) -> Tensor:
    """Without dims of extent 1.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: which dims: an int, several, or None for all of extent 1.

    Returns: a tensor with as many elements.

    Raises:
        ValueError: a named axis has another extent.

    >>> F.squeeze(F.zeros((1, 3, 1))).shape
    (3,)
    """
    x = as_tensor(inp)
    return apply(_squeezed(x.shape, axis), x)


@remembered
def _squeezed(shape: tuple[int, ...], axis: Axes) -> Reshape:
    gone = normal_axes("squeeze", axis, len(shape))
    wide = [d for d in gone if shape[d] != 1]
    if axis is not None and wide:
        raise ValueError(f"squeeze: axis {wide[0]} of shape {shape} has the extent {shape[wide[0]]}, not 1")
    return Reshape(tuple([s for d, s in enumerate(shape) if d not in gone or s != 1]))


def concat(inps: Iterable[Tensor], axis: int = 0, device: str | Device | None = None) -> Tensor:
    """Tensors side by side along `axis`.

    Args:
        inps: tensors whose other extents are the same.
        axis: along which dim.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor of their common dtype.

    Raises:
        TypeError: there are no tensors.
        ValueError: their other extents differ.

    >>> F.concat([F.zeros((1, 2)), F.ones((2, 2))]).shape
    (3, 2)
    """
    return _gathered("concat", Join(integer_axis("concat", axis)), inps, device)


def stack(inps: Iterable[Tensor], axis: int = 0, device: str | Device | None = None) -> Tensor:
    """Tensors side by side along a new axis.

    Args:
        inps: tensors of one shape.
        axis: where the new dim is in the result.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor of their common dtype.

    Raises:
        TypeError: there are no tensors.
        ValueError: their shapes differ.

    >>> F.stack([F.zeros(3), F.ones(3)], axis=1).shape
    (3, 2)
    """
    return _gathered("stack", Stack(integer_axis("stack", axis)), inps, device)


def _gathered(name: str, op: Any, inps: Any, device: str | Device | None) -> Tensor:
    tensors = several(name, "inps", inps, "tensors in a list")
    if not tensors:
        raise TypeError(f"{name} needs at least one tensor, got none")
    made = apply(op, *tensors)
    return made if device is None else made.to(device)


def split(inp: Tensor, nsplits_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Parts along `axis`.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        nsplits_or_sections: a number of nearly equal parts (the first are larger by one), or the ascending positions
            between them.
        axis: along which dim.

    Returns: a tuple of tensors.

    Raises:
        ValueError: there are more parts than the extent, fewer than one, or positions that do not ascend within it.

    >>> [part.tolist() for part in F.split(F.arange(5), 2)], [part.tolist() for part in F.split(F.arange(5), [1, 3])]
    ([[0.0, 1.0, 2.0], [3.0, 4.0]], [[0.0], [1.0, 2.0], [3.0, 4.0]])
    """
    x = as_tensor(inp)
    along = normal_axis("split", axis, x.ndim)
    extent = x.shape[along]
    sections = integers("split", "nsplits_or_sections", nsplits_or_sections)
    if not isinstance(nsplits_or_sections, Iterable) or getattr(nsplits_or_sections, "ndim", 1) == 0:
        (parts,) = sections
        if not 0 < parts <= extent:
            raise ValueError(
                f"split: axis {along} of shape {tuple(x.shape)} cannot be split into {parts} parts, only 1 to {extent}"
            )
        bounds = [0]
        for part in range(parts):
            bounds.append(bounds[-1] + extent // parts + (part < extent % parts))
    else:
        bounds = [0, *sections, extent]
        if any(a >= b for a, b in pairwise(bounds)):
            raise ValueError(
                f"split: the positions {bounds[1:-1]} must ascend and lie between 0 and the extent {extent}"
            )
    made = apply(Split(along, tuple(bounds)), x)
    return made if isinstance(made, tuple) else (made,)


def repeat(inp: Tensor, repeats: int, axis: int | None = None) -> Tensor:
    """Each element `repeats` times in a row.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        repeats: how often, at least 1.
        axis: along which dim; None repeats all elements in row-major order.

    Returns: a tensor.

    Raises:
        ValueError: repeats is below 1.

    >>> F.repeat(Tensor([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    times = single("repeat", "repeats", repeats, 1)
    x = as_tensor(inp)
    if axis is None:
        x, axis = calls.reshape(x, (-1,)), 0
    return apply(Repeat(times, normal_axis("repeat", axis, x.ndim)), x)


def tile(inp: Tensor, reps: int | Iterable[int]) -> Tensor:
    """The whole tensor repeated along each dim.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        reps: how often along each dim; whichever has fewer dims gets leading ones.

    Returns: a tensor.

    Raises:
        ValueError: a number is negative.

    >>> F.tile(Tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x, counts = as_tensor(inp), integers("tile", "reps", reps)
    if any(c < 0 for c in counts):
        raise ValueError(f"tile: reps must be at least 0, got {counts}")
    return apply(Tile((*(1,) * (x.ndim - len(counts)), *counts)), x)


def roll(inp: Tensor, shift: int | Iterable[int], axis: int | Iterable[int] | None = None) -> Tensor:
    """The elements moved along `axis`; those that leave at the end come in at the start.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        shift: by how many places: an int, or one for each axis.
        axis: an int or several; None moves all elements in row-major order.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: there are not as many shifts as axes.

    >>> F.roll(Tensor([1, 2, 3]), 1).tolist()
    [3, 1, 2]
    """
    x, shifts = as_tensor(inp), integers("roll", "shift", shift)
    if axis is None:
        if len(shifts) != 1:
            raise ValueError(f"roll: {len(shifts)} shifts without axes; name an axis for each")
        return apply(RollFlat(shifts[0]), x)
    axes = tuple(normal_axis("roll", a, x.ndim) for a in listed(axis))
    if len(shifts) != len(axes):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(axes)} axes; name one for each")
    return apply(Roll(shifts, axes), x)


# -- parts -------------------------------------------------------------------------------------------------


def where(mask: Tensor, x: Tensor | float, y: Tensor | float) -> Tensor:
    """x where the mask is set, else y.

    Args:
        mask: bool, of any shape that broadcasts against x and y.
        x, y: tensors or numbers, which broadcast.

    Returns: a tensor of the broadcast shape and the promoted dtype.

    Raises:
        ValueError: the mask is not bool.

    >>> F.where(Tensor([True, False]), Tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    return apply(_WHERE, need_mask("where", as_tensor(mask, x, y)), x, y)


def cond_take(mask: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The elements of x where the mask is set, and their positions.

    Args:
        mask: bool, of the shape of x.
        x: a tensor of any shape and dtype.

    Returns: two vectors, in row-major order: the elements, and their positions as int32.

    Raises:
        ValueError: the mask is not bool or has another shape.

    >>> values, places = F.cond_take(Tensor([True, False, True]), Tensor([5.0, 6.0, 7.0]))
    >>> values.tolist(), places.tolist()
    ([5.0, 7.0], [0, 2])
    """
    mask, x = need_mask("cond_take", as_tensor(mask, x)), as_tensor(x, mask)
    if mask.shape != x.shape:
        raise ValueError(
            f"cond_take: a mask of shape {tuple(mask.shape)} for a tensor of shape {tuple(x.shape)}; they must be equal"
        )
    places: Any = positions(mask, mask.desc.device)
    return calls.reshape(x, (-1,))[places], places


def gather(inp: Tensor, axis: int, index: Tensor) -> Tensor:
    """One element along `axis` for each of `index`: out[…, i, …] = inp[…, index[…, i, …], …].

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: along which dim.
        index: integers, of as many dims as inp and extents no larger elsewhere; negative ones count from the end.

    Returns: a tensor of the shape of index and the dtype of inp.

    Raises:
        ValueError: index has another number of dims.
        IndexError: an index is out of range.

    >>> F.gather(Tensor([[1, 2], [3, 4]]), 1, Tensor([[0, 0], [1, 0]])).tolist()
    [[1, 1], [4, 3]]
    """
    x, index = as_tensor(inp, index), as_index(index, inp)
    return apply(GatherAlong(_same_rank("gather", x, axis, index)), x, index)


def scatter(inp: Tensor, axis: int, index: Tensor, source: Tensor) -> Tensor:
    """inp with out[…, index[…, i, …], …] = source[…, i, …] along `axis`.

    Of several values written to one place the last one stays.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: along which dim.
        index: integers, of the shape of source and as many dims as inp.
        source: what to write, of the dtype of inp.

    Returns: a tensor of the shape and dtype of inp, which stays as it is.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range.

    >>> F.scatter(F.zeros((1, 3)), 1, Tensor([[2, 0]]), Tensor([[5.0, 7.0]])).tolist()
    [[7.0, 0.0, 5.0]]
    """
    x, source = as_tensor(inp, index, source), as_tensor(source, inp, index)
    index = as_index(index, x)
    along = _same_rank("scatter", x, axis, index)
    if index.shape != source.shape:
        raise ValueError(
            f"scatter: an index of shape {tuple(index.shape)} for a source of shape {tuple(source.shape)}; they must be equal"
        )
    return apply(ScatterAlong(along, "set"), x, index, source)


def _same_rank(op: str, x: Tensor, axis: int, index: Tensor) -> int:
    need_integers(op, "index", index)
    if index.ndim != x.ndim:
        raise ValueError(
            f"{op}: an index of shape {tuple(index.shape)} must have as many dims as the tensor, {x.ndim} of shape {tuple(x.shape)}"
        )
    return normal_axis(op, axis, x.ndim)


def cumsum(inp: Tensor, axis: int) -> Tensor:
    """Running sums along `axis`.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: along which dim.

    Returns: a tensor of the shape of inp: the dtype stays, bool gives int32.

    Raises:
        ValueError: the axis does not exist.

    >>> F.cumsum(Tensor([1, 2, 3]), 0).tolist()
    [1, 3, 6]
    """
    x = as_tensor(inp)
    return apply(CumSum(normal_axis("cumsum", axis, x.ndim)), x)


def cumprod(inp: Tensor, axis: int) -> Tensor:
    """Running products along `axis`.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: along which dim.

    Returns: a tensor of the shape of inp: the dtype stays, bool gives int32.

    Raises:
        ValueError: the axis does not exist.

    >>> F.cumprod(Tensor([1, 2, 3]), 0).tolist()
    [1, 2, 6]
    """
    x = as_tensor(inp)
    return apply(CumProd(normal_axis("cumprod", axis, x.ndim)), x)
