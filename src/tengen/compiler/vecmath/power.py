"""Powers: pow of float32 is 2**(y * log2|x|) in float64 lanes, with the special cases of C99's annex F.9.4.4."""

from __future__ import annotations

import math

from ..vector import Vec
from .lanes import exp2, log2

SIGN_BIT = -(2**31)


def pow(x: Vec, y: Vec) -> Vec:
    exponent = log2(x.abs().to("f64"))
    # |x| == 1 gives 1 for any y, and so does y == 0 for any x, even where the product would be nan
    one = exponent.eq(0.0) | y.eq(0.0)
    magnitude = exp2(one.where(0.0, y.to("f64") * exponent)).to("f32")
    half = y * 0.5
    integer = y.floor().eq(y)
    odd = integer & half.floor().ne(half)
    negative = x.bitcast("i32") < 0
    sign = (negative & odd).where(y.const(SIGN_BIT, "i32"), 0)
    undefined = (x < 0.0) & (x > -math.inf) & ~integer
    return undefined.where(math.nan, (magnitude.bitcast("i32") ^ sign).bitcast("f32"))


def rsqrt(x: Vec) -> Vec:
    return 1.0 / x.sqrt()


rsqrt_f64 = rsqrt
