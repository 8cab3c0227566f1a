"""log2 and exp2 in float64 lanes, accurate to about 2**-34, for float32 functions that would lose digits on the way."""

from __future__ import annotations

import math

from ..vector import Vec
from .polynomial import BIAS, ROUNDER, clamp, exponent_scale, horner, nearest

# log2(1 + f) = f * p(f)
LOG2 = (
    *(1.4426950408687045, -0.72134752086879694, 0.48089836139514697, -0.36067367481964951, 0.28853729350233398),
    *(-0.24045316609197281, 0.20617535862917752, -0.18030058856346937, 0.15876980562534762, -0.14315660715504344),
    *(0.14474854301522622, -0.14283870239465901, 0.077369540306331516),
)
# 2**r = 1 + r * p(r) for |r| <= 1/2
EXP2 = (
    *(0.69314718070453896, 0.24022651066568074, 0.055504103659754715, 0.009618038131270084, 0.0013333935066512106),
    *(0.00015466756525388722, 1.5196154336105673e-05),
)

ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
ROUNDER_BITS = 0x4338000000000000


def log2(x: Vec) -> Vec:
    """log2 of f64 lanes that hold zero or numbers in the range of normal ones; -inf at 0, nan below 0."""
    # Biased by 1024 to stay positive, the exponent becomes a float by a logical shift and the rounding constant. Every
    # target has vector instructions for these, unlike for arithmetic shifts and conversions of 64 bits.
    bits = x.bitcast("i64") - ROOT_HALF_BITS
    exponent = (bits + (1024 << 52)).lshr(52)
    e = (exponent + ROUNDER_BITS).bitcast("f64") - (ROUNDER["f64"] + 1024.0)
    f = ((bits & ((1 << 52) - 1)) + ROOT_HALF_BITS).bitcast("f64") - 1.0
    result = (x < math.inf).where(f.fma(horner(f, LOG2), e), x)
    return (x > 0.0).where(result, x.eq(0.0).where(x.const(-math.inf), math.nan))


def exp2(x: Vec) -> Vec:
    """2**x of f64 lanes, for results that will be float32: x is limited to +-200."""
    x = clamp(x, -200.0, 200.0)
    n, bits = nearest(x, 1.0, BIAS["f64"])
    r = x - n
    return r.fma(horner(r, EXP2), 1.0) * exponent_scale(bits, "f64")
