"""Hyperbolic functions of float32 and their inverses, in float64 lanes (tanh is in `exponential`)."""

from __future__ import annotations

import math

from ..vector import Vec
from .lanes import exp2, log2
from .polynomial import horner

LN2 = math.log(2)
LOG2_E = math.log2(math.e)

# sinh(x) = x + x**3 * p(x*x) for |x| <= 1
SINH = (0.16666666497557517, 0.008333350058353067, 0.00019836159749306062, 2.8169513668425855e-06)


def sinh(x: Vec) -> Vec:
    a = x.abs().to("f64")
    e = exp2(a * LOG2_E)
    square = a * a
    small = (a * square).fma(horner(square, SINH), a)
    return (a < 1.0).where(small, (e - 1.0 / e) * 0.5).to("f32").copysign(x)


def cosh(x: Vec) -> Vec:
    e = exp2(x.abs().to("f64") * LOG2_E)
    return ((e + 1.0 / e) * 0.5).to("f32")


def asinh(x: Vec) -> Vec:
    a = x.abs().to("f64")
    large = log2(a + a.fma(a, 1.0).sqrt()) * LN2
    return _series_below(a, -1.0 / 6.0, large).to("f32").copysign(x)


def acosh(x: Vec) -> Vec:
    a = x.to("f64")
    result = log2(a + ((a - 1.0) * (a + 1.0)).sqrt()) * LN2
    return (a < 1.0).where(math.nan, result).to("f32")


def atanh(x: Vec) -> Vec:
    a = x.abs().to("f64")
    large = log2((1.0 + a) / (1.0 - a)) * (0.5 * LN2)
    return _series_below(a, 1.0 / 3.0, large).to("f32").copysign(x)


def _series_below(a: Vec, cubic: float, large: Vec) -> Vec:
    """a + cubic * a**3 for a < 2**-9, where the sum inside the logarithm would lose digits of a; `large` elsewhere."""
    return (a < 2.0**-9).where((a * a * a).fma(cubic, a), large)
