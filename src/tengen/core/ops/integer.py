"""Contractions of integers: int32 sums of products of 8-bit numbers, for quantised layers.

The number that stands for 0 in the activations is a parameter, so that padding with zeros means that number. In weights
0 is 0. Other integers, of 16 bits, are multiplied one by one.
"""

from __future__ import annotations

from typing import Any

from ...compiler.program import Op, Type
from .conv import Convolution, ConvolutionBackwardData
from .linalg import MatMul

NARROW = ("int8", "uint8")


class _Integer:
    """What these ops have in common. zero: of operand a of the template."""

    zero: int

    nondiff = "it has integers"
    no_onnx = "gets no sums of integers yet"
    precision = ""
    grad = Op.grad  # there is none

    def infer(self, *types: Type) -> tuple[Type, ...]:
        op: Any = self
        a, b = (types[i].dtype for i in op.roles.operands)
        (out,) = super().infer(*(t._replace(dtype="float32") for t in types))  # type: ignore[misc]
        if (a, b) != ("int16", "int16") and (a not in NARROW or b != "int8"):
            raise TypeError(f"{op.name} of integers takes int8 or uint8, and int8; or both int16, got {a} and {b}")
        return (out._replace(dtype="int32"),)


class IntegerMatMul(_Integer, MatMul):
    """(…, m, k) @ (…, k, n) of integers."""

    zero: int


class IntegerConvolution(_Integer, Convolution):
    """y from x (n, ic, size…) and w (oc, ic / groups, kernel…) of integers."""

    zero: int


class IntegerConvolutionBackwardData(_Integer, ConvolutionBackwardData):
    """The transposed convolution of integers, from w and dy."""

    zero: int
