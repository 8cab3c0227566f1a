"""The arithmetic instructions of the loop IR as functions on vectors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from llvmlite import ir

from ..kernels.dtypes import BITS, COMPUTE_KIND
from ..kernels.nest import Instr
from .storage import decode, encode, rounded_to_odd, wrap
from .vecmath import emitter, philox
from .vector import Vec, constant, is_float

INFINITY = float("inf")


def _shift(shift: Callable[[Vec, Vec], Vec]) -> Callable[[Vec, Vec], Vec]:
    """A shift by more than the width is undefined in LLVM; only the low bits of the amount count here."""
    return lambda x, amount: shift(x, amount & (BITS[x.kind] - 1))


def _rounding(function: Callable[[Vec], Vec]) -> Callable[[Vec], Vec]:
    """A rounding function. Integers stay as they are."""
    return lambda x: function(x) if is_float(x.kind) else x


def _isnan(x: Vec) -> Vec:
    return x.is_nan() if is_float(x.kind) else x.const(False, "bool")


def _isinf(x: Vec) -> Vec:
    return x.abs().eq(INFINITY) if is_float(x.kind) else x.const(False, "bool")


def _power(x: Vec) -> Vec:
    digits = {"f32": 23, "f64": 52}[x.kind]
    exponent = ((1 << BITS[x.kind] - 1 - digits) - 1) << digits
    return (x.bitcast(f"i{BITS[x.kind]}") & exponent).bitcast(x.kind)


SIMPLE: dict[str, Callable[..., Vec]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "abs": Vec.abs,
    "sqrt": Vec.sqrt,
    "square": lambda x: x * x,
    "floor": _rounding(Vec.floor),
    "ceil": _rounding(Vec.ceil),
    "trunc": _rounding(Vec.trunc),
    "isnan": _isnan,
    "power": _power,
    "isinf": _isinf,
    "max": Vec.maximum,
    "min": Vec.minimum,
    "eq": Vec.eq,
    "ne": Vec.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "not": operator.invert,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": _shift(Vec.shl),
    "shr": _shift(Vec.ashr),
    "select": Vec.where,
    "fma": Vec.fma,
}


def apply(instr: Instr, args: Sequence[Vec], half: bool) -> Vec:
    """Emit an instruction that does not access memory. Raises TypeError if it is not defined for the kind of its
    arguments."""
    if instr.op == "cast" and instr.attr == "odd":
        return rounded_to_odd(args[0])
    if instr.op == "cast":
        return args[0].to(COMPUTE_KIND[instr.dtype])
    if instr.op == "wrap":
        return wrap(str(instr.attr), args[0])
    if instr.op == "round_to":
        return decode(str(instr.attr), encode(str(instr.attr), args[0], half), half)
    if instr.op == "random":
        return philox(*args)[1 if instr.attr else 0]
    if instr.op in SIMPLE:
        return SIMPLE[instr.op](*args)
    return emitter(instr.op)(*args)


def constant_of(at: ir.IRBuilder, instr: Instr, lanes: int) -> Vec:
    """The number of a `const` in every lane."""
    assert isinstance(instr.attr, (bool, int, float))
    kind = COMPUTE_KIND[instr.dtype]
    return Vec(at, constant(instr.attr, kind, lanes), kind, lanes)


def parameter(at: ir.IRBuilder, number: ir.Value, dtype: str) -> Vec:
    """A number of the launch in the compute dtype `dtype`, given as the bits of an int64 or a float64."""
    bits = Vec(at, number, "i64", 1)
    return (bits.bitcast("f64") if dtype.startswith("float") else bits).to(COMPUTE_KIND[dtype])
