"""Reductions, sorting and linear algebra."""

from __future__ import annotations

import builtins
from typing import Any

from .._rt import apply
from ..base.frames import shorten
from ..core import Tensor, calls
from ..core.ops.einsum import Einsum
from ..core.ops.elemwise import Elemwise
from ..core.ops.formula import Norm, UnitNorm, Variance
from ..core.ops.host import SVD, Inverse
from ..core.ops.linalg import Dot, Product
from ..core.ops.reduce import ArgReduce
from ..core.ops.shape import Reduced
from ..core.ops.sort import ArgSort, TopK
from .arguments import Axes, as_tensor, integer, normal_axes

__all__ = [
    "argmax", "argmin", "argsort", "dot", "einsum", "isinf", "isnan", "matinv", "matmul", "max", "mean", "min", "norm",
    "normalize", "prod", "sign", "sort", "std", "sum", "svd", "topk", "var",
]  # fmt: skip

_SIGN, _ISNAN, _ISINF = Elemwise("SIGN"), Elemwise("ISNAN"), Elemwise("ISINF")
_MATMUL = {(a, b): Product(a, b) for a in (False, True) for b in (False, True)}


def sign(x: Any) -> Tensor:
    """-1, 0 or 1 as x is negative, zero or positive; the dtype stays."""
    return apply(_SIGN, x)


def isnan(inp: Any) -> Tensor:
    """Where elements are not a number, as bool."""
    return apply(_ISNAN, inp)


def isinf(inp: Any) -> Tensor:
    """Where elements are infinite, as bool."""
    return apply(_ISINF, inp)


# -- reductions --------------------------------------------------------------------------------------------


