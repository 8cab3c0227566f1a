"""What one step of a contraction does to its accumulators: total + a * b, for numbers or for words of several (`dtypes.WORDS`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from llvmlite import ir

from ...kernels.dtypes import QUADS
from ..vector import BFLOAT, Vec, constant, is_float, llvm_type

if TYPE_CHECKING:
    from ...kernels.contraction import ContractionKernel
    from ...kernels.target import Target

MULTIPLY_PAIRS = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
"""Intrinsics that add two products of 16-bit integers, by lanes."""

SIGN = 128
"""As an unsigned integer a signed one of 8 bits whose sign is turned over is so much more."""


class Multiplier(NamedTuple):
    """How a kernel multiplies: `parts` times, of elements that were loaded, total = add(a(element, part), b(element, part), total).

    one: of A, words of four ones. offset: how much more than a number of A what `a` makes of it is.
    """

    a: Callable[[Vec, int], Vec]
    b: Callable[[Vec, int], Vec]
    add: Callable[[Vec, Vec, Vec], Vec]
    one: Callable[[Vec, int], Vec]
    offset: int = 0
    parts: int = 1


def multiplier_of(spec: ContractionKernel, target: Target) -> Multiplier:
    """That of a kernel on a machine."""
    if spec.product != "quads":
        return Multiplier(_same, _same, multiply_add if spec.product == "plain" else add_pairs, _same)
    unsigned = spec.a == QUADS["uint8"]
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
    # fmuladd is fused where the target has such an instruction, and no call to libm where it has none
    return a.intrinsic("llvm.fmuladd", None, b, total) if is_float(a.kind) else a * b + total


def add_pairs(a: Vec, b: Vec, total: Vec) -> Vec:
    """total and both products of pairs of bfloat16. The instruction vdpbf16ps: it adds the second product, then the first, each time
    rounded to nearest even; subnormal numbers, given or found, count as 0. Intel SDM, volume 2."""
    lanes, at = total.lanes, total.builder
    pairs = ir.VectorType(BFLOAT, 2 * lanes)
    operands = [at.bitcast(x.value, pairs) for x in (a, b)]
    return total.like(_call(at, f"avx512bf16.dpbf16ps.{32 * lanes}", llvm_type("f32", lanes), total.value, *operands))


def add_quads(a: Vec, b: Vec, total: Vec) -> Vec:
    """total and all four products of 8-bit integers, those of a unsigned and those of b signed. The instruction vpdpbusd."""
    name = f"avx512.vpdpbusd.{32 * total.lanes}"
    return total.like(_call(total.builder, name, total.value.type, total.value, a.value, b.value))


def add_halves(a: Vec, b: Vec, total: Vec) -> Vec:
    """total and both products of pairs of 16-bit integers. The instruction vpmaddwd; that of 8-bit ones, vpmaddubsw, would saturate."""
    lanes, at = total.lanes, total.builder
    words = ir.VectorType(ir.IntType(16), 2 * lanes)
    operands = [at.bitcast(x.value, words) for x in (a, b)]
    return _opaque(total + total.like(_call(at, MULTIPLY_PAIRS[lanes], total.value.type, *operands)))


def _opaque(total: Vec) -> Vec:
    """The same, in a way that has LLVM not change the order of additions, which would take more registers than there are."""
    type = total.value.type
    return total.like(total.builder.asm(ir.FunctionType(type, [type]), "", "=v,0", [total.value], False))


def add_each(a: Vec, b: Vec, total: Vec, unsigned: bool) -> Vec:
    """The same one by one, for machines of which no instruction is known."""
    for shift in (24, 16, 8, 0):
        x, y = a.shl(shift), b.shl(shift).ashr(24)
        total = total + (x.lshr(24) if unsigned else x.ashr(24)) * y
    return total


def _call(at: ir.IRBuilder, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
    """An instruction of x86."""
    name = f"llvm.x86.{name}"
    function = at.module.globals.get(name)
    if function is None:
        function = ir.Function(at.module, ir.FunctionType(result, [x.type for x in operands]), name)
    return at.call(function, operands)
