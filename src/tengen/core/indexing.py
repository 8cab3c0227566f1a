"""`x[...]` and `x[...] = v`: integers, slices, None, Ellipsis, masks and integer tensors, mixed as NumPy mixes them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .._rt import Tensor, apply, recording, substitutes, update
from .convert import as_indices, assign, check_ints, from_data, to_numpy
from .ops.base import INTS, position_dtype
from .ops.index import FlatNonzero, MaskedFill, PutIndexed, TakeIndexed, put_op, take_op
from .ops.shape import SetSubtensor, Slice, Subtensor
from .places import copied

_NONZERO = FlatNonzero()


def positions(mask: Any, device: str) -> Any:
    """Where a mask, a tensor or an array, is set, in row-major order. Waits for the mask, because the size of the
    result depends on it."""
    if recording() is not None:
        # A trace may see values that existed before its call, but not those of an op of its own.
        found = np.flatnonzero(_numpy(mask))
        return _made(found, position_dtype(prod(_shape(mask))), device, mask)
    places, count = apply(_NONZERO, mask if isinstance(mask, Tensor) else from_data(mask, "bool", device))
    number = int(to_numpy(count))
    if 2 * number >= places.size:  # a copy is not worth the rest of the memory
        return places._view((0,), (1,), (number,), (0,))
    return _made(to_numpy(places)[:number], places.desc.dtype, device, places)


def _made(array: Any, dtype: str, device: str, like: Any) -> Tensor:
    """A tensor made from an array, of the users' class if `like` is."""
    kind: Any = type(like) if isinstance(like, Tensor) else Tensor
    made: Tensor = kind.__new__(kind)
    Tensor.__init__(made)
    assign(made, array, dtype, device)
    return made


class Parsed:
    """A parsed index: a slice of each dim, the shape after dropping and adding dims, and for each integer tensor its axis in that shape."""

    __slots__ = (
        "apart",
        "axes",
        "extents",
        "index_rank",
        "masked",
        "reader",
        "runs",
        "shape",
        "starts",
        "steps",
        "writer",
    )

    def __init__(self, apart: bool) -> None:
        self.starts: list[int] = []
        self.extents: list[int] = []
        self.steps: list[int] = []
        self.shape: list[int] = []
        self.runs: list[int] = []  # for each dim of the shape, the dim of x that it runs along, or -1
        self.axes: list[int] = []
        self.index_rank = 0  # of the integer tensors together
        self.masked = False  # whether some of them are positions in masks
        self.reader: Any = None  # the ops that read and write there, once they were wanted
        self.writer: Any = None
        self.apart = apart  # whether anything but an index tensor or an integer stands between two of them

    def add(self) -> None:
        self.shape.append(1)
        self.runs.append(-1)

    def keep(self, extent: int) -> None:
        self._run(extent)
        self._slice(0, extent, 1)

    def take_slice(self, item: slice, extent: int) -> None:
        start, stop, step = item.indices(extent)
        count = len(range(start, stop, step))
        self._run(count)
        self._slice(start if count else 0, count, step)

    def take_integer(self, item: int, extent: int, dim: int) -> None:
        _check(item, extent, dim)
        self._slice(item % extent, 1, 1)

    def take_array(self, rank: int, extent: int) -> None:
        self.axes.append(len(self.shape))
        self.index_rank = max(self.index_rank, rank)
        self.keep(extent)

    def take_mask(self, extents: tuple[int, ...]) -> None:
        """Positions in these dims, which become one dim. Without dims, positions in a new dim of extent 1, all or none
        of it."""
        self.masked = True
        self.axes.append(len(self.shape))
        self.index_rank = max(self.index_rank, 1)
        self.shape.append(prod(extents))
        self.runs.append(-1)
        for extent in extents:
            self._slice(0, extent, 1)

    def _run(self, extent: int) -> None:
        self.runs.append(len(self.starts))
        self.shape.append(extent)

    def _slice(self, start: int, extent: int, step: int) -> None:
        self.starts.append(start)
        self.extents.append(extent)
        self.steps.append(step)

    @property
    def part(self) -> Slice:
        return Slice(tuple(self.starts), tuple(self.extents), tuple(self.steps))

    def _op(self, plain: Any, indexed: Any, among: Any, *mode: str) -> Any:
        """`plain`, or `indexed` with the op that `among` gives, of this part."""
        part, shape = self.part, tuple(self.shape)
        if not self.axes:
            return plain(part, shape)
        return indexed(part, shape, among(*mode, len(shape), self.axes, self.index_rank, self.apart))

    def read(self) -> Any:
        """The op that reads there."""
        if self.reader is None:
            self.reader = self._op(Subtensor, TakeIndexed, take_op)
        return self.reader

    def write(self) -> Any:
        """The op that writes there."""
        if self.writer is None:
            self.writer = self._op(SetSubtensor, PutIndexed, put_op, "set")
        return self.writer


