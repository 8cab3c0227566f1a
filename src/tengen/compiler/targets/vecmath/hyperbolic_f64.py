"""Hyperbolic functions of float64 and their inverses (tanh is in `exponential_f64`)."""

from __future__ import annotations

import math

from ..vector import Vec
from .exponential_f64 import HIGHEST, LARGE, NEGLIGIBLE, Power, log_of
from .pairs import Pair, divide, ordered_sum, root, two_product, two_sum

LN2 = 0.6931471805599453


def sinh_f64(x: Vec) -> Vec:
    """With h = (e**|x| - 1) / 2: h + h / (1 + 2h)."""
    a = x.abs()
    power = Power((a > HIGHEST).where(HIGHEST, a))
    half = power.half_less_half()
    whole, lost = two_sum(half[0] + half[0], 1.0)
    other = divide(half, (whole, lost + (half[1] + half[1])))
    total, lost = ordered_sum(half[0], other[0])
    result = total + (lost + (half[1] + other[1]))
    result = (a > LARGE).where(power.scaled(power.pair()[0] * 0.5), result)
    return (a < NEGLIGIBLE).where(a, result).copysign(x)


def cosh_f64(x: Vec) -> Vec:
    a = x.abs()
    power = Power((a > HIGHEST).where(HIGHEST, a))
    high, low = (power.scaled(part * 0.5) for part in power.pair())
    total, lost = ordered_sum(high, 0.25 / high)
    return (a > LARGE).where(high, total + (lost + low))


def asinh_f64(x: Vec) -> Vec:
    """log(|x| + sqrt(x*x + 1))."""
    a = x.abs()
    large = a > 2.0**28
    limited = large.where(1.0, a)
    square, low = two_product(limited, limited)
    total, lost = two_sum(square, 1.0)
    result = _log_of_sum(limited, root((total, lost + low)), large, a)
    return (a < 2.0**-28).where(a, result).copysign(x)


def acosh_f64(x: Vec) -> Vec:
    """log(x + sqrt(x*x - 1))."""
    large = x > 2.0**28
    limited = large.where(1.5, x)
    square, low = two_product(limited, limited)
    total, lost = two_sum(square, -1.0)
    result = _log_of_sum(limited, root(ordered_sum(total, lost + low)), large, x)
    return (x < 1.0).where(math.nan, x.eq(1.0).where(0.0, result))


def _log_of_sum(x: Vec, square_root: Pair, large: Vec, whole: Vec) -> Vec:
    """log(x + square_root), or log(2 * whole) where that is large."""
    total, lost = two_sum(square_root[0], x)
    total, lost = large.where(whole, total), large.where(0.0, lost + square_root[1])
    high, low = log_of((total, lost))
    total, lost = two_sum(large.where(x.const(LN2), 0.0), high)
    return (whole < math.inf).where(total + (lost + low), whole)


def atanh_f64(x: Vec) -> Vec:
    """log((1 + |x|) / (1 - |x|)) / 2."""
    a = x.abs()
    high, low = log_of(divide(ordered_sum(1.0, a), ordered_sum(1.0, -a)))
    result = a.eq(1.0).where(math.inf, (high + low) * 0.5)
    result = (a > 1.0).where(math.nan, result)
    return (a < 2.0**-28).where(a, result).copysign(x)
