"""Exponentials and logarithms of float32, and functions built from them: sigmoid, softplus, tanh.

Exponentials write x = n * log(2) + r with an integer n, in Cody and Waite's two-part log(2) (Software Manual for the
Elementary Functions, 1980), and multiply a polynomial in r by 2**n. Logarithms write x = 2**e * (1 + f) with 1 + f
between sqrt(1/2) and sqrt(2).
"""

from __future__ import annotations

import math

from ..vector import Vec
from .polynomial import BIAS, by_pairs, clamp, exponent_scale, horner, nearest

LOG2_E = math.log2(math.e)
LN2_HIGH = 0.693147182464599609375  # log(2) rounded to float32
LN2_LOW = -1.904654299957767e-09

# e**r = 1 + r + r*r*p(r) for |r| <= log(2)
EXP_WIDE = (0.500000358, 0.16666618, 0.041661229, 0.00833592936, 0.00141047477, 0.000196307374)
# the same for |r| <= log(2) / 2
EXP = (0.49999994, 0.166665211, 0.0416682586, 0.00836866815, 0.00138213055)
# 2**f = 1 + f * p(f) for |f| <= 1/2
EXP2 = (0.693147004, 0.240222469, 0.0555071086, 0.00967129227, 0.00132695376)
# e**r - 1 = r + r*r*p(r) for |r| <= log(2) / 2
EXPM1 = (0.5, 0.166666657, 0.0416664928, 0.00833354797, 0.0013932318, 0.000197599118)
# (1 - e**(-2r)) / 2 = r + r*r*p(r) for |r| <= log(2) / 4
TANH = (-0.99999994, 0.666661859, -0.333339572, 0.133860022, -0.0443826802)
# log(1 + f) = f - f*f/2 + f**3 * p(f)
LOG = (0.333333313, -0.250008196, 0.200012416, -0.166234091, 0.142015815, -0.131596133, 0.127621993, -0.0763639957)
# log(1 + z) = z + z*z*p(z) for 0 <= z <= 1
LOG1P_UNIT = (
    *(-0.499999315, 0.333304703, -0.24958156, 0.196931824, -0.153490216, 0.106697984, -0.0575585775, 0.0201483499),
    -0.00330601609,
)

ONE_BITS = 0x3F800000
ROOT_HALF_BITS = 0x3F3504F3
SMALLEST_NORMAL = 2.0**-126


def exp(x: Vec) -> Vec:
    # n is even: a shift gives the square root of 2**n, and multiplying by it twice leaves no range too early.
    x = clamp(x, -104.0, 89.0)
    half, bits = nearest(x, 0.5 * LOG2_E, BIAS["f32"])
    r = half.fma(-2 * LN2_LOW, half.fma(-2 * LN2_HIGH, x))
    root = exponent_scale(bits, "f32")
    square = r * r
    return square.fma(by_pairs(r, square, EXP_WIDE), r).fma(root, root) * root


def exp_nonpositive(x: Vec) -> Vec:
    """exp(x) for x <= 0, with 0 below the normal numbers. The power of two is one factor, whose exponent field is 0
    where n is -127."""
    x = (x < -88.0).where(-88.0, x)
    n, bits = nearest(x, LOG2_E, BIAS["f32"])
    r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x))
    square = r * r
    scale = exponent_scale(bits, "f32")
    return square.fma(by_pairs(r, square, EXP), r).fma(scale, scale)


def exp2_nonpositive(x: Vec) -> Vec:
    """2**x for x <= 0, likewise with 0 below the normal numbers."""
    x = (x < -127.0).where(-127.0, x)
    n, bits = nearest(x, 1.0, BIAS["f32"])
    f = x - n
    scale = exponent_scale(bits, "f32")
    return (f * horner(f, EXP2)).fma(scale, scale)


