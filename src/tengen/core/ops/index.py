"""Reading and writing at indices that are tensors, and the parts of embeddings, one-hot codes and gathers."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.orders import Positions
from ...compiler.program import Gather, Scatter, Type, Value
from ...compiler.values import counts_along
from .base import INTS, Formula, Grads, broadcast_shapes, check_stretches, position_dtype
from .elemwise import Elemwise, cast, where
from .reduce import total
from .scan import running as folded
from .shape import PlaceView, Slice, broadcast, reshape, zeros_of

EQ = Elemwise("EQ")
Where = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # sources, axes and index_dims of a Gather


def _layout(rank: int, axes: Sequence[int], index_rank: int, apart: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`sources` and `index_dims` of a Gather under NumPy's rule: the index's dims stand where the first indexed axis
    was, or in front if something stood between the index tensors."""
    front = 0 if apart else axes[0]
    rest = [d for d in range(rank) if d not in axes]
    sources = (*rest[:front], *[-1] * index_rank, *rest[front:])
    return sources, tuple(range(front, front + index_rank))


def _gathered(
    x: Type, indices: Sequence[Type], axes: Sequence[int], sources: Sequence[int], index_dims: Sequence[int]
) -> tuple[int, ...]:
    try:
        common = broadcast_shapes("indexing", *(i.shape for i in indices))
    except ValueError as error:
        raise IndexError(str(error)) from None  # as in NumPy: it is about an index
    rest = [d for d in range(len(x.shape)) if d not in axes]
    along = [d for d, s in enumerate(sources) if s < 0 or d in index_dims]
    if [s for s in sources if s >= 0] != rest or along != list(index_dims) or len(along) != len(common):
        raise ValueError(f"indexing: {sources}, {axes} and {index_dims} do not say how to index shape {x.shape}")
    if len(indices) != len(axes) or any(i.dtype not in (*INTS, "weak_int") for i in indices):
        raise ValueError(f"indexing: axes {axes} need an integer tensor each, got {', '.join(map(str, indices))}")
    extents = dict(zip(index_dims, common, strict=True))
    shape = tuple(extents[d] if s < 0 else x.shape[s] for d, s in enumerate(sources))
    if any(extents.get(d, 1) not in (1, shape[d]) for d in index_dims):
        raise ValueError(f"indexing: indices of shape {common} do not run along shape {x.shape} as {sources} say")
    return shape


class Take(Gather):
    """`x[..., i, j, ...]` with integer tensors at `axes` and other axes whole. Use `take_op`, which fills in the rest."""

    sources: tuple[int, ...]
    axes: tuple[int, ...]
    index_dims: tuple[int, ...]

    name = "indexing"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        x, *indices = types
        return (Type(x.dtype, _gathered(x, indices, self.axes, self.sources, self.index_dims)),)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        x, *indices = inputs
        put = Put("add", self.sources, self.axes, self.index_dims)
        return [grads[0] and put(zeros_of(x), grads[0], *indices), *[None] * len(indices)]

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        x, *indices = inputs
        found = _in_batches(self, x, indices)
        if found is None:
            return None
        extents, places, rest = found
        part = Slice((0,) * x.ndim, extents, (1,) * x.ndim)(x) if extents != x.shape else x
        made: Value = Take(*places)(part, *rest)
        return made


class Put(Scatter):
    """Input 0 with input 1 written ("set") or added ("add") where a Take with the same parameters reads."""

    mode: str
    sources: tuple[int, ...]
    axes: tuple[int, ...]
    index_dims: tuple[int, ...]

    name = "index assignment"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        base, value, *indices = types
        shape = _gathered(base, indices, self.axes, self.sources, self.index_dims)
        if value.shape != shape:
            raise ValueError(f"{self.name}: values of shape {value.shape} do not fit the indexed shape {shape}")
        return (base,)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        _, value, *indices = inputs
        (g,) = grads
        if g is None:
            return [None] * len(inputs)
        seen = Take(self.sources, self.axes, self.index_dims)(g, *indices)
        outside = g if self.mode == "add" else Put("set", *self._where())(g, zeros_of(value), *indices)
        return [outside, seen, *[None] * len(indices)]

    def _where(self) -> Where:
        return self.sources, self.axes, self.index_dims

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        base, value, *indices = inputs
        found = _in_batches(self, base, indices)
        if found is None or found[0] != base.shape:
            return None
        made: Value = Put(self.mode, *found[1])(base, value, *found[2])
        return made


