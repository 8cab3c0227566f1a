"""Polynomials, and the rounding trick that every argument reduction here uses."""

from __future__ import annotations

from collections.abc import Sequence

from ..vector import Vec

# Adding 1.5 * 2**(mantissa bits) to a small number leaves the number, rounded to an integer, in the low bits of the
# sum.
ROUNDER = {"f32": 1.5 * 2.0**23, "f64": 1.5 * 2.0**52}
MANTISSA = {"f32": 23, "f64": 52}
BIAS = {"f32": 127, "f64": 1023}
INTEGER = {"f32": "i32", "f64": "i64"}


def horner(x: Vec, coefficients: Sequence[float]) -> Vec:
    """The polynomial with these coefficients, lowest order first."""
    result = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result.fma(x, c)
    return result


def by_pairs(x: Vec, square: Vec, coefficients: Sequence[float]) -> Vec:
    """The polynomial as Horner's scheme in `square` = x * x over pairs c + d * x: half as many operations that wait for
    each other."""
    pairs = [
        x.const(pair[0]) if len(pair) == 1 else x.fma(pair[1], pair[0])
        for pair in (coefficients[i : i + 2] for i in range(0, len(coefficients), 2))
    ]
    result = pairs[-1]
    for pair in reversed(pairs[:-1]):
        result = result.fma(square, pair)
    return result


def nearest(x: Vec, factor: float, offset: int = 0) -> tuple[Vec, Vec]:
    """(x * factor rounded to an integer n, an integer vector whose low bits are n + offset); |n| < 2**21 for f32."""
    rounder = ROUNDER[x.kind] + offset
    shifted = x.fma(factor, rounder)
    return shifted - rounder, shifted.bitcast(INTEGER[x.kind])


def exponent_scale(bits: Vec, kind: str) -> Vec:
    """2**n of `kind` from integers whose low bits are n + BIAS[kind], for n in the range of normal numbers."""
    return bits.shl(MANTISSA[kind]).bitcast(kind)


def clamp(x: Vec, lowest: float, highest: float) -> Vec:
    """x limited to the interval; nan stays nan."""
    x = (x < lowest).where(lowest, x)
    return (x > highest).where(highest, x)
