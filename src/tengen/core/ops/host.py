"""Ops that run as NumPy on the host: rare or irregular work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...compiler.program import Host, Type, Value
from .base import Formula, Grads, as_float, statistics_dtype
from .elemwise import cast
from .linalg import MatMul
from .shape import transpose


class Inverse(Formula):
    """MatrixInverse for every dtype: everything but float64 is inverted as float32."""

    name = "matinv"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return cast(MatrixInverse()(cast(x, statistics_dtype(x.dtype))), as_float(x.dtype))


class MatrixInverse(Host):
    """Inverses of the square matrices in the last two axes. Raises numpy.linalg.LinAlgError for a singular one."""

    no_onnx = "has no operator for it"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
            raise ValueError(f"matinv takes square matrices (..., n, n), got shape {x.shape}")
        return (x,)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        outputs[0][...] = np.linalg.inv(inputs[0])

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (y,), (g,) = outputs, grads
        if g is None:
            return [None]
        product = MatMul()
        turned = transpose(y, (*range(y.ndim - 2), y.ndim - 1, y.ndim - 2))
        return [-product(product(turned, g), turned)]


class SVD(Host):
    """Singular value decomposition of (..., m, n): u, s, vh."""

    full_matrices: bool

    nondiff = "singular vectors have no gradient where singular values are equal"
    no_onnx = "has no operator for it"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        *lead, m, n = x.shape
        k = min(m, n)
        rows, columns = (m, n) if self.full_matrices else (k, k)
        return Type(x.dtype, (*lead, m, rows)), Type(x.dtype, (*lead, k)), Type(x.dtype, (*lead, columns, n))

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        for out, part in zip(outputs, np.linalg.svd(inputs[0], full_matrices=self.full_matrices), strict=True):
            out[...] = part
