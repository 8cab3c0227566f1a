"""Functions that go along one axis and give a result for each element of it, `F.name(x, axis)`: one row each, with what NumPy has for it.

Tests of functions, of integers as arguments, of the export to ONNX and random programs all read this table: a new function is one row here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tengen.functional as F
from tengen.compiler.program import Op
from tengen.core.ops import scan


class Row(NamedTuple):
    """truth: (array, axis) → array, of NumPy. op: the op, of an axis. exact, pull: as in tests/differential; pull is (gradient, array,
    axis) → gradient, without it that is differenced. no_onnx: what the error calls it, where ONNX has no operator.
    """

    name: str
    truth: Callable[..., Any]
    op: Callable[[int], Op]
    exact: str = "formula"
    pull: Callable[..., Any] | None = None
    no_onnx: str = ""

    def call(self, x: Any, axis: int) -> Any:
        return getattr(F, self.name)(x, axis)


ROWS = [
    Row("cumsum", np.cumsum, scan.CumSum, "sum", lambda g, x, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis)),
    Row("cumprod", np.cumprod, scan.CumProd, no_onnx="cumprod"),
]
