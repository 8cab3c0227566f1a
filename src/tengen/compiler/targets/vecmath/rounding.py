"""Sign, rounding and remainders: mod has the divisor's sign as in Python, fmod the dividend's as in C."""

from __future__ import annotations

from ..vector import Vec
from .polynomial import ROUNDER
from .remainder import fmod


def sign(x: Vec) -> Vec:
    """-1, 0 or 1; nan stays nan."""
    one = x.const(1.0).copysign(x)
    return x.eq(0.0).where(0.0, x.is_nan().where(x, one))


def sign_i32(x: Vec) -> Vec:
    return (x > 0).where(x.const(1), (x < 0).where(x.const(-1), 0))


def round(x: Vec) -> Vec:
    """To the nearest integer, halves away from zero."""
    return x.intrinsic("llvm.round")


def round_i32(x: Vec) -> Vec:
    return x


sign_f64, sign_i64 = sign, sign_i32
round_f64, round_i64 = round, round_i32


def mod(x: Vec, y: Vec) -> Vec:
    """x - floor(x / y) * y without rounding errors; nan for y == 0."""
    remainder = fmod(x, y)
    shifted = _signs_differ(remainder, y).where(remainder + y, remainder)
    return remainder.eq(0.0).where(x.const(0.0).copysign(y), shifted)


def floor_div(x: Vec, y: Vec) -> Vec:
    """The floor of the true quotient, rounded only once; x / y for y == 0."""
    remainder = fmod(x, y)
    # an integer except for its rounding, which may have put it below that integer
    near = (x - remainder) / y - _signs_differ(remainder, y).where(x.const(1.0), 0.0)
    floor = near.floor()
    floor = (near - floor > 0.5).where(floor + 1.0, floor)
    quotient = x / y
    floor = floor.eq(0.0).where(x.const(0.0).copysign(quotient), floor)
    return y.eq(0.0).where(quotient, floor)


fmod_f64, mod_f64, floor_div_f64 = fmod, mod, floor_div


def _signs_differ(remainder: Vec, y: Vec) -> Vec:
    return remainder.ne(0.0) & ((remainder < 0.0) ^ (y < 0.0))


def floor_div_i32(x: Vec, y: Vec) -> Vec:
    """Exact in float64, so no division traps; 0 for y == 0, and -2**31 // -1 wraps."""
    zero = y.eq(0)
    quotient = (x.to("f64") / zero.where(1, y).to("f64")).floor()
    return zero.where(0, (quotient + ROUNDER["f64"]).bitcast("i64").to("i32"))


def mod_i32(x: Vec, y: Vec) -> Vec:
    return y.eq(0).where(0, x - floor_div_i32(x, y) * y)


def floor_div_i64(x: Vec, y: Vec) -> Vec:
    """0 for y == 0; -2**63 // -1 wraps."""
    negate = y.eq(-1)
    divisor = (y.eq(0) | negate).where(1, y)
    quotient, remainder = x.sdiv(divisor), x.srem(divisor)
    below = remainder.ne(0) & ((remainder ^ divisor) < 0)
    floor = quotient - below.to("i64")
    return y.eq(0).where(0, negate.where(-x, floor))


def mod_i64(x: Vec, y: Vec) -> Vec:
    return y.eq(0).where(0, x - floor_div_i64(x, y) * y)
