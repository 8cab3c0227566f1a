"""Argument reduction of float64 for sine, cosine and tangent: x = quadrant * pi/2 + r with |r| <= pi/4, r as a pair."""

from __future__ import annotations

from itertools import pairwise

from llvmlite import ir

from ..vector import Vec, llvm_type
from .branch import where_rare
from .pairs import Pair, ordered_sum, two_product, two_sum
from .polynomial import BIAS, nearest
from .reduction import TWO_OVER_PI

# pi/2 in three parts (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980)
PI_2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
LARGE = 2.0**30  # beyond it, they are not enough
# 2/pi to 1280 bits, behind 32 zeros
BITS = 32 + 1280
TWO_OVER_PI_DIGITS = int(
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E0"
    "06492EEA09D1921CFE1DEB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F4"
    "9C845F8BBDF9283B1FF897FFDE05980FEF2F118B5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D"
    "7527BAC7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D0856033046FC7B6BABF0CFBC209AF4361D",
    16,
)  # fmt: skip
TABLE_NAME = "two_over_pi_words"
WORD, WORDS = 0xFFFFFFFF, 6


def reduce_f64(x: Vec) -> tuple[Pair, Vec]:
    """(r, quadrant as i64 of which the low two bits count)."""
    n, quadrant = nearest(x, TWO_OVER_PI)
    first = n.fma(-PI_2[0], x)  # exact
    second, lost = two_product(n, PI_2[1])
    high, low = two_sum(first, -second)
    high, low = ordered_sum(high, n.fma(-PI_2[2], low - lost))
    high, low, quadrant = where_rare(~(x.abs() < LARGE), [high, low, quadrant], lambda: _reduce_large(x))
    return (high, low), quadrant


def _reduce_large(x: Vec) -> list[Vec]:
    """Reduction of any |x| >= LARGE (after M. H. Payne and R. N. Hanek, 1983).

    |x| = m * 2**e with an integer m of 53 bits. Of 2/pi, the bits before 2**(2 - e) give multiples of 4 quadrants, and
    192 bits from there on are enough: what lies behind them changes the result by 2**-137, and no float64 is nearer to
    a multiple of pi/2 than 2**-61.
    """
    bits = x.bitcast("i64")
    exponent = bits.lshr(52) & 0x7FF
    mantissa = (bits & ((1 << 52) - 1)) | (1 << 52)
    start = exponent - (BIAS["f64"] + 52 + 2 - 32)  # e - 2 bits of 2/pi are left out
    digits = _digits(start)
    product = _times(mantissa, digits)
    top = product[0].shl(32) | product[1]
    quadrant = (top + (1 << 61)).lshr(62)
    fraction = top - quadrant.shl(62)
    high, low = (fraction.ashr(32)).to("f64") * 2.0**-30, x.const(0.0)
    for place, word in enumerate((fraction & WORD, *product[2:5])):
        high, lost = two_sum(high, word.to("f64") * 2.0 ** (-62 - 32 * place))
        high, low = ordered_sum(high, low + lost)
    whole, lost = two_product(high, PI_2[0])
    r = ordered_sum(whole, low.fma(PI_2[0], high.fma(PI_2[1], lost)))
    negative = x < 0.0
    finite = exponent < 0x7FF
    results = [negative.where(-v, v) for v in r]
    return [*(finite.where(v, float("nan")) for v in results), negative.where(-quadrant, quadrant)]


def _digits(start: Vec) -> list[Vec]:
    """WORDS words of 32 bits of 2/pi, from this bit on."""
    build, lanes = start.builder, start.lanes
    table = build.module.globals.get(TABLE_NAME)
    if table is None:
        words = [TWO_OVER_PI_DIGITS >> (BITS - 32 * (k + 1)) & WORD for k in range(BITS // 32)]
        kind = ir.ArrayType(ir.IntType(32), len(words))
        table = ir.GlobalVariable(build.module, kind, TABLE_NAME)
        table.global_constant, table.linkage, table.initializer = True, "internal", ir.Constant(kind, words)
    last = BITS // 32 - WORDS - 1
    first = start.lshr(5)
    first = first.ult(last + 1).where(first, last)  # infinities and nan
    found = []
    for word in range(WORDS + 1):
        result = ir.Constant(llvm_type("i64", lanes), ir.Undefined)
        for lane in range(lanes):
            at = ir.Constant(ir.IntType(32), lane)
            index = first.value if lanes == 1 else build.extract_element(first.value, at)
            place = build.add(index, ir.Constant(ir.IntType(64), word))
            pointer = build.gep(table, [ir.Constant(ir.IntType(32), 0), place], inbounds=True)
            number = build.zext(build.load(pointer), ir.IntType(64))
            result = number if lanes == 1 else build.insert_element(result, number, at)
        found.append(start.like(result))
    shift = start & 31
    pairs = [a.shl(32) | b for a, b in pairwise(found)]
    return [pair.shl(shift).lshr(32) for pair in pairs]


def _times(mantissa: Vec, digits: list[Vec]) -> list[Vec]:
    """The product of an integer of 53 bits and a number of WORDS words of 32 bits, modulo 2**(32 * WORDS), in words."""
    low, high = mantissa & WORD, mantissa.lshr(32)
    words, carry = list[Vec](), low.const(0)
    previous = low.const(0)  # the word behind
    for digit in reversed(digits):
        total = digit * low + carry  # at most (2**32 - 1)**2 + 2**32
        upper = previous * high + (total & WORD)
        words.append(upper & WORD)
        carry = total.lshr(32) + upper.lshr(32)
        previous = digit
    return words[::-1]
