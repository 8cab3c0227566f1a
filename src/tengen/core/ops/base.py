"""What the rows of the op table share: rules for shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import index
from typing import Any, TypeVar

from ...base.dtype import ITEMSIZE, promote
from ...compiler.program import Composite, Type, Value

Result = TypeVar("Result")
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("uint8", "int8", "uint16", "int16", "int32", "int64")


def integer_range(dtype: str) -> tuple[int, int] | None:
    """The least and the largest number of an integer dtype, None for other dtypes."""
    if dtype not in INTS:
        return None
    bits = 8 * ITEMSIZE[dtype]
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def not_fitting(op: str, number: int, dtype: str) -> OverflowError:
    """The error for an int that does not fit an integer dtype."""
    low, high = integer_range(dtype) or (0, 0)
    shown = number if number.bit_length() <= 128 else f"an int of {number.bit_length()} bits"
    return OverflowError(f"{op}: {shown} does not fit {dtype}, which holds {low} to {high}")


def strong(dtype: str) -> str:
    """The dtype that a result of only Python scalars gets."""
    return {"weak_bool": "bool", "weak_int": "int32", "weak_float": "float32"}.get(dtype, dtype)


def position_dtype(count: int) -> str:
    """The dtype of positions among `count` elements: int32 if it can hold them all."""
    return "int32" if count <= 1 << 31 else "int64"


def as_float(dtype: str) -> str:
    """The dtype of the result of a function such as exp: floats stay, everything else becomes float32."""
    return dtype if dtype in FLOATS else "float32"


def statistics_dtype(dtype: str) -> str:
    """The dtype of means, variances and losses: float64 stays, everything else becomes float32."""
    return dtype if dtype == "float64" else "float32"


def broadcast_shapes(op: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape, as NumPy broadcasts. The ValueError names the op and the shapes."""
    if len(set(shapes)) == 1:  # the usual case
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


def integer(op: str, argument: str, value: Any) -> int:
    """An int from anything that counts as one: a value with `__index__`, a tensor or array of one integer, a whole
    float.

    The TypeError names the op and the argument.
    """
    if type(value) is int:  # the usual case
        return value
    number = value.item() if hasattr(value, "item") and value.size == 1 else value
    if isinstance(number, float) and number.is_integer():
        return int(number)
    try:
        return index(number)
    except TypeError:
        raise TypeError(f"{op}: {argument} takes an integer, got {value!r}") from None


def number(op: str, argument: str, value: Any) -> float:
    """A float from anything that counts as one: a number, or a tensor or array of one. The TypeError names the op and
    the argument."""
    if type(value) is float:
        return value
    try:
        if not isinstance(value, (str, bytes, bytearray)):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{op}: {argument} takes a number, got {value!r}")


def integers(op: str, argument: str, values: Any) -> tuple[int, ...]:
    """Ints from what users pass for shapes, steps and axes: one int, a sequence, a tensor, or one of these in a tuple."""
    if type(values) is int:
        return (values,)
    if type(values) in (tuple, list) and all([type(value) is int for value in values]):  # the usual case
        return tuple(values)
    if hasattr(values, "tolist"):  # a NumPy array, a tensor
        values = values.tolist()
    if not isinstance(values, Iterable) or isinstance(values, str):
        return (integer(op, argument, values),)
    found = list(values)
    if len(found) == 1 and (isinstance(found[0], (list, tuple)) or getattr(found[0], "shape", ()) != ()):
        return integers(op, argument, found[0])
    return tuple([integer(op, argument, value) for value in found])


def several(op: str, argument: str, values: Any, what: str) -> list[Any]:
    """`values` as a list. If they are text or cannot be iterated over, the TypeError names the op, the argument and
    `what` it takes."""
    if type(values) in (tuple, list) or (isinstance(values, Iterable) and not isinstance(values, (str, bytes))):
        return list(values)
    raise TypeError(f"{op}: {argument} takes {what}, got {values!r}")


def size(op: str, argument: str, value: Any, least: int = 1) -> int:
    """`integer`; ValueError if the result is below `least`."""
    return sizes(op, argument, integer(op, argument, value), least)[0]


def sizes(op: str, argument: str, values: Any, least: int = 1) -> tuple[int, ...]:
    """`integers`; ValueError if one is below `least`."""
    found = integers(op, argument, values)
    if min(found, default=least) < least:
        raise ValueError(f"{op}: {argument} must be at least {least}, got {values!r}")
    return found


def integer_axis(op: str, axis: Any) -> int:
    """An axis as an int, perhaps negative. TypeError for anything that is not an integer, such as True and 1.0."""
    if type(axis) is int:
        return axis
    if isinstance(axis, (bool, float)) or (hasattr(axis, "dtype") and axis.dtype.kind not in "iu"):
        raise TypeError(f"{op}: an axis must be an integer, got {axis!r}")
    return integer(op, "axis", axis)


def listed(axes: Any) -> list[Any]:
    """The axes, given as one or several."""
    several = isinstance(axes, Iterable) and not isinstance(axes, str) and getattr(axes, "shape", True) != ()
    return list(axes) if several else [axes]


def normal_axis(op: str, axis: Any, rank: int) -> int:
    """A non-negative axis. ValueError if it does not exist, TypeError if it is not an integer."""
    number = integer_axis(op, axis)
    if not -rank <= number < rank:
        raise ValueError(f"{op}: axis {axis} is out of range for a tensor of {rank} dimension{'s' * (rank != 1)}")
    return number % rank if rank else 0


def normal_axes(op: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Sorted non-negative axes from one, several or None, which means all."""
    if axes is None:
        return tuple(range(rank))
    given = listed(axes)
    normal = sorted([normal_axis(op, a, rank) for a in given])
    if len(set(normal)) != len(normal):
        raise ValueError(f"{op}: axis {tuple(given)} names an axis twice")
    return tuple(normal)


def promoted(op: str, types: Sequence[Type]) -> str:
    """The common dtype of operands. The TypeError names the op."""
    try:
        return strong(promote(*[t.dtype for t in types]))
    except TypeError as error:
        raise TypeError(f"{op}: {error}") from None


def promoted_floats(op: str, types: Sequence[Type]) -> str:
    """The common dtype of the operands of a contraction, which must be floats. The TypeError names the op."""
    if any(t.dtype not in FLOATS for t in types):
        raise TypeError(f"{op}: a sum of products takes floats, got {' and '.join(t.dtype for t in types)}")
    return promoted(op, types)


class Formula(Composite, abstract=True):
    """A composite op whose gradient is derived from its formula."""


Grads = Sequence[Value | None]


def remembered(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function of a shape and of integers, or tuples of them, that are checked and made an op of: programs call it with the same ones
    again, and then it need not run. Arguments of another kind are not looked up: True equals 1, and a tensor changes."""
    known = lru_cache(1024)(function)

    def find(*args: Any) -> Result:
        for value in args:
            kind = type(value)
            if not (kind is int or value is None or (kind is tuple and all([type(part) is int for part in value]))):
                return function(*args)
        return known(*args)

    return find
