"""Making tensors, changing their shapes, and reading and writing parts of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, isfinite
from typing import Any

from .._rt import Tensor as Handle
from .._rt import apply
from ..base.device import Device
from ..base.dtype import canonical
from ..core import Tensor, calls
from ..core.indexing import positions
from ..core.ops.complex import Complex, Part, Polar
from ..core.ops.create import Arange, Diag, Eye, FillLike, Linspace, Meshgrid
from ..core.ops.elemwise import Where
from ..core.ops.index import GatherAlong, ScatterAlong
from ..core.ops.layout import Join, Repeat, Roll, RollFlat, Split, Stack, Tile
from ..core.ops.scan import CumProd, CumSum
from ..core.ops.shape import Broadcast, Copy, Fill, Reshape, Transpose
from .arguments import (
    Axes,
    as_index,
    as_tensor,
    device_name,
    dtype_of,
    integer,
    integer_axis,
    integers,
    listed,
    need_choice,
    need_fitting,
    need_integers,
    need_mask,
    normal_axes,
    normal_axis,
    number,
    single,
)

__all__ = [
    "arange", "broadcast_to", "complex", "concat", "cond_take", "copy", "cumprod", "cumsum", "diag", "expand_dims",
    "eye", "flatten", "full", "full_like", "gather", "imag", "linspace", "meshgrid", "ones", "ones_like", "polar",
    "real", "repeat", "reshape", "roll", "scatter", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
    "where", "zeros", "zeros_like",
]  # fmt: skip

_WHERE, _FILL_LIKE = Where(), FillLike()
_COMPLEX, _POLAR, _REAL, _IMAG = Complex(), Polar(), Part(0), Part(1)
Shape = int | Sequence[int] | Tensor

# -- making tensors ----------------------------------------------------------------------------------------


def full(
    shape: Shape, value: bool | int | float | Tensor, *, dtype: Any = None, device: str | Device | None = None
) -> Tensor:
    """A tensor with `value` everywhere.

    shape: extents. dtype: by default that of the value (bool, int32, float32, or a 0-d tensor's). Raises ValueError for
    a negative extent.

    >>> F.full((2, 2), 7).tolist()
    [[7, 7], [7, 7]]
    """
    return _full("full", shape, value, dtype, device)


def _full(op: str, shape: Shape, value: Any, dtype: Any, device: str | Device | None) -> Tensor:
    extents = integers(op, "shape", shape)
    if any(e < 0 for e in extents):
        raise ValueError(f"a tensor cannot have the shape {extents}: extents are at least 0")
    if not isinstance(value, (bool, int, float)):
        value = as_tensor(value)
    if dtype is None:
        dtype = dtype_of(value) if isinstance(value, Handle) else bool if isinstance(value, bool) else type(value)
    return apply(Fill(extents, canonical(dtype), device_name(device)), value)


def zeros(shape: Shape, *, dtype: Any = "float32", device: str | Device | None = None) -> Tensor:
    """A tensor of zeros.

    >>> F.zeros((1, 2)).tolist()
    [[0.0, 0.0]]
    """
    return _full("zeros", shape, 0, dtype, device)


def ones(shape: Shape, *, dtype: Any = "float32", device: str | Device | None = None) -> Tensor:
    """A tensor of ones."""
    return _full("ones", shape, 1, dtype, device)


def full_like(inp: Tensor, value: int | float) -> Tensor:
    """A tensor with `value` everywhere, of the shape, dtype and device of `inp`."""
    return apply(_FILL_LIKE, inp, value)


def zeros_like(inp: Tensor) -> Tensor:
    """Zeros in the shape, dtype and device of `inp`."""
    return apply(_FILL_LIKE, inp, 0)


def ones_like(inp: Tensor) -> Tensor:
    """Ones in the shape, dtype and device of `inp`."""
    return apply(_FILL_LIKE, inp, 1)


def arange(
    start: float | Tensor = 0,
    stop: float | Tensor | None = None,
    step: float | Tensor = 1,
    *,
    dtype: Any = "float32",
    device: str | Device | None = None,
) -> Tensor:
    """start, start + step, start + 2 · step, … below (for a negative step above) `stop`.

    With one argument 0, 1, … below it. Raises ValueError for a step of 0, OverflowError for what `dtype` does not hold.

    >>> F.arange(3).tolist(), F.arange(5, 0, -2, dtype="int32").tolist()
    ([0.0, 1.0, 2.0], [5, 3, 1])
    """
    first, by = _number("arange", "start", start), _number("arange", "step", step)
    first, last = (0, first) if stop is None else (first, _number("arange", "stop", stop))
    if by == 0:
        raise ValueError("arange: the step is 0")
    if not all(map(isfinite, (first, last, by))):
        raise ValueError(f"arange: start, stop and step must be finite, got {first}, {last} and {by}")
    count = max(ceil((last - first) / by), 0)
    for end in (first, first + (count - 1) * by) if count else ():
        need_fitting("arange", "a number", end, canonical(dtype))
    return apply(Arange(count, canonical(dtype), device_name(device)), first, by)


def linspace(
    start: float | Tensor,
    stop: float | Tensor,
    num: int | Tensor,
    *,
    dtype: Any = "float32",
    device: str | Device | None = None,
) -> Tensor:
    """`num` numbers in equal steps from `start` to `stop`, both included. Raises ValueError for a negative num.

    >>> F.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    count = integer("linspace", "num", num)
    if count < 0:
        raise ValueError(f"linspace: num must be at least 0, got {count}")
    first, last = _number("linspace", "start", start), _number("linspace", "stop", stop)
    return apply(Linspace(count, canonical(dtype), device_name(device)), first, last)


def _number(op: str, argument: str, value: Any) -> float | int:
    """A Python number, of which an int stays one, from one, or from a tensor or array of one element."""
    found = value.item() if hasattr(value, "item") and value.size == 1 else value
    return found if isinstance(found, int) else number(op, argument, found)


def eye(
    N: int | Sequence[int], M: int | None = None, *, dtype: Any = "float32", device: str | Device | None = None
) -> Tensor:
    """A matrix with ones on its main diagonal and N rows and M columns (by default N), or N = (rows, columns)."""
    shape = integers("eye", "N", N)
    if len(shape) == 1 and not isinstance(N, (list, tuple)):
        shape = (*shape, shape[0] if M is None else integer("eye", "M", M))
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"eye takes the number of rows and of columns, got {N!r} and {M!r}")
    return apply(Eye(*shape, canonical(dtype), device_name(device)), 1)


