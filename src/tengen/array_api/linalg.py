"""Linear algebra. Products and norms are tengen's; decompositions are NumPy's, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..core import Tensor
from .reductions import max as _max
from .reductions import min as _min
from .reductions import sum as _sum
from .shapes import moveaxis

__all__ = "cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank".split()
__all__ += "matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm".split()


class EighResult(NamedTuple):
    """See `eigh`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """See `qr`."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """See `slogdet`."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """See `svd`."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _host(function: Any, *tensors: Tensor, **options: Any) -> Any:
    """What NumPy computes from tensors, as tensors of the dtype of the first one, where that is."""
    found = function(*(x.numpy() for x in tensors), **options)
    dtype, device = tensors[0].dtype, tensors[0].device
    made = [Tensor(part, dtype=dtype, device=device) for part in (found if isinstance(found, tuple) else (found,))]
    return made if isinstance(found, tuple) else made[0]


# -- products --------------------------------------------------------------------------------------------------


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices."""
    return F.matmul(x1, x2)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two dims exchanged."""
    return F.swapaxes(x, -1, -2)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The products of all pairs."""
    return x1.reshape(-1, 1) * x2.reshape(1, -1)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The sum of the products along a dim."""
    return _sum(moveaxis(x1, axis, -1) * moveaxis(x2, axis, -1), axis=-1)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """The sum of products over dims of both: the last ones of the first and the first ones of the second, or the given
    ones."""
    if isinstance(axes, int):
        first, second = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        first, second = ([axis % x.ndim for axis in given] for x, given in zip((x1, x2), axes, strict=True))
    kept = (
        [axis for axis in range(x1.ndim) if axis not in first],
        [axis for axis in range(x2.ndim) if axis not in second],
    )
    a = x1.transpose(*kept[0], *first) if x1.ndim else x1
    b = x2.transpose(*second, *kept[1]) if x2.ndim else x2
    inner = int(np.prod([x1.shape[axis] for axis in first], dtype=np.int64))
    shape = tuple(x1.shape[axis] for axis in kept[0]) + tuple(x2.shape[axis] for axis in kept[1])
    rows = int(np.prod([x1.shape[axis] for axis in kept[0]], dtype=np.int64))
    return F.matmul(a.reshape(rows, inner), b.reshape(inner, -1 if b.size else 0)).reshape(shape)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements."""
    a, b = moveaxis(x1, axis, 0), moveaxis(x2, axis, 0)
    parts = [a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return moveaxis(F.stack(parts), 0, axis)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of a diagonal."""
    return _sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """A diagonal of the last two dims, as the last dim."""
    rows, columns = x.shape[-2:]
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    index = np.arange(count, dtype=np.int32)
    front = moveaxis(x, (-2, -1), (0, 1))
    return moveaxis(front[index - min(offset, 0), index + max(offset, 0)], 0, -1)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The n-th power of a matrix."""
    return _host(np.linalg.matrix_power, x, n=n)


# -- norms -----------------------------------------------------------------------------------------------------


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over some dims, or over all; ord may also be inf, -inf or 0."""
    size = F.abs(x)
    if ord == float("inf"):
        return _max(size, axis=axis, keepdims=keepdims)
    if ord == -float("inf"):
        return _min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return _sum((x != 0).astype(x.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return _sum(size, axis=axis, keepdims=keepdims)
    if ord == 2:
        return F.sqrt(_sum(x * x, axis=axis, keepdims=keepdims))
    return _sum(size**ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of matrices in the last two dims."""
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    return _host(np.linalg.norm, x, ord=ord, axis=(-2, -1), keepdims=keepdims)


# -- decompositions --------------------------------------------------------------------------------------------


def det(x: Tensor, /) -> Tensor:
    """The determinant."""
    return _host(np.linalg.det, x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse."""
    return _host(np.linalg.inv, x)


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse."""
    return _host(np.linalg.pinv, x, rcond=1e-15 if rtol is None else rtol)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solution x of x1 x = x2."""
    return _host(np.linalg.solve, x1, x2)


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor of a positive definite matrix."""
    lower = _host(np.linalg.cholesky, x)
    return matrix_transpose(lower) if upper else lower


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues in ascending order, and eigenvectors, of a symmetric matrix."""
    return EighResult(*_host(lambda a: tuple(np.linalg.eigh(a)), x))


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of a symmetric matrix in ascending order."""
    return _host(np.linalg.eigvalsh, x)


def qr(x: Tensor, /, *, mode: str = "reduced") -> QRResult:
    """The orthogonal and the triangular factor; mode "reduced" or "complete"."""
    return QRResult(*_host(lambda a: tuple(np.linalg.qr(a, mode=mode)), x))  # type: ignore[call-overload]


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """U, the singular values in descending order, and V transposed."""
    return SVDResult(*_host(lambda a: tuple(np.linalg.svd(a, full_matrices=full_matrices)), x))


def svdvals(x: Tensor, /) -> Tensor:
    """The singular values in descending order."""
    return _host(np.linalg.svd, x, compute_uv=False)


def slogdet(x: Tensor, /) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value."""
    return SlogdetResult(*_host(lambda a: tuple(np.linalg.slogdet(a)), x))


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """How many singular values are not 0, up to rounding."""
    found = np.linalg.matrix_rank(x.numpy(), **({} if rtol is None else {"rtol": rtol}))
    return Tensor(found, dtype="int32", device=x.device)