def _in_batches(
    op: Gather | Scatter, x: Value, indices: Sequence[Value]
) -> tuple[tuple[int, ...], Where, list[Value]] | None:
    """The same without the indices that only count along a dim of the result, which are neither loaded nor checked then:
    that dim is a batch. The extents of the part of x that is indexed, the parameters, and the other indices. None if there are no such.
    """
    sources, extents, axes, rest = list(op.sources), list(x.shape), list[int](), list[Value]()
    for axis, index in zip(op.axes, indices, strict=True):
        place = counts_along(index)
        dim = None if place is None else op.index_dims[place - index.ndim]
        if dim is not None and sources[dim] < 0 and place is not None:
            sources[dim], extents[axis] = axis, index.shape[place]
        else:
            axes.append(axis)
            rest.append(index)
    part = all(0 < extent <= own for extent, own in zip(extents, x.shape, strict=True))
    if not rest or len(rest) == len(indices) or not part:
        return None
    shape = broadcast_shapes("indexing", *(i.shape for i in rest))
    whole = broadcast_shapes("indexing", *(i.shape for i in indices))
    known = [
        sources[d] >= 0 or extent == own
        for d, extent, own in zip(op.index_dims, whole, (1,) * (len(whole) - len(shape)) + shape, strict=True)
    ]
    order = [s for s in sources if s >= 0]
    if order != sorted(order) or len(shape) != len(whole) or not all(known):
        return None
    return tuple(extents), (tuple(sources), tuple(axes), op.index_dims), rest


def take_op(rank: int, axes: Sequence[int], index_rank: int, apart: bool = False) -> Take:
    """The Take that indexes `axes` of a tensor of `rank` dims with integer tensors of `index_rank` dims (see _layout)."""
    sources, dims = _layout(rank, axes, index_rank, apart)
    return Take(sources, tuple(axes), dims)


def put_op(mode: str, rank: int, axes: Sequence[int], index_rank: int, apart: bool = False) -> Put:
    """The Put that writes where `take_op` with the same arguments reads."""
    sources, dims = _layout(rank, axes, index_rank, apart)
    return Put(mode, sources, tuple(axes), dims)


class FlatNonzero(Positions):
    """Where a mask is set, in row-major order (int32, or int64 beyond 2**31 elements), with room for all its elements,
    and how many of these positions are valid."""

    name = "nonzero"
    nondiff = "positions do not change when elements do"
    no_onnx = "has no result with more room than content"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (mask,) = types
        if mask.dtype != "bool":
            raise TypeError(
                f"nonzero: the mask must be bool, got {mask.dtype}; compare, or convert it with .astype('bool')"
            )
        return Type(position_dtype(mask.size), (mask.size,)), Type("int64", ())

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        """The other positions come behind the valid ones, so each place is written once."""
        mask = reshape(inputs[0], (inputs[0].size,))
        dtype = position_dtype(mask.size)
        number = cast(mask.builder.iota(mask.shape), dtype)
        before = folded("sum", cast(mask, dtype), 0) if mask.size else number
        count = total(cast(mask, "int64"), (0,))
        place = where(mask, before - 1, cast(count, dtype) + (number - before))
        return put_op("set", 1, [0], 1)(number, number, place), reshape(count, ())


class TakeIndexed(Formula):
    """Indexing that mixes slices and integer tensors: `part`, then dims dropped or added to give `shape`, then `take`."""

    part: Slice
    shape: tuple[int, ...]
    take: Take

    name = "indexing"

    def expand(self, *inputs: Value) -> Value:
        x, *indices = inputs
        seen: Value = self.take(reshape(self.part(x), self.shape), *indices)
        return seen


class PutIndexed(Formula):
    """Input 0 with input 1, broadcast, written where a TakeIndexed with the same parameters reads."""

    part: Slice
    shape: tuple[int, ...]
    put: Put

    name = "index assignment"

    def expand(self, *inputs: Value) -> Value:
        x, value, *indices = inputs
        seen = reshape(self.part(x), self.shape)
        target = _gathered(seen.type, [i.type for i in indices], self.put.axes, self.put.sources, self.put.index_dims)
        check_stretches(self.name, "a value", value.shape, target)
        written = self.put(seen, broadcast(cast(value, x.dtype), target), *indices)
        if self.shape == x.shape and self.part.extents == x.shape and set(self.part.steps) <= {1}:
            return cast(written, x.dtype)
        return PlaceView(self.part, "set")(x, reshape(written, self.part.extents))


