"""Exponentials and logarithms of float64, and functions built from them.

All of them go through two functions that give more bits than a float64 has. e**x is 2**n * (1 + r + rest), with the
argument reduced by Cody and Waite's two-part log(2). log(x) is e * log(2) + 2 * artanh(s), where s = f / (2 + f) and x =
2**e * (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). So a result is rounded nearly once.
"""

from __future__ import annotations

import math

from ..vector import Vec
from .pairs import Pair, divide, ordered_sum, two_product, two_sum
from .polynomial import BIAS, ROUNDER, by_pairs, clamp, exponent_scale, nearest

LOG2_E = math.log2(math.e)
LN2_HIGH, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
# the first part has 42 bits, so a multiple of it by an exponent is exact
LN2_SHORT, LN2_REST = 0.6931471805598903, 5.497923018708371e-14
TWO_THIRDS = 0.6666666666666666, 3.700743415417188e-17

# e**r = 1 + r + r*r/2 + r**3 * p(r) for |r| <= log(2) / 2
EXP = (
    *(0.16666666666666669, 0.041666666666666664, 0.008333333333330065, 0.0013888888888886554, 0.00019841269863040545),
    *(2.4801587317135164e-05, 2.7557268480309439e-06, 2.7557282984055459e-07, 2.5100375832840034e-08),
    2.091122972995766e-09,
)
# log((1 + s) / (1 - s)) = 2s + s**3 * (2/3 + u * p(u)), u = s*s
LOG = (
    *(0.40000000000000024, 0.28571428571338509, 0.22222222271100689, 0.18181808247814057, 0.15385574776827135),
    *(0.13285958087797103, 0.12913609606437132),
)

LOWEST, HIGHEST = -746.0, 711.0  # beyond them exp is 0 or infinite, and so are sinh and cosh
LARGE = 40.0  # e**x - 1 is e**x from here on, and e**x + e**-x too
ONE_BITS = 0x3FF0000000000000
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
ROUNDER_BITS = 0x4338000000000000
DIGITS = 52
SMALLEST_NORMAL = 2.0**-1022
NEGLIGIBLE = 2.0**-54


class Power:
    """2**n * (1 + r + rest), which is e**x, for LOWEST <= x <= HIGHEST. The rest is smaller than r * r."""

    def __init__(self, x: Vec, low: Vec | None = None) -> None:
        n, self._bits = nearest(x, LOG2_E, 2 * BIAS["f64"])
        most, less = n.fma(-LN2_HIGH, x), n * -LN2_LOW  # the first is exact
        self.r, lost = ordered_sum(most, less if low is None else less + low)
        square = self.r * self.r
        cubic = self.r.fma(by_pairs(self.r, square, EXP), 0.5)
        self.rest = square.fma(cubic, lost.fma(self.r, lost))

    def pair(self) -> Pair:
        """1 + r + rest."""
        high, low = ordered_sum(1.0, self.r)
        return ordered_sum(high, low + self.rest)

    def scaled(self, x: Vec) -> Vec:
        """x * 2**n, by two powers of 2, for one of them alone may be too large or too small to be a float64."""
        bits = self._bits & 0xFFF
        half = bits.lshr(1)
        return x * exponent_scale(half, "f64") * exponent_scale(bits - half, "f64")

    def half_less_half(self) -> Pair:
        """(e**x - 1) / 2 for |x| <= LARGE, with all its digits near 0."""
        half = exponent_scale(self._bits - (BIAS["f64"] + 1), "f64")
        high, lost = two_sum(half, -0.5)
        high, low = ordered_sum(high, half * self.r)
        return ordered_sum(high, half.fma(self.rest, low + lost))


def exp_f64(x: Vec) -> Vec:
    power = Power(clamp(x, LOWEST, HIGHEST))
    return power.scaled(power.pair()[0])


exp_nonpositive_f64 = exp_f64


def expm1_f64(x: Vec) -> Vec:
    power = Power(clamp(x, -LARGE, HIGHEST))
    half = power.half_less_half()[0]
    result = (x > LARGE).where(power.scaled(power.pair()[0]), half + half)
    return (x.abs() < NEGLIGIBLE).where(x, result)


def tanh_f64(x: Vec) -> Vec:
    """With h = (e**(2|x|) - 1) / 2: h / (h + 1)."""
    a = x.abs()
    limited = (a > LARGE / 2).where(LARGE / 2, a)
    half = Power(limited + limited).half_less_half()
    whole = two_sum(half[0], 1.0)
    result = divide(half, (whole[0], whole[1] + half[1]))[0]
    return (a < NEGLIGIBLE).where(a, result).copysign(x)


def sigmoid_f64(x: Vec) -> Vec:
    """With z = exp(-|x|): 1 / (1 + z) for x >= 0, else z / (1 + z)."""
    negative, a = x < 0.0, x.abs()
    power = Power(clamp(-a, LOWEST, 0.0))
    high, low = power.pair()
    z = power.scaled(high)
    whole, lost = two_sum(z, 1.0)
    above = negative.where(high, 1.0), negative.where(low, 0.0)
    share = divide(above, (whole, lost + power.scaled(low)))[0]
    return negative.where(power.scaled(share), share)


