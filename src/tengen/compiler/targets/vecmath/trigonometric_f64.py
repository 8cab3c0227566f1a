"""Trigonometric functions of float64 and their inverses."""

from __future__ import annotations

import math

from ..vector import Vec
from .pairs import Pair, divide, ordered_sum, root, two_sum
from .polynomial import by_pairs
from .reduction_f64 import reduce_f64

# sin(r) = r + r**3 * p(r*r), cos(r) = 1 - r*r/2 + r**4 * p(r*r) for |r| <= pi/4
SIN = (
    *(-0.16666666666666666, 0.0083333333333333315, -0.00019841269841265065, 2.7557319219339163e-06),
    *(-2.5052106232445937e-08, 1.6058531618725939e-10, -7.5866971023681716e-13),
)
COS = (
    *(0.041666666666666664, -0.0013888888888887398, 2.4801587298765686e-05, -2.7557317271728305e-07),
    *(2.087614626809294e-09, -1.1382632403168594e-11),
)
# asin(x) = x + x**3 * p(x*x) for |x| <= 1/2
ASIN = (
    *(0.16666666666666666, 0.075000000000001177, 0.044642857142551895, 0.03038194447553234, 0.022372157443507221),
    *(0.017352816540325496, 0.01396378001220357, 0.011566459612121669, 0.0096218429701002816, 0.0093195607947674456),
    *(0.0030448799094556773, 0.019554513336123378, -0.019241671746743041, 0.029612011264955121),
)
# atan(x) = x + x**3 * p(x*x) for |x| <= tan(pi/8)
ATAN = (
    *(-0.33333333333333331, 0.19999999999999804, -0.14285714285659806, 0.11111111105153429, -0.090909087534004993),
    *(0.076922963721299642, -0.066664248336135518, 0.058789283985172323, -0.052304498567092406, 0.045515730866641908),
    *(-0.034570044186095536, 0.016285183029865667),
)
PI_2, PI_2_LOW = 1.5707963267948966, 6.123233995736766e-17
TAN_PI_8 = math.sqrt(2.0) - 1.0
TINY = 2.0**-28  # below, sine and tangent are the angle


def sin_f64(x: Vec) -> Vec:
    r, quadrant = reduce_f64(x)
    return (x.abs() < TINY).where(x, _sine_of_quadrant(r, quadrant))


def cos_f64(x: Vec) -> Vec:
    r, quadrant = reduce_f64(x)
    return _sine_of_quadrant(r, quadrant + 1)


def _sine_of_quadrant(r: Pair, quadrant: Vec) -> Vec:
    """sin(r + quadrant * pi/2)."""
    square = r[0] * r[0]
    sine, cosine = (high + low for high, low in (_sine(r, square), _cosine(r, square)))
    value = (quadrant & 1).ne(0).where(cosine, sine)
    return (value.bitcast("i64") ^ (quadrant & 2).shl(62)).bitcast("f64")


def tan_f64(x: Vec) -> Vec:
    r, quadrant = reduce_f64(x)
    square = r[0] * r[0]
    sine, cosine = ordered_sum(*_sine(r, square)), ordered_sum(*_cosine(r, square))
    turned = (quadrant & 1).ne(0)
    above = turned.where(cosine[0], sine[0]), turned.where(cosine[1], sine[1])
    below = turned.where(sine[0], cosine[0]), turned.where(sine[1], cosine[1])
    quotient = divide(above, below)[0]
    quotient = turned.where(-quotient, quotient)
    return (x.abs() < TINY).where(x, quotient)


def _sine(r: Pair, square: Vec) -> Pair:
    """sin(r) as a sum of two, the second smaller."""
    cubic = (r[0] * square).fma(by_pairs(square, square * square, SIN), r[1] * square.fma(-0.5, 1.0))
    return r[0], cubic


