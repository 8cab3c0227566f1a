"""Powers: pow of float32 is 2**(y * log2|x|) in float64 lanes, with the special cases of C99's annex F.9.4.4.

If the exponents of all lanes need only a few multiplications, a division or a square root, nothing else is computed.
Programs know most exponents, and kernels get them as numbers at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..vector import Vec
from .branch import where_rare
from .exponential_f64 import pow_by_logarithm_f64
from .lanes import exp2, log2

SIGN_BIT = -(2**31)


def pow(x: Vec, y: Vec) -> Vec:
    return _by_products(x, y, lambda: _by_logarithm(x, y))


def pow_f64(x: Vec, y: Vec) -> Vec:
    return _by_products(x, y, lambda: pow_by_logarithm_f64(x, y))


def _by_products(x: Vec, y: Vec, otherwise: Callable[[], Vec]) -> Vec:
    """Powers that are products of x, if all lanes have such; otherwise the general way."""
    square = x * x
    product = y.eq(1.0).where(x, y.eq(3.0).where(square * x, square))
    known = y.eq(2.0) | y.eq(1.0) | y.eq(3.0)
    return where_rare(~known, [product], lambda: [_by_root(x, y, otherwise)])[0]


def _by_root(x: Vec, y: Vec, otherwise: Callable[[], Vec]) -> Vec:
    """Powers by a square root or a division, if all lanes have such; otherwise the general way. The gradient of 1 / x has a -2."""
    half, two = y.abs().eq(0.5), y.abs().eq(2.0)
    base = where_rare(half, [x], lambda: [x.eq(-math.inf).where(math.inf, (x + 0.0).sqrt())])[0]  # pow(-0, 0.5) is 0
    base = where_rare(y < 0.0, [base], lambda: [1.0 / base])[0]
    found = where_rare(two, [base], lambda: [(y < 0.0).where(_squared(base, x), base * base)])[0]
    return where_rare(~(half | two | y.eq(-1.0)), [found], lambda: [otherwise()])[0]


def _squared(r: Vec, x: Vec) -> Vec:
    """1 / x**2 from r, which is 1 / x rounded. The rest of both roundings is added, as r**2 alone may be off by 1.5 ULP."""
    square = r * r
    left = r.fma(r, -square) + (-x).fma(r, 1.0) * square * 2.0
    return ((square > 0.0) & (square < math.inf)).where(square + left, square)


def _by_logarithm(x: Vec, y: Vec) -> Vec:
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
