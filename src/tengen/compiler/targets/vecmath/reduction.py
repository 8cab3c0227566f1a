"""Argument reduction for sine, cosine and tangent: x = quadrant * pi/2 + r with |r| <= pi/4."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from llvmlite import ir

from ..vector import Vec, llvm_type
from .branch import where_rare
from .polynomial import ROUNDER, nearest

TWO_OVER_PI = 0.6366197723675814
PI_2 = 1.5707963267948966
# pi/2 in three float32 and two float64 parts (W. J. Cody and W. Waite, Software Manual for the Elementary Functions,
# 1980). All are positive, so that 0 * -part is minus zero and a minus zero stays one.
PI_2_F32 = (1.570796251296997, 7.549789415861596e-08, 5.390302953474238e-15)
PI_2_F64 = (1.5707963267948966, 6.123233995736766e-17)

# Beyond these, that many parts of pi/2 are not enough and the table takes over.
LARGE_F32 = 2.0**15
LARGE_F64_LANES = 2.0**28

# 2/pi to 240 bits: enough for the largest float32, 2**128
TWO_OVER_PI_BITS = 240
TWO_OVER_PI_DIGITS = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBB

TABLE_NAME = "two_over_pi_by_exponent"


@cache
def _rows() -> list[tuple[float, float]]:
    """2**(e - 23) * 2/pi modulo 4 as (a multiple of 2**-27, the rest) for e = 1 .. 127; then a row for inf and nan."""
    two_over_pi = Fraction(TWO_OVER_PI_DIGITS, 2**TWO_OVER_PI_BITS)
    rows = []
    for e in range(1, 128):
        value = two_over_pi * Fraction(2) ** (e - 23) % 4
        high = Fraction(round(value * 2**27), 2**27)
        rows.append((float(high), float(value - high)))
    return [*rows, (float("nan"), float("nan"))]


def reduce_f32(x: Vec) -> tuple[Vec, Vec]:
    """(r as f32, quadrant as i32 of which the low two bits count)."""
    n, quadrant = nearest(x, TWO_OVER_PI)
    r = x
    for part in PI_2_F32:
        r = n.fma(-part, r)

    def large() -> tuple[Vec, Vec]:
        exact, turns = _reduce_large(x)
        return exact.to("f32"), turns

    r, quadrant = where_rare(x.abs() > LARGE_F32, [r, quadrant], large)
    return r, quadrant


def reduce_f64_lanes(x: Vec) -> tuple[Vec, Vec]:
    """(r as f64, quadrant as i32) of an f32 vector."""
    r = x.to("f64")
    n, quadrant = nearest(r, TWO_OVER_PI)
    for part in PI_2_F64:
        r = n.fma(-part, r)
    r, quadrant = where_rare(x.abs() > LARGE_F64_LANES, [r, quadrant.to("i32")], lambda: _reduce_large(x))
    return r, quadrant


def _reduce_large(x: Vec) -> tuple[Vec, Vec]:
    """Reduction of any |x| >= 2 (after M. H. Payne and R. N. Hanek, 1983).

    x = m * 2**(e - 23) with an integer m of 24 bits. The table holds 2**(e - 23) * 2/pi modulo 4. So m * high is exact,
    and the rounding of m * low is 2**-26 below the worst cancellation that a float32 can meet, 2**-30.
    """
    bits = x.bitcast("i32")
    row = bits.lshr(23) & 127  # the biased exponent less 128
    mantissa = ((bits & 0x7FFFFF) | 0x800000).to("f64").copysign(x.to("f64"))
    high, low = _lookup(row)
    turns = mantissa * high
    rounded = mantissa.fma(low, turns) + ROUNDER["f64"]
    fraction = mantissa.fma(low, turns - (rounded - ROUNDER["f64"]))
    return fraction * PI_2, rounded.bitcast("i64").to("i32")


def _lookup(row: Vec) -> tuple[Vec, Vec]:
    """The two columns of the table at these rows."""
    build, lanes = row.builder, row.lanes
    table = build.module.globals.get(TABLE_NAME)
    if table is None:
        numbers = [number for pair in _rows() for number in pair]
        kind = ir.ArrayType(ir.DoubleType(), len(numbers))
        table = ir.GlobalVariable(build.module, kind, TABLE_NAME)
        table.global_constant, table.linkage, table.initializer = True, "internal", ir.Constant(kind, numbers)
    columns = []
    for column in (0, 1):
        result = ir.Constant(llvm_type("f64", lanes), ir.Undefined)
        for lane in range(lanes):
            at = ir.Constant(ir.IntType(32), lane)
            index = row.value if lanes == 1 else build.extract_element(row.value, at)
            place = build.add(build.mul(index, ir.Constant(ir.IntType(32), 2)), ir.Constant(ir.IntType(32), column))
            number = build.load(build.gep(table, [ir.Constant(ir.IntType(32), 0), place], inbounds=True))
            result = number if lanes == 1 else build.insert_element(result, number, at)
        columns.append(row.like(result, "f64"))
    return columns[0], columns[1]