def _cosine(r: Pair, square: Vec) -> Pair:
    """cos(r) likewise."""
    half = square * 0.5
    whole, lost = ordered_sum(1.0, -half)
    lost = lost - (r[0].fma(r[0], -square)) * 0.5
    rest = (square * square).fma(by_pairs(square, square * square, COS), (-r[0]).fma(r[1], lost))
    return whole, rest


def asin_f64(x: Vec) -> Vec:
    high, low, large = _asin_half(x)
    # asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))
    whole, lost = ordered_sum(PI_2, high * -2.0)
    return large.where(whole + (lost + low.fma(-2.0, PI_2_LOW)), high + low).copysign(x)


def acos_f64(x: Vec) -> Vec:
    """pi/2 - asin(x) for |x| <= 1/2; twice asin(sqrt((1 - x) / 2)) above; below, pi less that of -x."""
    high, low, large = _asin_half(x)
    negative = x < 0.0
    turned = ~large | negative
    signed = negative & ~large
    high, low = signed.where(-high, high), signed.where(-low, low)
    whole, lost = ordered_sum(PI_2, -high)
    rest = whole + (lost + (PI_2_LOW - low))
    half = turned.where(rest, high + low)
    return large.where(half + half, half)


def _asin_half(x: Vec) -> tuple[Vec, Vec, Vec]:
    """(asin(|x|) as a sum of two, no) for |x| <= 1/2, (that of sqrt((1 - |x|) / 2), yes) above."""
    a = x.abs()
    large = a > 0.5
    square = large.where(a.fma(-0.5, 0.5), a * a)
    high, low = root((square, x.const(0.0)))
    high, low = large.where(high, a), large.where(low, 0.0)
    return high, (high * square).fma(by_pairs(square, square * square, ASIN), low), large


def atan_f64(x: Vec) -> Vec:
    a = x.abs()
    high, low = _angle((a > 2.0**60).where(2.0**60, a), x.const(1.0))
    return (high + low).copysign(x)


def atan2_f64(y: Vec, x: Vec) -> Vec:
    up, along = y.abs(), x.abs()
    # equal sides are 45 degrees even when both are infinite, and none when both are zero
    same, flat, steep = up.eq(along), along.eq(math.inf), up.eq(math.inf)
    up, along = (
        same.where(up.eq(0.0).where(up, 1.0), flat.where(0.0, steep.where(1.0, up))),
        same.where(1.0, flat.where(1.0, steep.where(0.0, along))),
    )
    # away from the limits of exponents
    huge, tiny = up.maximum(along) > 2.0**800, up.minimum(along) < 2.0**-900
    scale = huge.where(2.0**-100, tiny.where(up.const(2.0**100), 1.0))
    high, low = _angle(up * scale, along * scale)
    plain = high + low
    whole, lost = ordered_sum(2 * PI_2, -high)
    left = whole + (lost + (2 * PI_2_LOW - low))
    angle = (x.bitcast("i64") < 0).where(left, plain).copysign(y)
    return (x.is_nan() | y.is_nan()).where(math.nan, angle)


def _angle(up: Vec, along: Vec) -> Pair:
    """atan(up / along) of positive numbers, as a sum of two: less 45 or 90 degrees, an angle of at most 22.5."""
    steep, middle = up * TAN_PI_8 > along, up > along * TAN_PI_8
    less, more = two_sum(up, -along), two_sum(up, along)
    above = steep.where(-along, middle.where(less[0], up)), _only(middle & ~steep, less[1])
    below = steep.where(up, middle.where(more[0], along)), _only(middle & ~steep, more[1])
    base = steep.where(PI_2, _only(middle, up.const(PI_2 / 2)))
    base_low = steep.where(PI_2_LOW, _only(middle, up.const(PI_2_LOW / 2)))
    high, low = divide(above, below)
    square = high * high
    rest = (high * square).fma(by_pairs(square, square * square, ATAN), low)
    whole, lost = ordered_sum(base, high)
    return ordered_sum(whole, lost + (base_low + rest))


def _only(mask: Vec, x: Vec) -> Vec:
    return mask.where(x, 0.0)
