"""What the rows of the op table share: the rules of shapes and dtypes."""

from __future__ import annotations

from collections.abc import Sequence

from ...base.dtype import promote
from ...compiler.program import Composite, Type, Value

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("uint8", "int8", "uint16", "int16", "int32", "int64")


def strong(dtype: str) -> str:
    """The dtype that a result of only Python scalars gets."""
    return {"weak_bool": "bool", "weak_int": "int32", "weak_float": "float32"}.get(dtype, dtype)


def as_float(dtype: str) -> str:
    """The dtype in which a function such as exp answers: floats stay, all else becomes float32."""
    return dtype if dtype in FLOATS else "float32"


def statistics_dtype(dtype: str) -> str:
    """The dtype of means, variances and losses: float64 stays, all else becomes float32."""
    return dtype if dtype == "float64" else "float32"


def broadcast_shapes(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape, as NumPy broadcasts; ValueError names the op and the shapes."""
    if len(set(shapes)) == 1:  # as nearly always
        return shapes[0]
    rank = max(map(len, shapes), default=0)
    result = []
    for d in range(-rank, 0):
        extents = {s[d] for s in shapes if len(s) >= -d and s[d] != 1}
        if len(extents) > 1:
            shown = " and ".join(map(str, shapes))
            raise ValueError(
                f"{op}: shapes {shown} do not broadcast: dimension {d} is {sorted(extents)}; each must be equal or 1"
            )
        result.append(extents.pop() if extents else 1)
    return tuple(result)


def check_stretches(op: str, what: str, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    """ValueError unless `shape` broadcasts to `target`."""
    tail = target[len(target) - len(shape) :] if len(shape) <= len(target) else ()
    if len(shape) > len(target) or any(s not in (1, t) for s, t in zip(shape, tail, strict=True)):
        raise ValueError(f"{op}: {what} of shape {shape} does not fit shape {target}")


def normal_axis(op: str, axis: int, rank: int) -> int:
    """A non-negative axis; ValueError if there is none such."""
    if not -rank <= axis < rank:
        raise ValueError(f"{op}: axis {axis} is out of range for a tensor of {rank} dimension{'s' * (rank != 1)}")
    return axis % rank if rank else 0


def normal_axes(op: str, axes: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted non-negative axes; None means all."""
    if axes is None:
        return tuple(range(rank))
    given = [axes] if isinstance(axes, int) else list(axes)
    normal = sorted(normal_axis(op, int(a), rank) for a in given)
    if len(set(normal)) != len(normal):
        raise ValueError(f"{op}: axis {tuple(given)} names an axis twice")
    return tuple(normal)


def promoted(op: str, types: Sequence[Type]) -> str:
    """The common dtype of operands; TypeError names the op."""
    try:
        return strong(promote(*(t.dtype for t in types)))
    except TypeError as error:
        raise TypeError(f"{op}: {error}") from None


def promoted_floats(op: str, types: Sequence[Type]) -> str:
    """The common dtype of the operands of a contraction, which are floats; TypeError names the op."""
    if any(t.dtype not in FLOATS for t in types):
        raise TypeError(f"{op}: a sum of products is of floats, got {' and '.join(t.dtype for t in types)}")
    return promoted(op, types)


class Formula(Composite, abstract=True):
    """A composite op whose gradient is derived from its formula."""


Grads = Sequence[Value | None]
