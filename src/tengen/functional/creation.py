"""Making tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

from .. import _rt
from .._rt import apply
from ..base.device import Device
from ..base.dtype import canonical
from ..compiler.program import Value
from ..core import Tensor
from ..core.convert import place_of
from ..core.ops.create import Arange, Diag, Eye, FillLike, Linspace, Meshgrid
from ..core.ops.shape import Fill
from ..core.places import copied
from .arguments import (
    as_tensors,
    device_name,
    dtype_of,
    integer,
    integers,
    need_choice,
    need_fitting,
    number,
)

__all__ = [
    "arange", "copy", "diag", "eye", "full", "full_like", "linspace", "meshgrid", "ones", "ones_like", "zeros",
    "zeros_like",
]  # fmt: skip

_FILL_LIKE = FillLike()
Shape = int | Sequence[int] | Tensor


def full(
    shape: Shape, value: bool | int | float | Tensor, *, dtype: Any = None, device: str | Device | None = None
) -> Tensor:
    """A tensor with `value` everywhere.

    Args:
        shape: extents: an int or several.
        value: a number, or a 0-d tensor.
        dtype: by default that of the value: bool, int32, float32, or the tensor's.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor of this shape.

    Raises:
        ValueError: an extent is negative.

    >>> F.full((2, 2), 7).tolist()
    [[7, 7], [7, 7]]
    """
    return _full("full", shape, value, dtype, device)


def _full(op: str, shape: Shape, value: Any, dtype: Any, device: str | Device | None) -> Tensor:
    extents = integers(op, "shape", shape)
    if any(e < 0 for e in extents):
        raise ValueError(f"a tensor cannot have the shape {extents}: extents are at least 0")
    if isinstance(value, (bool, int, float)):
        place = device_name(device)
    else:
        place = device_name(place_of((value,)) if device is None else device)
        value = value if isinstance(value, (_rt.Tensor, Value)) else Tensor(value, device=place)
    if dtype is None:
        kind = next((k for k in (bool, int, float) if isinstance(value, k)), None)  # NumPy's float64 is a float, too
        dtype = kind or dtype_of(value)
    return apply(Fill(extents, canonical(dtype), place), value)


def zeros(shape: Shape, *, dtype: Any = "float32", device: str | Device | None = None) -> Tensor:
    """A tensor of zeros.

    Args:
        shape: extents: an int or several.
        dtype: a dtype or its name.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor of this shape.

    Raises:
        ValueError: an extent is negative.

    >>> F.zeros((1, 2)).tolist()
    [[0.0, 0.0]]
    """
    return _full("zeros", shape, 0, dtype, device)


def ones(shape: Shape, *, dtype: Any = "float32", device: str | Device | None = None) -> Tensor:
    """A tensor of ones.

    Args:
        shape: extents: an int or several.
        dtype: a dtype or its name.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor of this shape.

    Raises:
        ValueError: an extent is negative.

    >>> F.ones((1, 2)).tolist()
    [[1.0, 1.0]]
    """
    return _full("ones", shape, 1, dtype, device)


def full_like(inp: Tensor, value: int | float) -> Tensor:
    """A tensor with `value` everywhere, like another one.

    Args:
        inp: a tensor, of which only the shape, dtype and device count.
        value: a number.

    Returns: a tensor of the shape, dtype and device of inp.

    >>> F.full_like(Tensor([1.0, 2.0]), 7).tolist()
    [7.0, 7.0]
    """
    return apply(_FILL_LIKE, inp, value)


def zeros_like(inp: Tensor) -> Tensor:
    """Zeros in the shape of another tensor.

    Args:
        inp: a tensor, of which only the shape, dtype and device count.

    Returns: a tensor of the shape, dtype and device of inp.

    >>> F.zeros_like(Tensor([1.0, 2.0])).tolist()
    [0.0, 0.0]
    """
    return apply(_FILL_LIKE, inp, 0)


def ones_like(inp: Tensor) -> Tensor:
    """Ones in the shape of another tensor.

    Args:
        inp: a tensor, of which only the shape, dtype and device count.

    Returns: a tensor of the shape, dtype and device of inp.

    >>> F.ones_like(Tensor([1.0, 2.0])).tolist()
    [1.0, 1.0]
    """
    return apply(_FILL_LIKE, inp, 1)


def arange(
    start: float | Tensor = 0,
    stop: float | Tensor | None = None,
    step: float | Tensor = 1,
    *,
    dtype: Any = "float32",
    device: str | Device | None = None,
) -> Tensor:
    """Numbers in equal steps: start, start + step, start + 2 · step, … up to but without `stop`.

    With one argument: 0, 1, … below it.

    Args:
        start: the first number.
        stop: the end, which is not included.
        step: the distance, not 0; a negative one counts down.
        dtype: a dtype or its name.
        device: a device such as "cpu0"; None for the default one.

    Returns: a vector.

    Raises:
        ValueError: the step is 0.
        OverflowError: a number does not fit `dtype`.

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
    """`num` numbers in equal steps from `start` to `stop`, both included.

    Args:
        start, stop: the first and the last number.
        num: how many.
        dtype: a dtype or its name.
        device: a device such as "cpu0"; None for the default one.

    Returns: a vector (num,).

    Raises:
        ValueError: num is negative.

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
    """A matrix with ones on its main diagonal and zeros elsewhere.

    Args:
        N: the number of rows, or (rows, columns).
        M: the number of columns, by default N.
        dtype: a dtype or its name.
        device: a device such as "cpu0"; None for the default one.

    Returns: a tensor (N, M).

    Raises:
        ValueError: an extent is negative, or N does not hold two extents.

    >>> F.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    shape = integers("eye", "N", N)
    if len(shape) == 1 and not isinstance(N, (list, tuple)):
        shape = (*shape, shape[0] if M is None else integer("eye", "M", M))
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"eye takes the number of rows and of columns, got {N!r} and {M!r}")
    return apply(Eye(*shape, canonical(dtype), device_name(device)), 1)