def get_item(x: Tensor, index: Any) -> Any:
    """`x[index]`: a view for integers, slices, None and Ellipsis; a copy where tensors index."""
    parsed, arrays = parse(index, x)
    if not arrays and recording() is None and substitutes() is None and not x._is_watched():
        # An op would need a Plan for each start.
        return x._view(parsed.starts, parsed.steps, parsed.shape, parsed.runs)
    return apply(parsed.reader or parsed.read(), x, *arrays)


def set_item(x: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`: the handle `x` gets a new value; in place if nothing else holds the old one.

    `x[...] = value` takes over a value of another shape as a whole, together with its shape. A number, which has no
    shape, goes to each element.
    """
    if not isinstance(value, (Tensor, bool, int, float)):
        check_ints("index assignment", value, x.desc.dtype)
        value = from_data(value, x.desc.dtype, x.desc.device)
    if index is Ellipsis and isinstance(value, Tensor) and value.ndim and value.shape != x.shape:
        x._reset(value if value.desc.device == x.desc.device else copied(value, x.desc.device))
        return
    if (
        type(index) not in (int, slice, tuple)
        and _is_mask(index)
        and _shape(index) == x.shape
        and not (isinstance(value, Tensor) and value.ndim)
    ):
        mask = index if isinstance(index, Tensor) else from_data(index, "bool", x.desc.device)
        x._reset(apply(MaskedFill(), x, mask, value))
        return
    parsed, arrays = parse(index, x)
    update(parsed.writer or parsed.write(), 1, x, value, *arrays)


# Indices that were read, by what they say and the shape: programs use the same ones again. Of a tensor that is its descriptor.
_READ: dict[tuple[Any, tuple[int, ...]], Parsed] = {}
_MOST_READ = 4096
_PLAIN = (int, type(None))
_INDICES = frozenset((*INTS, "bool"))


def _key(index: Any) -> tuple[Any, list[Tensor]] | None:
    """What an index says, as something to look up, and its tensors; None if it is more than slices, None, Ellipsis, and either Python's
    integers or tensors of integers and masks."""
    if isinstance(index, Tensor):
        desc = index.desc
        return (desc, [index]) if desc.dtype in _INDICES else None
    found: list[Any] = []
    arrays: list[Tensor] = []
    integers = False
    for item in index if type(index) is tuple else (index,):
        if type(item) is slice:
            parts = item.start, item.stop, item.step
            if type(parts[0]) not in _PLAIN or type(parts[1]) not in _PLAIN or type(parts[2]) not in _PLAIN:
                return None
            found.append(parts)
        elif item is None or item is Ellipsis:
            found.append(item)
        elif type(item) is int:
            integers = True
            found.append(item)
        elif isinstance(item, Tensor) and item.desc.dtype in _INDICES:
            arrays.append(item)
            found.append(item.desc)
        else:
            return None
    return None if integers and arrays else (tuple(found), arrays)


def parse(index: Any, x: Tensor) -> tuple[Parsed, list[Tensor]]:
    """Parse an index of `x`, and give its integer tensors. Raises IndexError for too many indices, a bad one, or one out of range."""
    key = _key(index)
    if key is None:
        return _read(index, x)
    said, arrays = key
    shape = x.shape
    found = _READ.get((said, shape))
    if found is None:
        found, read = _read(index, x)
        if not (arrays and 0 in found.shape):  # the numbers of such tensors are looked at in every call
            if len(_READ) >= _MOST_READ:
                _READ.clear()
            _READ[said, shape] = found
        return found, read
    if found.masked:
        arrays = [positions(a, a.desc.device) if a.desc.dtype == "bool" else a for a in arrays]
    return found, arrays


def _read(index: Any, x: Tensor) -> tuple[Parsed, list[Tensor]]:
    shape, device = x.shape, x.desc.device
    given = index if isinstance(index, tuple) else (index,)
    items = _expand(given, len(shape))
    advanced = any(_is_array(i) for i in items)
    parsed, dim = Parsed(_apart(given)), 0
    arrays: list[Tensor] = []
    places: list[tuple[Any, int, int]] = []

    def take(array: Tensor) -> None:
        arrays.append(array)
        parsed.take_array(len(array.shape), shape[dim])

    for item in items:
        if item is None:
            parsed.add()
        elif _is_mask(item):
            rank = len(_shape(item))
            if _shape(item) != tuple(shape[dim : dim + rank]):
                raise IndexError(
                    f"a mask of shape {_shape(item)} does not fit dimensions {dim} to {dim + rank - 1} of shape {tuple(shape)}"
                )
            arrays.append(positions(item, device))
            parsed.take_mask(shape[dim : dim + rank])
            dim += rank
        elif _is_array(item):
            take(_index_tensor(item, device))
            places.append((item, shape[dim], dim))
            dim += 1
        elif isinstance(item, slice):
            parsed.take_slice(_plain(item), shape[dim])
            dim += 1
        elif advanced:
            _check(int(item), shape[dim], dim)
            take(_index_tensor(np.asarray(int(item)), device))
            dim += 1
        else:
            parsed.take_integer(int(item), shape[dim], dim)
            dim += 1
    for extent in shape[dim:]:
        parsed.keep(extent)
    if 0 in parsed.shape:  # then no kernel can meet an index that is out of range
        for item, extent, at in places:
            for number in _numpy(item).ravel():
                _check(int(number), extent, at)
    return parsed, arrays


def _check(item: int, extent: int, dim: int) -> None:
    if not -extent <= item < extent:
        raise IndexError(f"index {item} is out of range for dimension {dim} of extent {extent}")


def _expand(items: tuple[Any, ...], rank: int) -> list[Any]:
    """The items without Ellipsis, each checked to be of a known kind."""
    for item in items:
        known = item is None or item is Ellipsis or isinstance(item, (int, np.integer, slice)) or _is_array(item)
        if not known:
            raise IndexError(
                f"{item!r} of type {type(item).__name__} is not an index; use integers, slices, None, ..., masks or integer tensors"
            )
    used = sum(len(_shape(i)) if _is_mask(i) else 1 for i in items if i is not None and i is not Ellipsis)
    if used > rank:
        raise IndexError(f"{used} indices are too many for a tensor of {rank} dimension{'s' * (rank != 1)}")
    dots = [n for n, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can hold only one Ellipsis (...)")
    if not dots:
        return list(items)
    return [*items[: dots[0]], *[slice(None)] * (rank - used), *items[dots[0] + 1 :]]


def _apart(items: tuple[Any, ...]) -> bool:
    places = [n for n, item in enumerate(items) if _is_array(item) or isinstance(item, (int, np.integer))]
    return bool(places) and places[-1] - places[0] >= len(places)


def _is_array(item: Any) -> bool:
    return isinstance(item, (Tensor, np.ndarray, list, bool, np.bool_)) and not isinstance(item, np.integer)


def _is_mask(item: Any) -> bool:
    if isinstance(item, Tensor):
        return bool(item.desc.dtype == "bool")
    return isinstance(item, (bool, np.bool_)) or (
        isinstance(item, (np.ndarray, list)) and np.asarray(item).dtype == np.bool_
    )


def _shape(item: Any) -> tuple[int, ...]:
    return tuple(item.shape) if isinstance(item, Tensor) else np.shape(item)


def _numpy(item: Any) -> np.ndarray[Any, Any]:
    return to_numpy(item) if isinstance(item, Tensor) else np.asarray(item)


def _index_tensor(item: Any, device: str) -> Tensor:
    """An integer tensor from an index."""
    if isinstance(item, Tensor):
        if item.desc.dtype not in INTS:
            raise IndexError(f"a tensor of dtype {item.desc.dtype} cannot index; use an integer dtype or bool")
        return item
    array = np.asarray(item)
    if array.size == 0 and isinstance(item, list):
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise IndexError(f"an array of dtype {array.dtype} cannot index; use an integer dtype or bool")
    array = as_indices(array)
    return from_data(array, array.dtype.name, device)


def _plain(item: slice) -> slice:
    """A slice of Python ints; its parts may be 0-d tensors."""
    parts = [None if p is None else int(p) for p in (item.start, item.stop, item.step)]
    if parts[2] == 0:
        raise IndexError("a slice step cannot be 0")
    return slice(*parts)
