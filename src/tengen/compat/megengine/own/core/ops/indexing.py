"""Reading and writing parts of tensors. `items` of an op has an entry for each indexed dim: (axis, has a start, a stop,
a step, an index).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import Tensor, _rt
from ......core.ops.index import put_op

__all__: list[str] = []

Parts = Sequence[Any]
Read = Callable[[Any, Any, Parts], Any]


def _index(op: Any, ndim: int, parts: Parts) -> tuple[Any, ...]:
    """The index between brackets: for each dim a slice, or the tensor that is its index."""
    index: list[Any] = [slice(None)] * ndim
    rest = iter(parts)
    for axis, *bounds, indexed in op.items:
        start, stop, step = (int(next(rest)) if present else None for present in bounds)
        index[axis] = next(rest) if indexed else slice(start, stop, step)
    return tuple(index)


def _plain(op: Any, x: Any, parts: Parts) -> Any:
    """Slices, and numbers that drop their dims."""
    return x[tuple(int(i) if isinstance(i, Tensor) else i for i in _index(op, x.ndim, parts))]


def _zipped(op: Any, x: Any, parts: Parts) -> Any:
    """All indices together, as between brackets."""
    return x[_index(op, x.ndim, parts)]


def _mesh(op: Any, x: Any, parts: Parts) -> Any:
    """Each index on its own, along its own dim."""
    for axis, index in enumerate(_index(op, x.ndim, parts)):
        x = x[(slice(None),) * axis + (index,)]
    return x


def _batched_mesh(op: Any, x: Any, parts: Parts) -> Any:
    """A mesh for each element of the first dim: indices have a row for each."""
    first, *index = _index(op, x.ndim, parts)
    if isinstance(first, Tensor):
        raise ValueError(f"{op!r} is indexed along the dims of each sample, not along that of the batch, axis 0")
    x = x[first]
    rows = F.expand_dims(F.arange(x.shape[0], dtype="int32"), 1)
    for axis, part in enumerate(index, 1):
        if not isinstance(part, Tensor):
            x = x[(slice(None),) * axis + (part,)]
            continue
        x = F.swapaxes(F.swapaxes(x, 1, axis)[rows, part], 1, axis)
    return x


def _reader(read: Read) -> Callable[..., Any]:
    return lambda op, x, *parts: read(op, x, parts)


def _writer(mode: str, read: Read) -> Callable[..., Any]:
    """Writes where `read` reads, with mode "set" or "add": it reads the numbers of the elements, which say where values
    go."""

    def write(op: Any, x: Any, value: Any, *parts: Any) -> Any:
        places = read(op, Tensor(np.arange(x.size, dtype=np.int32).reshape(x.shape)), parts)
        values = F.broadcast_to(value, places.shape).reshape(-1)
        return _rt.apply(put_op(mode, 1, (0,), 1), x.reshape(-1), values, places.reshape(-1)).reshape(x.shape)

    return write


def _one_hot(op: Any, x: Any, index: Any) -> Any:
    return F.indexing_one_hot(x, index, op.axis, keepdims=True)


def _set_one_hot(op: Any, x: Any, index: Any, value: Any) -> Any:
    return F.scatter(x, op.axis, F.expand_dims(index, op.axis), F.broadcast_to(value, _one_hot(op, x, index).shape))


_WAYS = {
    "Subtensor": _plain,
    "IndexingMultiAxisVec": _zipped,
    "MeshIndexing": _mesh,
    "BatchedMeshIndexing": _batched_mesh,
}


def _named(kind: str, name: str) -> str:
    """`SetSubtensor`, `IndexingSetMultiAxisVec`, `BatchedSetMeshIndexing`."""
    place = next((len(lead) for lead in ("Indexing", "Batched") if name.startswith(lead)), 0)
    return name[:place] + kind + name[place:]


RULES: dict[str, Callable[..., Any]] = {
    **{name: _reader(read) for name, read in _WAYS.items()},
    **{_named("Set", name): _writer("set", read) for name, read in _WAYS.items()},
    **{_named("Incr", name): _writer("add", read) for name, read in _WAYS.items()},
    "IndexingOneHot": _one_hot,
    "IndexingSetOneHot": _set_one_hot,
}