def softplus_f64(x: Vec) -> Vec:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    power = Power(clamp(-x.abs(), LOWEST, 0.0))
    high, low = power.pair()
    z = power.scaled(high)
    total, lost = two_sum(z, 1.0)
    high, low = log_of((total, lost + power.scaled(low)))
    whole, lost = two_sum((x > 0.0).where(x, 0.0), high)
    result = whole + (lost + low)
    result = (x < -LARGE).where(z, result)
    return x.is_nan().where(x, (x < math.inf).where(result, x))


def log_f64(x: Vec) -> Vec:
    high, low = log_of((x, x.const(0.0)), subnormal=True)
    return log_limits(x, high + low)


def log1p_f64(x: Vec) -> Vec:
    total, lost = two_sum(x, 1.0)
    high, low = log_of((total, lost))
    result = log_limits(total, high + low)
    return (x.abs() < NEGLIGIBLE).where(x, result)


def log_of(x: Pair, *, subnormal: bool = False, precise: bool = False) -> Pair:
    """log of a positive finite number, to about 59 bits, or precisely to about 65. Anything for other numbers."""
    e, f = _mantissa(*x, subnormal)
    s = divide(f, _plus(f, 2.0))
    u = s[0] * s[0]
    high, low = ordered_sum(e * LN2_SHORT, s[0] + s[0])
    low = low + e.fma(LN2_REST, s[1] + s[1])
    rest = by_pairs(u, u * u, LOG)
    if precise:
        square = u, s[0].fma(s[0], -u) + (s[0] + s[0]) * s[1]
        cube = two_product(u, s[0])
        cube = cube[0], u.fma(s[1], square[1].fma(s[0], cube[1]))
        more, lost = two_product(cube[0], TWO_THIRDS[0])
        lost = cube[1].fma(TWO_THIRDS[0], cube[0].fma(TWO_THIRDS[1], lost))
        high, again = ordered_sum(high, more)
        low = low + (again + (cube[0] * u).fma(rest, lost))
    else:
        low = low + (u * s[0]) * u.fma(rest, TWO_THIRDS[0])
    return ordered_sum(high, low)


def _plus(x: Pair, number: float) -> Pair:
    total, lost = two_sum(x[0], number)
    return total, lost + x[1]


def _mantissa(x: Vec, low: Vec, subnormal: bool) -> tuple[Vec, Pair]:
    """(e, f) with x + low = 2**e * (1 + f)."""
    bias = x.const(1024.0 + ROUNDER["f64"])
    if subnormal:
        tiny = x < SMALLEST_NORMAL
        x, bias = tiny.where(x * 2.0**54, x), tiny.where(bias + 54.0, bias)
    # biased by 1024 to stay positive, as in `lanes.log2`
    bits = x.bitcast("i64") - ROOT_HALF_BITS
    exponent = (bits + (1024 << DIGITS)).lshr(DIGITS)
    e = (exponent + ROUNDER_BITS).bitcast("f64") - bias
    f = ((bits & ((1 << DIGITS) - 1)) + ROOT_HALF_BITS).bitcast("f64") - 1.0
    if subnormal:
        return e, (f, low)
    # 2**-e; 0 stands for what is too small
    scale = (ONE_BITS + (1024 << DIGITS) - exponent.shl(DIGITS)).maximum(0).bitcast("f64")
    return e, ordered_sum(f, low * scale)


def log_limits(x: Vec, result: Vec) -> Vec:
    """`result` where x is positive and finite, and the special values of the logarithm elsewhere."""
    result = (x < math.inf).where(result, x)
    return (x > 0.0).where(result, x.eq(0.0).where(x.const(-math.inf), math.nan))


def pow_by_logarithm_f64(x: Vec, y: Vec) -> Vec:
    """e**(y * log|x|), with the special cases of C99's annex F.9.4.4."""
    a = x.abs()
    high, low = log_of((a, a.const(0.0)), subnormal=True, precise=True)
    high = log_limits(a, high)
    # |x| == 1 gives 1 for any y, and so does y == 0 for any x, even where the product would be nan
    one = high.eq(0.0) | y.eq(0.0)
    product, lost = two_product(y, high)
    lost = y.fma(low, lost)
    product = one.where(0.0, product)
    lost = (product.abs() < 800.0).where(lost, 0.0)
    power = Power(clamp(product, LOWEST, HIGHEST), one.where(0.0, lost))
    magnitude = power.scaled(power.pair()[0])
    half = y * 0.5
    integer = y.floor().eq(y)
    odd = integer & half.floor().ne(half)
    negative = x.bitcast("i64") < 0
    sign = (negative & odd).where(y.const(-(2**63), "i64"), 0)
    undefined = (x < 0.0) & (x > -math.inf) & ~integer
    return undefined.where(math.nan, (magnitude.bitcast("i64") ^ sign).bitcast("f64"))
