"""One step of a contraction on its accumulators: total + a * b, for numbers or for words of several numbers
(`dtypes.WORDS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from llvmlite import ir

from ...kernels.dtypes import QUADS
from ..vector import BFLOAT, Vec, constant, is_float, llvm_type

if TYPE_CHECKING:
    from ...kernels.contraction import ContractionKernel
    from ...kernels.target import HostTarget

MULTIPLY_PAIRS = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
"""Intrinsics that add two products of 16-bit integers, by lanes."""

SIGN = 128
"""How much larger a signed 8-bit integer becomes as an unsigned one, with its sign bit flipped."""


class Multiplier(NamedTuple):
    """How a kernel multiplies. `parts` times for each pair of loaded elements, total = add(a(element, part), b(element,
    part), total).

    one: for A, words of four ones. offset: how much `a` adds to each number of A.
    """

    a: Callable[[Vec, int], Vec]
    b: Callable[[Vec, int], Vec]
    add: Callable[[Vec, Vec, Vec], Vec]
    one: Callable[[Vec, int], Vec]
    offset: int = 0
    parts: int = 1


def multiplier_of(spec: ContractionKernel, target: HostTarget) -> Multiplier:
    """How a kernel multiplies on a machine."""
    if spec.a not in QUADS.values():
        return Multiplier(_same, _same, multiply_add if spec.product == "plain" else add_pairs, _same)
    unsigned = spec.a == QUADS["uint8"]
    if spec.amx:  # which knows signs; outside of it there are only sums of B
        return Multiplier(_same, _same, add_quads, _same)
    if target.vnni:
        return Multiplier(_same if unsigned else _turned_signs, _same, add_quads, _same, 0 if unsigned else SIGN)
    if target.name == "neon":
        return Multiplier(_same, _same, lambda a, b, total: add_each(a, b, total, unsigned), _same)
    return Multiplier(_unsigned if unsigned else _signed, _signed, add_halves, _unsigned, parts=2)


def _same(x: Vec, part: int) -> Vec:
    return x


def _turned_signs(quads: Vec, part: int) -> Vec:
    return quads ^ -0x7F7F7F80


def _unsigned(quads: Vec, part: int) -> Vec:
    """Two of the four 8-bit integers in each word as 16-bit ones: the first and third, or the second and fourth."""
    return _halves(quads, lambda words: words.lshr(8) if part else words & 0xFF)


def _signed(quads: Vec, part: int) -> Vec:
    return _halves(quads, lambda words: words.ashr(8) if part else words.shl(8).ashr(8))


def _halves(quads: Vec, made: Callable[[Vec], Vec]) -> Vec:
    at, lanes = quads.builder, 2 * quads.lanes
    words = Vec(at, at.bitcast(quads.value, ir.VectorType(ir.IntType(16), lanes)), "i16", lanes)
    return quads.like(at.bitcast(made(words).value, quads.value.type))


def ones(at: ir.IRBuilder, lanes: int) -> Vec:
    """Words of four ones."""
    return Vec(at, constant(0x01010101, "i32", lanes), "i32", lanes)


def multiply_add(a: Vec, b: Vec, total: Vec) -> Vec:
    """total + a * b."""
    # fmuladd is fused if the target has such an instruction, and never a call of libm
    return a.intrinsic("llvm.fmuladd", None, b, total) if is_float(a.kind) else a * b + total


def add_pairs(a: Vec, b: Vec, total: Vec) -> Vec:
    """total plus both products of pairs of bfloat16 numbers, by the instruction vdpbf16ps.

    It adds the second product, then the first, each time rounded to nearest even. Subnormal numbers, given or computed,
    count as 0. Intel SDM, volume 2.
    """
    lanes, at = total.lanes, total.builder
    pairs = ir.VectorType(BFLOAT, 2 * lanes)
    operands = [at.bitcast(x.value, pairs) for x in (a, b)]
    return total.like(_call(at, f"avx512bf16.dpbf16ps.{32 * lanes}", llvm_type("f32", lanes), total.value, *operands))


def add_quads(a: Vec, b: Vec, total: Vec) -> Vec:
    """total plus all four products of 8-bit integers, unsigned in a and signed in b, by the instruction vpdpbusd."""
    name = f"avx512.vpdpbusd.{32 * total.lanes}"
    return total.like(_call(total.builder, name, total.value.type, total.value, a.value, b.value))


def add_halves(a: Vec, b: Vec, total: Vec) -> Vec:
    """total plus both products of pairs of 16-bit integers, by the instruction vpmaddwd. That for 8-bit ones,
    vpmaddubsw, would saturate."""
    lanes, at = total.lanes, total.builder
    words = ir.VectorType(ir.IntType(16), 2 * lanes)
    operands = [at.bitcast(x.value, words) for x in (a, b)]
    return _opaque(total + total.like(_call(at, MULTIPLY_PAIRS[lanes], total.value.type, *operands)))


def _opaque(total: Vec) -> Vec:
    """The sum, written so that LLVM cannot change the order of additions, which would take more registers than there
    are."""
    type = total.value.type
    return total.like(total.builder.asm(ir.FunctionType(type, [type]), "", "=v,0", [total.value], False))


def add_each(a: Vec, b: Vec, total: Vec, unsigned: bool) -> Vec:
    """The products one by one, for machines without a known instruction."""
    for shift in (24, 16, 8, 0):
        x, y = a.shl(shift), b.shl(shift).ashr(24)
        total = total + (x.lshr(24) if unsigned else x.ashr(24)) * y
    return total


def _call(at: ir.IRBuilder, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
    """An x86 instruction."""
    name = f"llvm.x86.{name}"
    function = at.module.globals.get(name)
    if function is None:
        function = ir.Function(at.module, ir.FunctionType(result, [x.type for x in operands]), name)
    return at.call(function, operands)
