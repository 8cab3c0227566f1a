"""The remainder of a division that truncates, as C's fmod has it: exact."""

from __future__ import annotations

import math

from ..vector import Vec
from .branch import where_rare
from .polynomial import BIAS, exponent_scale

DIGITS = 52  # of a float64, behind the first one
SMALL = 2.0**-1022  # below it, numbers have fewer
EXACT = {"f32": 2.0**28, "f64": 2.0**52}
"""Below such a quotient, a multiplication and an addition, rounded once, give the remainder."""


def fmod(x: Vec, y: Vec) -> Vec:
    """The remainder, with the sign of x; nan for an infinite x and for y == 0."""
    a, b = x.to("f64").abs(), y.to("f64").abs()
    quotient = a / b
    remainder = (-quotient.trunc()).fma(b, a)
    if x.kind == "f64":  # a quotient just below an integer may have been rounded to it
        remainder = (remainder < 0.0).where(remainder + b, remainder)
    # an infinite divisor leaves the dividend as it is
    remainder = (a < b).where(a, remainder)
    large = ~(quotient < EXACT[x.kind])
    (exact,) = where_rare(large, [remainder], lambda: [_by_subtraction(a, b)])
    return exact.to(x.kind).copysign(x)


def _by_subtraction(a: Vec, b: Vec) -> Vec:
    """The remainder of positive numbers a >= b, digit by digit."""
    valid = (b > 0.0) & (a < math.inf) & (b < math.inf)
    (digits, exponent), (divisor, lowest) = _parts(a), _parts(b)
    digits = _subtracted(digits, divisor, valid.where(exponent - lowest, 0))
    # by two powers of 2, for one of them alone may be too small to be a float64
    power = lowest - (BIAS["f64"] + DIGITS)
    half = power.ashr(1)
    scales = [exponent_scale(n + BIAS["f64"], "f64") for n in (half, power - half)]
    return valid.where(digits.to("f64") * scales[0] * scales[1], math.nan)


def _parts(x: Vec) -> tuple[Vec, Vec]:
    """(digits as an integer from 2**52 on, biased exponent, 0 or less for a subnormal number) of a positive float64."""
    small = x < SMALL
    bits = small.where(x * 2.0 ** (DIGITS + 2), x).bitcast("i64")
    exponent = bits.lshr(DIGITS) - small.where(x.const(DIGITS + 2, "i64"), 0)
    return (bits & ((1 << DIGITS) - 1)) | (1 << DIGITS), exponent


def _subtracted(digits: Vec, divisor: Vec, shifts: Vec) -> Vec:
    """digits * 2**shifts modulo divisor, where digits < 2 * divisor: a loop until all lanes are done."""
    builder, before = digits.builder, digits.builder.block
    inside, after = (builder.append_basic_block(name) for name in ("subtract", "subtracted"))
    builder.branch(inside)
    builder.position_at_end(inside)
    rest, left = (v.like(builder.phi(v.value.type)) for v in (digits, shifts))
    reduced = (rest >= divisor).where(rest - divisor, rest)
    goes_on = left > 0
    following = goes_on.where(reduced.shl(1), reduced), left - 1
    for phi, first, then in zip((rest, left), (digits, shifts), following, strict=True):
        phi.value.add_incoming(first.value, before)
        phi.value.add_incoming(then.value, inside)
    builder.cbranch(goes_on.any(), inside, after)
    builder.position_at_end(after)
    return following[0]