def sum(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`: an int, several, or None for all.

    keepdims: whether reduced axes stay, with extent 1. The dtype stays (narrow integers wrap), bool gives int32; of
    nothing it is 0. Raises ValueError for an axis that is not there or is named twice. So do the other reductions.

    >>> F.sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [3.0, 7.0]
    """
    return calls.reduce(as_tensor(inp), "SUM", axis, keepdims)


def prod(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`; of nothing it is 1."""
    return calls.reduce(as_tensor(inp), "PRODUCT", axis, keepdims)


def mean(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`, as float32 (float64 stays).

    >>> F.mean(Tensor([1, 2])).item()
    1.5
    """
    return calls.reduce(as_tensor(inp), "MEAN", axis, keepdims)


def var(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The variance over `axis`, divided by the count, as float32 (float64 stays)."""
    return _spread(inp, axis, keepdims, root=False)


def std(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The standard deviation over `axis`: the square root of `var`."""
    return _spread(inp, axis, keepdims, root=True)


def _spread(inp: Tensor, axis: Axes, keepdims: bool, root: bool) -> Tensor:
    x = as_tensor(inp)
    try:
        axes = normal_axes("std" if root else "var", axis, x.ndim)
        return apply(Reduced(Variance(axes, root), axes, keepdims), x)
    except Exception as error:
        shorten(error)
        raise


def max(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest over `axis`; NaN where there is one. Raises ValueError for nothing.

    Each of several largest gets the gradient.
    """
    return calls.reduce(as_tensor(inp), "MAX", axis, keepdims)


def min(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest over `axis`; see max."""
    return calls.reduce(as_tensor(inp), "MIN", axis, keepdims)


def argmax(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Where over `axis` the (first) largest is, as int32, counted in row-major order over these axes.

    Among more than 2**31 elements it is int64, as other positions are. Raises ValueError for nothing.

    >>> F.argmax(Tensor([[1.0, 5.0], [7.0, 2.0]]), axis=1).tolist()
    [1, 0]
    """
    return _arg_reduce(inp, "argmax", axis, keepdims)


def argmin(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Where over `axis` the (first) smallest is; see argmax."""
    return _arg_reduce(inp, "argmin", axis, keepdims)


def _arg_reduce(inp: Tensor, monoid: str, axis: Axes, keepdims: bool) -> Tensor:
    x = as_tensor(inp)
    try:
        axes = normal_axes(monoid, axis, x.ndim)
        return apply(Reduced(ArgReduce(monoid, axes), axes, keepdims), x)
    except Exception as error:
        shorten(error)
        raise


def norm(inp: Tensor, ord: float | None = None, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The p-norm (Σ|x|^p)^(1/p) over `axis`, p = `ord`, 2 by default.

    ord: a number; ±inf gives the largest or smallest |x|, 0 how many are not 0 (int32). axis: may be left out for
    vectors only. Raises TypeError if it is left out for anything else.

    >>> F.norm(Tensor([3.0, 4.0])).item()
    5.0
    """
    x = as_tensor(inp)
    axes = _norm_axes("norm", x, axis)
    return apply(Reduced(Norm(_order(ord), axes), axes, keepdims), x)


def normalize(inp: Tensor, ord: float | None = None, axis: Axes = None, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x), eps), with the norm of order `ord` (2 by default) over `axis`; see norm."""
    x = as_tensor(inp)
    return apply(UnitNorm(_order(ord), _norm_axes("normalize", x, axis)), x, eps)


def _order(ord: float | None) -> float:
    return 2.0 if ord is None else float(ord)


def _norm_axes(op: str, x: Tensor, axis: Axes) -> tuple[int, ...]:
    if axis is None and x.ndim != 1:
        raise TypeError(
            f"{op}: axis is needed for a tensor of shape {tuple(x.shape)}; only for a vector it may be left out"
        )
    return normal_axes(op, axis, x.ndim)


# -- sorting -----------------------------------------------------------------------------------------------


def sort(inp: Tensor, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sorted along the last axis, and where the elements were (int32, see argmax). Equal elements keep their order; NaN is the largest.

    >>> values, places = F.sort(Tensor([3.0, 1.0, 2.0]))
    >>> values.tolist(), places.tolist()
    ([1.0, 2.0, 3.0], [1, 2, 0])
    """
    x = _rows("sort", inp)
    return apply(TopK(x.shape[-1], descending), x)


def argsort(inp: Tensor, descending: bool = False) -> Tensor:
    """Where the elements are that sorting along the last axis would give, as int32 (see argmax)."""
    x = _rows("argsort", inp)
    return apply(ArgSort(x.shape[-1], bool(descending)), x)


def topk(
    inp: Tensor, k: int, descending: bool = True, kth_only: bool = False, no_sort: bool = False
) -> tuple[Tensor, Tensor]:
    """The k largest (or, not descending, smallest) along the last axis in order, and where they were (int32, see
    argmax).

    k: from 1 to the extent; -k is k in the other order (the k smallest, if descending). kth_only: only the last of
    them, without the axis. no_sort: the order does not matter (it is the same). NaN counts as the largest, as in max.
    Raises ValueError for a k of 0 or beyond the extent.

    >>> values, places = F.topk(Tensor([3.0, 1.0, 2.0]), 2)
    >>> values.tolist(), places.tolist()
    ([3.0, 2.0], [0, 2])
    """
    x = _rows("topk", inp)
    count = integer("topk", "k", k)
    if not 1 <= builtins.abs(count) <= x.shape[-1]:
        raise ValueError(
            f"topk: k must be from 1 to {x.shape[-1]}, the extent of the last axis of shape {tuple(x.shape)}, "
            f"or from -{x.shape[-1]} to -1 for the other order; got {count}"
        )
    values, places = apply(TopK(builtins.abs(count), bool(descending) == (count > 0)), x)
    return (values[..., -1], places[..., -1]) if kth_only else (values, places)


def _rows(op: str, inp: Tensor) -> Tensor:
    x = as_tensor(inp)
    if x.ndim == 0:
        raise ValueError(f"{op} takes a tensor of at least 1 dimension, got a number")
    return x


# -- linear algebra ----------------------------------------------------------------------------------------


def matmul(
    inp1: Tensor, inp2: Tensor, transpose_a: bool = False, transpose_b: bool = False, compute_mode: str = "default"
) -> Tensor:
    """The matrix product (…, m, k) @ (…, k, n) → (…, m, n); batch dimensions broadcast as in NumPy.

    transpose_a, transpose_b: swap the last two dimensions of a matrix first. A vector counts as a row on the left and
    as a column on the right, and its dimension disappears again. compute_mode: sums are always kept in float32 or
    wider, so it changes nothing. Integers give int32. Raises ValueError if the shapes do not fit.

    >>> F.matmul(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    return apply(_MATMUL[bool(transpose_a), bool(transpose_b)], inp1, inp2)


def dot(inp1: Tensor, inp2: Tensor) -> Tensor:
    """The sum of the products of two vectors of one length. Raises ValueError for other shapes."""
    return apply(Dot(), inp1, inp2)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """The sum of products that an equation in Einstein's notation says, as in NumPy: einsum("ij,jk->ik", a, b) is matmul.

    Each letter is a dimension; those that the result does not name are summed over. A letter that an operand has twice takes its
    diagonal. Without "->" the result has the letters that are there once, in alphabetical order; "..." stands for any dimensions, which
    broadcast. More than two operands are multiplied two at a time, in the order that takes least products.

    Floats are promoted; integers give int32 (int64 stays), one operand alone keeps its dtype. Raises ValueError for an equation that does
    not fit the operands, and says where.

    >>> F.einsum("ij,kj->ik", Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0], [5.0, 6.0]])).tolist()
    [[11.0, 17.0]]
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the equation is text such as 'ij,jk->ik', got {equation!r}")
    if not operands:
        raise ValueError("einsum: there is no operand")
    return apply(Einsum(equation), *map(as_tensor, operands))


def matinv(inp: Tensor) -> Tensor:
    """The inverses of the square matrices in the last two axes.

    Raises ValueError for other shapes, numpy.linalg.LinAlgError if there is none.
    """
    return apply(Inverse(), inp)


def svd(inp: Tensor, full_matrices: bool = False, compute_uv: bool = True) -> Any:
    """The singular value decomposition x = u · diag(s) · vh of (…, m, n): (u, s, vh), or s alone without `compute_uv`.

    It has no gradient.
    """
    x = as_tensor(inp)
    if x.ndim < 2:
        raise ValueError(f"svd takes matrices (…, m, n), got shape {tuple(x.shape)}")
    u, s, vh = apply(SVD(full_matrices), x)
    return (u, s, vh) if compute_uv else s
