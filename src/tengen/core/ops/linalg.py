"""Matrix products. They are contractions, and so are their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...base.dtype import COMPLEX
from ...compiler.geometry import MatmulShape
from ...compiler.program import Contraction, Type, Value
from .base import FLOATS, Formula, Grads, broadcast_shapes, promoted, promoted_floats
from .elemwise import cast
from .reduce import total
from .shape import reshape, transpose


class MatMul(Contraction):
    """(…, m, k) @ (…, k, n), batch dims broadcast."""

    name = "matmul"
    precision = "low"
    form = "matmul"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        a, b = types
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul: shapes {a.shape} and {b.shape} do not fit: the last dimension of the first must equal "
                "the one before the last of the second"
            )
        batch = broadcast_shapes("matmul (batch dimensions)", a.shape[:-2], b.shape[:-2])
        return (Type(promoted_floats("matmul", types), (*batch, a.shape[-2], b.shape[-1])),)

    def geometry(self, types: Sequence[Type], out: Type) -> MatmulShape:
        *batch, m, n = out.shape
        return MatmulShape(m, types[0].shape[-1], n, tuple(batch))

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (a, b), (g,) = inputs, grads
        if g is None:
            return [None, None]
        return [self(g, _turned(b)), self(_turned(a), g)]


def _turned(x: Value) -> Value:
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _integer_product(a: Value, b: Value) -> Value:
    """(…, m, k) @ (…, k, n) of integers, as a sum over a broadcast product, because the contraction template is for
    floats."""
    (shape,) = (t.shape for t in MatMul().infer(*(v.type._replace(dtype="float32") for v in (a, b))))
    (m, k), n = a.shape[-2:], b.shape[-1]
    left, right = reshape(a, (*a.shape[:-2], m, 1, k)), reshape(_turned(b), (*b.shape[:-2], 1, n, k))
    return reshape(total(left * right, [len(shape)]), shape)


class Dot(Formula):
    """The sum of the products of two vectors, or the product of two numbers."""

    def expand(self, *inputs: Value) -> Value:
        a, b = inputs
        if a.ndim > 1 or a.shape != b.shape:
            raise ValueError(
                f"dot takes two vectors of one length, got shapes {a.shape} and {b.shape}; for matrices use matmul"
            )
        return reshape(total(a * b, range(a.ndim)), ())


class Product(Formula):
    """`a @ b` as users call it: either operand may be transposed first, a 1-d operand is a row or a column whose dim
    disappears again, and dtypes are promoted."""

    transpose_a: bool = False
    transpose_b: bool = False

    name = "matmul"
    precision = "low"

    def expand(self, *inputs: Value) -> Value:
        a, b = inputs
        if not a.ndim or not b.ndim:
            raise ValueError(f"matmul: shapes {a.shape} and {b.shape}: a number cannot be an operand")
        quantized = "q" in (a.dtype[0], b.dtype[0])
        dtype = "" if quantized else promoted("matmul", (a.type, b.type))
        exact = dtype not in ("", *FLOATS, COMPLEX)
        if exact:
            dtype = "int64" if dtype == "int64" else "int32"
        left = reshape(a, (1, *a.shape)) if a.ndim == 1 else _turned(a) if self.transpose_a else a
        right = reshape(b, (*b.shape, 1)) if b.ndim == 1 else _turned(b) if self.transpose_b else b
        if dtype:
            left, right = cast(left, dtype), cast(right, dtype)
        y: Value = _integer_product(left, right) if exact else MatMul()(left, right)
        dropped = ([y.ndim - 2] if a.ndim == 1 else []) + ([y.ndim - 1] if b.ndim == 1 else [])
        return reshape(y, [s for d, s in enumerate(y.shape) if d not in dropped])


class Linear(Formula):
    """x @ transposed weight (+ bias), over the last dim of x."""

    bias: bool

    precision = "low"

    def expand(self, *inputs: Value) -> Value:
        x, weight, *bias = inputs
        if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"linear: an input of shape {x.shape} does not fit a weight of shape {weight.shape} (out_features, in_features)"
            )
        # All leading dims are rows of one matrix.
        rows = reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        y = reshape(Product(transpose_b=True)(rows, weight), (*x.shape[:-1], weight.shape[0]))
        return y + bias[0] if self.bias else y