def diag(inp: Tensor, k: int = 0) -> Tensor:
    """A square matrix with a vector on its diagonal, or the diagonal of a matrix. Raises ValueError for other shapes.

    k: which diagonal; positive ones are above the main one.
    """
    return apply(Diag(integer("diag", "k", k)), inp)


def meshgrid(*inputs: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates on the grid that vectors span: one tensor for each vector, all of one shape.

    indexing: "xy" (the second vector along axis 0, the first along axis 1) or "ij" (in order). Raises ValueError for
    operands of 2 or more dims.
    """
    need_choice("meshgrid", "indexing", indexing, ("xy", "ij"))
    vectors = [as_tensor(x) for x in inputs]
    for x in vectors:
        if x.ndim > 1:
            raise ValueError(f"meshgrid takes vectors, got shape {tuple(x.shape)}")
    made = apply(Meshgrid(indexing == "xy"), *vectors)
    return made if isinstance(made, tuple) else (made,)


def copy(inp: Tensor, device: str | Device | None = None) -> Tensor:
    """A copy, on `device` if one is named. Raises DeviceError if it is not there."""
    return apply(Copy(None if device is None else device_name(device)), inp)


# -- shapes ------------------------------------------------------------------------------------------------


def reshape(inp: Tensor, target_shape: Shape) -> Tensor:
    """The elements in row-major order under another shape of the same size; one extent may be -1.

    Raises ValueError if the sizes differ.

    >>> F.reshape(F.arange(6), (2, -1)).shape
    (2, 3)
    """
    return calls.reshape(as_tensor(inp), target_shape)


def flatten(inp: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The dims from `start_axis` to `end_axis` (included) as one."""
    return calls.flatten(as_tensor(inp), start_axis, end_axis)


def transpose(inp: Tensor, pattern: Iterable[int | str]) -> Tensor:
    """The dims in the order `pattern`; "x" stands for a new dim of extent 1.

    Raises ValueError if it is no order of the dims.

    >>> F.transpose(F.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    x, order = as_tensor(inp), list(pattern)
    new = [isinstance(d, str) and d == "x" for d in order]
    moved = calls.transpose(x, [d for d, added in zip(order, new, strict=True) if not added])
    if not any(new):
        return moved
    extents = iter(moved.shape)
    return apply(Reshape(tuple(1 if added else next(extents) for added in new)), moved)


def swapaxes(inp: Tensor, axis1: int, axis2: int) -> Tensor:
    """Two dims exchanged."""
    x = as_tensor(inp)
    first, second = (normal_axis("swapaxes", a, x.ndim) for a in (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = order[second], order[first]
    return apply(Transpose(tuple(order)), x)


def broadcast_to(inp: Tensor, shape: Shape) -> Tensor:
    """Stretched to `shape` as NumPy broadcasts, without a copy; None stands for an extent that stays.

    Raises ValueError if it cannot be.

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
    """New dims of extent 1; `axis` says where they are in the result.

    Raises ValueError for an axis that the result does not have.

    >>> F.expand_dims(F.zeros((2, 3)), 0).shape, F.expand_dims(F.zeros((2, 3)), (0, -1)).shape
    ((1, 2, 3), (1, 2, 3, 1))
    """
    x = as_tensor(inp)
    given = listed(axis)
    new = normal_axes("expand_dims", given, x.ndim + len(given))
    extents = iter(x.shape)
    return apply(Reshape(tuple(1 if d in new else next(extents) for d in range(x.ndim + len(given)))), x)


def squeeze(inp: Tensor, axis: Axes = None) -> Tensor:
    """Without the dims `axis`, or all dims, of extent 1. Raises ValueError for an axis of another extent."""
    x = as_tensor(inp)
    gone = normal_axes("squeeze", axis, x.ndim)
    wide = [d for d in gone if x.shape[d] != 1]
    if axis is not None and wide:
        raise ValueError(f"squeeze: axis {wide[0]} of shape {tuple(x.shape)} has the extent {x.shape[wide[0]]}, not 1")
    return apply(Reshape(tuple(s for d, s in enumerate(x.shape) if d not in gone or s != 1)), x)


def concat(inps: Iterable[Tensor], axis: int = 0, device: str | Device | None = None) -> Tensor:
    """Tensors side by side along `axis`, with their common dtype.

    Raises TypeError for none, ValueError if their other extents differ.

    >>> F.concat([F.zeros((1, 2)), F.ones((2, 2))]).shape
    (3, 2)
    """
    return _gathered("concat", Join(integer_axis("concat", axis)), inps, device)


def stack(inps: Iterable[Tensor], axis: int = 0, device: str | Device | None = None) -> Tensor:
    """Tensors of one shape side by side along a new `axis`.

    Raises TypeError for none, ValueError if their shapes differ.

    >>> F.stack([F.zeros(3), F.ones(3)], axis=1).shape
    (3, 2)
    """
    return _gathered("stack", Stack(integer_axis("stack", axis)), inps, device)


def _gathered(name: str, op: Any, inps: Iterable[Tensor], device: str | Device | None) -> Tensor:
    try:
        tensors = [] if isinstance(inps, str) else list(inps)
    except TypeError:
        raise TypeError(f"{name}: inps takes tensors in a list, got {inps!r}") from None
    if not tensors:
        raise TypeError(f"{name} needs at least one tensor, got none")
    made = apply(op, *tensors)
    return made if device is None else made.to(device)


def split(inp: Tensor, nsplits_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Parts along `axis`: a number of nearly equal ones (the first are larger by one), or those between ascending positions.

    Raises ValueError for more parts than the extent, fewer than one, or positions that do not ascend within it.

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
    """Every element along `axis` `repeats` times in a row; without an axis, of all in row-major order.

    Raises ValueError for repeats below 1.

    >>> F.repeat(Tensor([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    times = single("repeat", "repeats", repeats, 1)
    x = as_tensor(inp)
    if axis is None:
        x, axis = calls.reshape(x, (-1,)), 0
    return apply(Repeat(times, normal_axis("repeat", axis, x.ndim)), x)


def tile(inp: Tensor, reps: int | Iterable[int]) -> Tensor:
    """The whole tensor `reps[d]` times along each dim; whichever has fewer dims gets leading ones.

    Raises ValueError for reps below 0.

    >>> F.tile(Tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x, counts = as_tensor(inp), integers("tile", "reps", reps)
    if any(c < 0 for c in counts):
        raise ValueError(f"tile: reps must be at least 0, got {counts}")
    return apply(Tile((*(1,) * (x.ndim - len(counts)), *counts)), x)


def roll(inp: Tensor, shift: int | Iterable[int], axis: int | Iterable[int] | None = None) -> Tensor:
    """Elements moved `shift` places along `axis`, those that leave at the end coming in at the start.

    Without an axis in row-major order. Raises ValueError if there are more shifts than axes or fewer.

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
    """x where the mask is set, else y; all three broadcast. Raises ValueError for a mask that is not bool.

    >>> F.where(Tensor([True, False]), Tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    return apply(_WHERE, need_mask("where", as_tensor(mask)), x, y)


def cond_take(mask: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The elements of x where the mask is set, as a vector in row-major order, and their places in it (int32; int64 beyond
    2**31 elements).

    Raises ValueError for a mask that is not bool or has another shape.

    >>> values, places = F.cond_take(Tensor([True, False, True]), Tensor([5.0, 6.0, 7.0]))
    >>> values.tolist(), places.tolist()
    ([5.0, 7.0], [0, 2])
    """
    mask, x = need_mask("cond_take", as_tensor(mask)), as_tensor(x)
    if mask.shape != x.shape:
        raise ValueError(
            f"cond_take: a mask of shape {tuple(mask.shape)} for a tensor of shape {tuple(x.shape)}; they must be equal"
        )
    places = positions(mask, mask.desc.device)
    return calls.reshape(x, (-1,))[places], places


def gather(inp: Tensor, axis: int, index: Tensor) -> Tensor:
    """out[…, i, …] = inp[…, index[…, i, …], …] along `axis`: one element for each of `index`.

    index: integers, of as many dims as inp and extents no larger elsewhere; negative ones count from the end. Raises
    ValueError for another number of dims, IndexError for an index out of range.

    >>> F.gather(Tensor([[1, 2], [3, 4]]), 1, Tensor([[0, 0], [1, 0]])).tolist()
    [[1, 1], [4, 3]]
    """
    x, index = as_tensor(inp), as_index(index)
    return apply(GatherAlong(_same_rank("gather", x, axis, index)), x, index)


def scatter(inp: Tensor, axis: int, index: Tensor, source: Tensor) -> Tensor:
    """inp with out[…, index[…, i, …], …] = source[…, i, …] along `axis`.

    Of several written to one place the last one stays. index: integers, of the shape of source and as many dims as inp.
    Raises ValueError for other shapes, IndexError for an index out of range.

    >>> F.scatter(F.zeros((1, 3)), 1, Tensor([[2, 0]]), Tensor([[5.0, 7.0]])).tolist()
    [[7.0, 0.0, 5.0]]
    """
    x, index, source = as_tensor(inp), as_index(index), as_tensor(source)
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
    """Running sums along `axis`; the dtype stays, bool gives int32.

    >>> F.cumsum(Tensor([1, 2, 3]), 0).tolist()
    [1, 3, 6]
    """
    x = as_tensor(inp)
    return apply(CumSum(normal_axis("cumsum", axis, x.ndim)), x)


def cumprod(inp: Tensor, axis: int) -> Tensor:
    """Running products along `axis`; the dtype stays, bool gives int32.

    >>> F.cumprod(Tensor([1, 2, 3]), 0).tolist()
    [1, 2, 6]
    """
    x = as_tensor(inp)
    return apply(CumProd(normal_axis("cumprod", axis, x.ndim)), x)


# -- complex numbers ---------------------------------------------------------------------------------------


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """The complex numbers real + i · imag, as complex64. The parts are real and broadcast.

    Defined for them are + - * / (also with real numbers), ==, abs, sums, products of matrices, and all that only moves elements;
    other functions raise TypeError. The gradient of a complex number is that of its real part + i · that of its imaginary part.

    >>> F.complex(Tensor([1.0, 2.0]), Tensor([0.0, -1.0])).tolist()
    [(1+0j), (2-1j)]
    """
    return apply(_COMPLEX, as_tensor(real), as_tensor(imag))


def real(complex: Tensor) -> Tensor:
    """The real part, as float32. Raises TypeError for a tensor that is not of complex64."""
    return apply(_REAL, as_tensor(complex))


def imag(complex: Tensor) -> Tensor:
    """The imaginary part, as float32. Raises TypeError for a tensor that is not of complex64.

    >>> F.imag(F.complex(Tensor([1.0, 2.0]), Tensor([0.0, -1.0]))).tolist()
    [0.0, -1.0]
    """
    return apply(_IMAG, as_tensor(complex))


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex numbers of these absolute values and angles (in radians): abs · cos(angle) + i · abs · sin(angle).

    >>> F.polar(Tensor([2.0]), Tensor([0.0])).tolist()
    [(2+0j)]
    """
    return apply(_POLAR, as_tensor(abs), as_tensor(angle))