def diag(inp: Tensor, k: int = 0) -> Tensor:
    """A square matrix with a vector on its diagonal, or the diagonal of a matrix.

    Args:
        inp: (n,) or (m, n), of any dtype.
        k: which diagonal; positive ones are above the main one.

    Returns: a matrix (n + |k|, n + |k|), or a vector.

    Raises:
        ValueError: inp has neither 1 nor 2 dims.

    >>> F.diag(Tensor([1, 2])).tolist(), F.diag(Tensor([[1, 2], [3, 4]])).tolist()
    ([[1, 0], [0, 2]], [1, 4])
    """
    return apply(Diag(integer("diag", "k", k)), inp)


def meshgrid(*inputs: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates on the grid that vectors span.

    Args:
        inputs: vectors of any lengths.
        indexing: "xy" (the second vector along axis 0, the first along axis 1) or "ij" (in order).

    Returns: a tuple with one tensor for each vector, all of one shape.

    Raises:
        ValueError: an operand has 2 or more dims.

    >>> x, y = F.meshgrid(Tensor([1, 2, 3]), Tensor([4, 5]))
    >>> x.tolist(), y.tolist()
    ([[1, 2, 3], [1, 2, 3]], [[4, 4, 4], [5, 5, 5]])
    """
    need_choice("meshgrid", "indexing", indexing, ("xy", "ij"))
    vectors = as_tensors(*inputs)
    for x in vectors:
        if x.ndim > 1:
            raise ValueError(f"meshgrid takes vectors, got shape {tuple(x.shape)}")
    made = apply(Meshgrid(indexing == "xy"), *vectors)
    return made if isinstance(made, tuple) else (made,)


def copy(inp: Tensor, device: str | Device | None = None) -> Tensor:
    """A copy.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        device: where the copy shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp.

    Raises:
        DeviceError: the device does not exist.

    >>> F.copy(Tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return copied(inp, None if device is None else device_name(device))
