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
    """-1, 0 or 1 as x is negative, zero or positive.

    Args:
        x: numbers of any shape.

    Returns: a tensor of the shape and dtype of x.

    >>> F.sign(Tensor([-3.0, 0.0, 2.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return apply(_SIGN, x)


def isnan(inp: Any) -> Tensor:
    """Where elements are not a number.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.

    Returns: a tensor of bool, of the shape of inp.

    >>> F.isnan(Tensor([1.0, np.nan])).tolist()
    [False, True]
    """
    return apply(_ISNAN, inp)


def isinf(inp: Any) -> Tensor:
    """Where elements are infinite.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.

    Returns: a tensor of bool, of the shape of inp.

    >>> F.isinf(Tensor([1.0, -np.inf])).tolist()
    [False, True]
    """
    return apply(_ISINF, inp)


# -- reductions --------------------------------------------------------------------------------------------


def sum(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`.

    Narrow integers wrap. The sum of nothing is 0.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether reduced axes stay, with extent 1. The dtype stays (narrow integers wrap), bool gives int32; of
            nothing it is 0. So do the other reductions.

    Returns: a tensor without the axes, or with extent 1 for each: the dtype stays, bool gives int32.

    Raises:
        ValueError: an axis does not exist or is named twice. All reductions raise it.

    >>> F.sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [3.0, 7.0]
    """
    return calls.reduce(as_tensor(inp), "SUM", axis, keepdims)