def expm1(x: Vec) -> Vec:
    limited = clamp(x, -18.0, 89.0)
    n, bits = nearest(limited, LOG2_E, BIAS["f32"] - 1)
    r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, limited))
    half_scale = exponent_scale(bits, "f32")  # 2**(n - 1), as 2**128 would overflow
    p = (r * r).fma(horner(r, EXPM1), r)
    result = half_scale.fma(p, half_scale - 0.5)
    # below 2**-100 halving could lose a bit, and minus zero its sign
    return (x.abs() < 2.0**-100).where(x, result + result)


def _exp_gradual(x: Vec) -> Vec:
    """exp(x) for x <= 0 with subnormal numbers: the scale is 2**(n + 64), a normal number, and one more product brings it down."""
    x = (x < -104.0).where(-104.0, x)
    n, bits = nearest(x, LOG2_E, BIAS["f32"] + 64)
    r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x))
    return ((r * r).fma(horner(r, EXP), r) + 1.0) * exponent_scale(bits, "f32") * 2.0**-64


def sigmoid(x: Vec) -> Vec:
    """With z = exp(-|x|) and w = z / (1 + z): 1 - w for x >= 0, else z - z * w, where z scales down the errors of w."""
    z = _exp_gradual(-x.abs())
    w = z / (1.0 + z)
    return (x < 0.0).where((-z).fma(w, z), 1.0 - w)


def softplus(x: Vec) -> Vec:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    z = _exp_gradual(-x.abs())
    return (x < 0.0).where(0.0, x) + (z * z).fma(horner(z, LOG1P_UNIT), z)


def tanh(x: Vec) -> Vec:
    """With e**(-2|x|) = s * (1 - 2p): (1 - s + 2sp) / (1 + s - 2sp), each side rounded once."""
    a = x.abs()
    a = (a > 9.1).where(9.1, a)
    n, bits = nearest(a, -2 * LOG2_E, BIAS["f32"])
    r = n.fma(LN2_LOW / 2, n.fma(LN2_HIGH / 2, a))
    s = exponent_scale(bits, "f32")
    p = (r * r).fma(horner(r, TANH), r)
    twice = s + s
    return (twice.fma(p, 1.0 - s) / (-twice).fma(p, 1.0 + s)).copysign(x)


def log(x: Vec) -> Vec:
    tiny = x < SMALLEST_NORMAL
    bits = tiny.where(x * 2.0**23, x).bitcast("i32") - ROOT_HALF_BITS
    e = bits.ashr(23).to("f32") - tiny.where(x.const(23.0), 0.0)
    f = ((bits & 0x7FFFFF) + ROOT_HALF_BITS).bitcast("f32") - 1.0
    return _log_limits(x, _log_sum(e, f))


def log1p(x: Vec) -> Vec:
    """The exponent e is that of 1 + x, but f = x * 2**-e + (2**-e - 1), rounded once, keeps the digits of a small x."""
    total = x + 1.0
    exponent = (total.bitcast("i32") - ROOT_HALF_BITS).ashr(23)
    shift = exponent.shl(23)
    scale = (ONE_BITS - shift).maximum(0).bitcast("f32")  # 2**-e; 0 stands for 2**-128
    f = (x.bitcast("i32") - shift).bitcast("f32") + (scale - 1.0)
    result = _log_limits(total, _log_sum(exponent.to("f32"), f))
    return x.eq(0.0).where(x, result)


def _log_sum(e: Vec, f: Vec) -> Vec:
    """e * log(2) + log(1 + f)."""
    square = f * f
    small = (square * f).fma(horner(f, LOG), e * LN2_LOW)
    return e.fma(LN2_HIGH, f + square.fma(-0.5, small))


def _log_limits(x: Vec, result: Vec) -> Vec:
    """`result` where x is positive and finite, and the special values of the logarithm elsewhere."""
    result = (x < math.inf).where(result, x)
    return (x > 0.0).where(result, x.eq(0.0).where(x.const(-math.inf), math.nan))