class Embedding(Formula):
    """The rows of input 0 at the integers of input 1."""

    name = "embedding"

    def expand(self, *inputs: Value) -> Value:
        rows, index = inputs
        seen: Value = take_op(2, (0,), index.ndim)(rows, index)
        return seen


class MaskedFill(Formula):
    """Input 0, with input 2 where the mask, input 1, is set; the dtype is that of input 0."""

    name = "index assignment"

    def expand(self, *inputs: Value) -> Value:
        x, mask, value = inputs
        return where(mask, cast(value, x.dtype), x)


class GatherAlong(Formula):
    """out[..., i, ...] = x[..., index[..., i, ...], ...]: an index tensor of the rank of x, along `axis`."""

    axis: int

    name = "gather"

    def expand(self, *inputs: Value) -> Value:
        x, index = inputs
        return take_op(x.ndim, range(x.ndim), x.ndim)(x, *_everywhere(index, self.axis))


class ScatterAlong(Formula):
    """`x` with x[..., index[..., i, ...], ...] = source[..., i, ...] along `axis` ("set"), or added to ("add")."""

    axis: int
    mode: str

    name = "scatter"

    def expand(self, *inputs: Value) -> Value:
        x, index, source = inputs
        return put_op(self.mode, x.ndim, range(x.ndim), x.ndim)(
            x, cast(source, x.dtype), *_everywhere(index, self.axis)
        )


def _everywhere(index: Value, axis: int) -> list[Value]:
    """One index for each axis: `index` along `axis`, running numbers along the others."""
    found = []
    for d, extent in enumerate(index.shape):
        running = index.builder.iota(tuple(extent if e == d else 1 for e in range(index.ndim)))
        found.append(index if d == axis else broadcast(running, index.shape))
    return found


class OneHot(Formula):
    """1 at the label along a new last axis of `classes`, else 0. Labels out of range raise IndexError."""

    classes: int
    dtype: str

    name = "one_hot"

    def expand(self, *inputs: Value) -> Value:
        (label,) = inputs
        index = not_negative(reshape(label, (*label.shape, 1)), self.classes)
        number = label.builder.constant
        blank = broadcast(cast(number(0), self.dtype), (*label.shape, self.classes))
        return ScatterAlong(label.ndim, "set").expand(blank, index, broadcast(number(1), index.shape))


class IndexingOneHot(Formula):
    """x at one index per position along `axis`, which stays with extent 1: x[..., index[...], ...]."""

    axis: int

    name = "indexing_one_hot"

    def expand(self, *inputs: Value) -> Value:
        x, index = inputs
        want = tuple(s for d, s in enumerate(x.shape) if d != self.axis)
        if index.shape != want:
            raise ValueError(
                f"{self.name}: an index of shape {index.shape} does not fit {x.shape} without axis {self.axis}, {want}"
            )
        return gather_checked(
            x, reshape(index, tuple(1 if d == self.axis else s for d, s in enumerate(x.shape))), self.axis
        )


def gather_checked(x: Value, index: Value, axis: int) -> Value:
    """GatherAlong for labels: a negative one is out of range too."""
    return GatherAlong(axis).expand(x, not_negative(index, x.shape[axis]))


def not_negative(index: Value, extent: int) -> Value:
    if index.dtype != "int64":  # a narrow integer may not hold the extent
        index = cast(index, "int32" if extent < 1 << 31 else "int64")
    return where(index < 0, extent, index)


def label_of(value: Value) -> Value | None:
    """The labels from which `not_negative` has made this value; None for any other value."""
    if value.op is not where:
        return None
    condition, _, label = value.operands
    below = isinstance(condition.op, Elemwise) and condition.op.mode == "LT"
    return label if below and condition.operands[0] is label else None


def running(x: Value, axis: int) -> Value:
    """0, 1, 2, … along `axis` of a tensor shaped like `x`, extent 1 elsewhere."""
    return x.builder.iota(tuple(s if d == axis else 1 for d, s in enumerate(x.shape)))