def prod(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`.

    The product of nothing is 1.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each: the dtype stays, bool gives int32.

    Raises:
        ValueError: an axis does not exist or is named twice.

    >>> F.prod(Tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [3, 8]
    """
    return calls.reduce(as_tensor(inp), "PRODUCT", axis, keepdims)


def mean(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist or is named twice.

    >>> F.mean(Tensor([1, 2])).item()
    1.5
    """
    return calls.reduce(as_tensor(inp), "MEAN", axis, keepdims)


def var(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: the mean of the squared distances from the mean.

    It is divided by the count, not by count - 1.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist or is named twice.

    >>> F.var(Tensor([[1.0, 3.0], [2.0, 2.0]]), axis=1).tolist()
    [1.0, 0.0]
    """
    return _spread(inp, axis, keepdims, root=False)


def std(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The standard deviation over `axis`: the square root of `var`.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each: floats, float32 for integers.

    Raises:
        ValueError: an axis does not exist or is named twice.

    >>> F.std(Tensor([1.0, 3.0])).item()
    1.0
    """
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
    """The largest element over `axis`; NaN where there is one.

    Each of several largest gets the gradient.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each, of the dtype of inp.

    Raises:
        ValueError: there are no elements, or an axis does not exist or is named twice.

    >>> F.max(Tensor([[1.0, 5.0], [7.0, 2.0]]), axis=1).tolist()
    [5.0, 7.0]
    """
    return calls.reduce(as_tensor(inp), "MAX", axis, keepdims)


def min(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; NaN where there is one.

    Each of several smallest gets the gradient.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each, of the dtype of inp.

    Raises:
        ValueError: there are no elements, or an axis does not exist or is named twice.

    >>> F.min(Tensor([[1.0, 5.0], [7.0, 2.0]]), axis=1).tolist()
    [1.0, 2.0]
    """
    return calls.reduce(as_tensor(inp), "MIN", axis, keepdims)


def argmax(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Where the largest element over `axis` is, the first of several.

    Positions are counted in row-major order over these axes.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor of int32 (int64 for more than 2**31 elements, as of all functions that give positions), without
        the axes or with extent 1 for each.

    Raises:
        ValueError: there are no elements, or an axis does not exist or is named twice.

    >>> F.argmax(Tensor([[1.0, 5.0], [7.0, 2.0]]), axis=1).tolist()
    [1, 0]
    """
    return _arg_reduce(inp, "argmax", axis, keepdims)


def argmin(inp: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Where the smallest element over `axis` is, the first of several; see argmax.

    Args:
        inp: a tensor, or what NumPy can read, of any shape and dtype.
        axis: an int, several, or None for all axes; negative ones count from the end.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor of int32, without the axes or with extent 1 for each.

    Raises:
        ValueError: there are no elements, or an axis does not exist or is named twice.

    >>> F.argmin(Tensor([[1.0, 5.0], [7.0, 2.0]]), axis=1).tolist()
    [0, 1]
    """
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
    """The p-norm (Σ|x|^p)^(1/p) over `axis`, with p = `ord`.

    Args:
        inp: floats of any shape.
        ord: p, 2 by default; ±inf gives the largest or smallest |x|, 0 how many are not 0 (int32).
        axis: an int or several; may be left out for vectors only.
        keepdims: whether the reduced axes stay, with extent 1.

    Returns: a tensor without the axes, or with extent 1 for each, of the dtype of inp.

    Raises:
        TypeError: axis is left out and inp is not a vector.

    >>> F.norm(Tensor([3.0, 4.0])).item()
    5.0
    """
    x = as_tensor(inp)
    axes = _norm_axes("norm", x, axis)
    return apply(Reduced(Norm(_order(ord), axes), axes, keepdims), x)


def normalize(inp: Tensor, ord: float | None = None, axis: Axes = None, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x), eps), with the norm over `axis`.

    Args:
        inp: floats of any shape.
        ord: which norm, 2 by default; see norm.
        axis: an int or several; may be left out for vectors only.
        eps: what to divide by at least.

    Returns: a tensor of the shape and dtype of inp.

    Raises:
        TypeError: axis is left out and inp is not a vector.

    >>> F.normalize(Tensor([3.0, 4.0]), axis=0).numpy().round(4).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
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
    """The elements sorted along the last axis, and where they were.

    Equal elements keep their order; NaN is the largest.

    Args:
        inp: numbers, of at least 1 dim.
        descending: whether the largest comes first.

    Returns: two tensors of the shape of inp: the elements, and their positions as int32.

    >>> values, places = F.sort(Tensor([3.0, 1.0, 2.0]))
    >>> values.tolist(), places.tolist()
    ([1.0, 2.0, 3.0], [1, 2, 0])
    """
    x = _rows("sort", inp)
    return apply(TopK(x.shape[-1], descending), x)


def argsort(inp: Tensor, descending: bool = False) -> Tensor:
    """The positions of the elements in sorted order along the last axis.

    Args:
        inp: numbers, of at least 1 dim.
        descending: whether the largest comes first.

    Returns: a tensor of int32, of the shape of inp.

    >>> F.argsort(Tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    x = _rows("argsort", inp)
    return apply(ArgSort(x.shape[-1], bool(descending)), x)


def topk(
    inp: Tensor, k: int, descending: bool = True, kth_only: bool = False, no_sort: bool = False
) -> tuple[Tensor, Tensor]:
    """The k largest elements along the last axis in order, and where they were.

    NaN counts as the largest, as in max.

    Args:
        inp: numbers, of at least 1 dim.
        k: from 1 to the extent; -k is k in the other order.
        descending: whether the largest are wanted; else the smallest.
        kth_only: give only the last of them, without the axis.
        no_sort: the order does not matter (it is sorted nevertheless).

    Returns: two tensors with extent k: the elements, and their positions as int32.

    Raises:
        ValueError: k is 0 or beyond the extent.

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
    """The matrix product (…, m, k) @ (…, k, n) → (…, m, n).

    Batch dims broadcast as in NumPy. A vector counts as a row on the left and as a column on the right, and its dim
    disappears again.

    Args:
        inp1: (…, m, k) or (k,), numbers of any dtype.
        inp2: (…, k, n) or (k,).
        transpose_a, transpose_b: swap the last two dims of that operand first.
        compute_mode: without effect: sums are always kept in float32 or wider.

    Returns: a tensor (…, m, n) of the promoted dtype; integers give int32, int64 stays.

    Raises:
        ValueError: the shapes do not fit.

    >>> F.matmul(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    return apply(_MATMUL[bool(transpose_a), bool(transpose_b)], inp1, inp2)


def dot(inp1: Tensor, inp2: Tensor) -> Tensor:
    """The sum of the products of two vectors.

    Args:
        inp1, inp2: vectors (n,), or two numbers.

    Returns: a 0-d tensor of the promoted dtype.

    Raises:
        ValueError: the operands are not two vectors of one length.

    >>> F.dot(Tensor([1.0, 2.0]), Tensor([3.0, 4.0])).item()
    11.0
    """
    return apply(Dot(), inp1, inp2)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """The sum of products that an equation in Einstein's notation says, as in NumPy.

    Each letter is a dim; those that the result does not name are summed over. A letter that an operand has twice takes
    its diagonal. Without "->" the result has the letters that are there once, in alphabetical order. "..." stands for
    any dims, which broadcast. More than two operands are multiplied two at a time, in the order that takes the fewest
    products.

    Args:
        equation: such as "ij,jk->ik", which is matmul.
        operands: one tensor for each term before the arrow, with as many dims as the term has letters.

    Returns: a tensor with the dims after the arrow. Floats are promoted; integers give int32 (int64 stays); one operand
        alone keeps its dtype.

    Raises:
        ValueError: the equation does not fit the operands; the message says where.

    >>> F.einsum("ij,kj->ik", Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0], [5.0, 6.0]])).tolist()
    [[11.0, 17.0]]
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the equation must be text such as 'ij,jk->ik', got {equation!r}")
    if not operands:
        raise ValueError("einsum: there is no operand")
    return apply(Einsum(equation), *map(as_tensor, operands))


def matinv(inp: Tensor) -> Tensor:
    """The inverses of the square matrices in the last two axes.

    Args:
        inp: floats (…, n, n).

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: the last two extents differ.
        numpy.linalg.LinAlgError: a matrix has no inverse.

    >>> F.matinv(Tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return apply(Inverse(), inp)


def svd(inp: Tensor, full_matrices: bool = False, compute_uv: bool = True) -> Any:
    """The singular value decomposition x = u · diag(s) · vh.

    It has no gradient.

    Args:
        inp: floats (…, m, n).
        full_matrices: whether u is (…, m, m) and vh (…, n, n); else they have min(m, n) columns and rows.
        compute_uv: False gives s alone.

    Returns: (u, s, vh), with s in descending order, or s.

    Raises:
        ValueError: inp has fewer than 2 dims.

    >>> u, s, vh = F.svd(Tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> s.tolist()
    [4.0, 3.0]
    """
    x = as_tensor(inp)
    if x.ndim < 2:
        raise ValueError(f"svd takes matrices (…, m, n), got shape {tuple(x.shape)}")
    u, s, vh = apply(SVD(full_matrices), x)
    return (u, s, vh) if compute_uv else s
