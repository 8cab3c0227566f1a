"""What one step of a contraction does to its accumulators: total + a * b, for numbers or for pairs of bfloat16."""

from __future__ import annotations

from llvmlite import ir

from ..vector import BFLOAT, Vec, is_float, llvm_type


def multiply_add(a: Vec, b: Vec, total: Vec) -> Vec:
    """total + a * b; where a and b hold pairs (`storage.PAIR`), the sum of both products."""
    if a.kind != total.kind:
        return _dot(a, b, total)
    # fmuladd is fused where the target has such an instruction, and no call to libm where it has none
    return a.intrinsic("llvm.fmuladd", None, b, total) if is_float(a.kind) else a * b + total


def _dot(a: Vec, b: Vec, total: Vec) -> Vec:
    """The instruction vdpbf16ps: it adds the second product, then the first, each time rounded to nearest even; subnormal
    numbers, given or found, count as 0. Intel SDM, volume 2."""
    lanes, at = total.lanes, total.builder
    numbers, pairs = llvm_type("f32", lanes), ir.VectorType(BFLOAT, 2 * lanes)
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
    function = at.module.globals.get(name)
    if function is None:
        function = ir.Function(at.module, ir.FunctionType(numbers, [numbers, pairs, pairs]), name)
    return total.like(at.call(function, [total.value, *(at.bitcast(x.value, pairs) for x in (a, b))]))
