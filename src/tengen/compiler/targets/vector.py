"""Vectors of LLVM values with Python's operators, so that a formula in a kernel reads like a formula.

A `Vec` is `lanes` values of one compute kind in one SSA value: `f32 f64 i8 i16 i32 i64 bool` (a mask, `i1`). With
`lanes == 1` it is a scalar. Integers are signed; unsigned operations have names of their own: `udiv`, `urem`, `lshr`,
`ult` and the zero extension.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from ..kernels.dtypes import BITS

ELEMENT = {
    "f32": ir.FloatType(),
    "f64": ir.DoubleType(),
    "f16": ir.HalfType(),
    "i8": ir.IntType(8),
    "i16": ir.IntType(16),
    "i32": ir.IntType(32),
    "i64": ir.IntType(64),
    "bool": ir.IntType(1),
}


class _BFloat(ir.Type):
    """LLVM's bfloat, for which llvmlite has no class."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOAT = _BFloat()


def llvm_type(kind: str, lanes: int) -> ir.Type:
    """The LLVM type of `lanes` elements of `kind` (a scalar type for one lane)."""
    element = ELEMENT[kind]
    return element if lanes == 1 else ir.VectorType(element, lanes)


def is_float(kind: str) -> bool:
    return kind[0] == "f"


class Vec:
    """One SSA value of `lanes` elements; operators emit instructions at `builder`'s position."""

    __slots__ = ("builder", "kind", "lanes", "value")

    def __init__(self, builder: ir.IRBuilder, value: Any, kind: str, lanes: int):
        self.builder, self.value, self.kind, self.lanes = builder, value, kind, lanes

    # -- making values ---------------------------------------------------------------------------------------

    def like(self, value: Any, kind: str | None = None) -> Vec:
        """Wrap an LLVM value that has this vector's lane count."""
        return Vec(self.builder, value, kind or self.kind, self.lanes)

    def const(self, number: float | int | bool, kind: str | None = None) -> Vec:
        """The same number in every lane."""
        kind = kind or self.kind
        return Vec(self.builder, constant(number, kind, self.lanes), kind, self.lanes)

    def _lift(self, other: Vec | float | int) -> Vec:
        if isinstance(other, Vec):
            if other.kind != self.kind or other.lanes != self.lanes:
                raise TypeError(f"cannot combine {self.kind}x{self.lanes} with {other.kind}x{other.lanes}")
            return other
        return self.const(other)

    def _binary(self, other: Vec | float | int, for_int: str, for_float: str | None = None) -> Vec:
        other = self._lift(other)
        name = for_float if is_float(self.kind) else for_int
        if not name:
            raise TypeError(f"{for_int or for_float} is not defined for {self.kind}")
        return self.like(getattr(self.builder, name)(self.value, other.value))

    # -- arithmetic ------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Vec:
        return self._binary(other, "add", "fadd")

    def __sub__(self, other: Any) -> Vec:
        return self._binary(other, "sub", "fsub")

    def __mul__(self, other: Any) -> Vec:
        return self._binary(other, "mul", "fmul")

    def __truediv__(self, other: Any) -> Vec:
        return self._binary(other, "", "fdiv")

    def __radd__(self, other: Any) -> Vec:
        return self._lift(other) + self

    def __rsub__(self, other: Any) -> Vec:
        return self._lift(other) - self

    def __rmul__(self, other: Any) -> Vec:
        return self._lift(other) * self

    def __rtruediv__(self, other: Any) -> Vec:
        return self._lift(other) / self

    def __neg__(self) -> Vec:
        if is_float(self.kind):
            return self.like(self.builder.fneg(self.value))
        return self.const(0) - self

    def sdiv(self, other: Any) -> Vec:
        """Integer division that truncates; a zero divisor traps, so the caller guards it."""
        return self._binary(other, "sdiv")

    def srem(self, other: Any) -> Vec:
        return self._binary(other, "srem")

    def udiv(self, other: Any) -> Vec:
        return self._binary(other, "udiv")

    def urem(self, other: Any) -> Vec:
        return self._binary(other, "urem")

    # -- bits ------------------------------------------------------------------------------------------------

    def __and__(self, other: Any) -> Vec:
        return self._binary(other, "and_")

    def __or__(self, other: Any) -> Vec:
        return self._binary(other, "or_")

    def __xor__(self, other: Any) -> Vec:
        return self._binary(other, "xor")

    def __invert__(self) -> Vec:
        return self ^ (True if self.kind == "bool" else -1)

    def shl(self, other: Any) -> Vec:
        return self._binary(other, "shl")

    def ashr(self, other: Any) -> Vec:
        return self._binary(other, "ashr")

    def lshr(self, other: Any) -> Vec:
        return self._binary(other, "lshr")

    def bitcast(self, kind: str) -> Vec:
        """The same bits read as another kind of the same width."""
        return self.like(self.builder.bitcast(self.value, llvm_type(kind, self.lanes)), kind)

    # -- comparison: ordered, so anything with a nan is False, except `!=` ------------------------------------

    def _compare(self, other: Any, how: str) -> Vec:
        other = self._lift(other)
        if is_float(self.kind):
            emit = self.builder.fcmp_unordered if how == "!=" else self.builder.fcmp_ordered
        elif self.kind == "bool":
            emit = self.builder.icmp_unsigned
        else:
            emit = self.builder.icmp_signed
        return self.like(emit(how, self.value, other.value), "bool")

    def eq(self, other: Any) -> Vec:
        return self._compare(other, "==")

    def ne(self, other: Any) -> Vec:
        return self._compare(other, "!=")

    def __lt__(self, other: Any) -> Vec:
        return self._compare(other, "<")

    def __le__(self, other: Any) -> Vec:
        return self._compare(other, "<=")

    def __gt__(self, other: Any) -> Vec:
        return self._compare(other, ">")

    def __ge__(self, other: Any) -> Vec:
        return self._compare(other, ">=")

    def ult(self, other: Any) -> Vec:
        """Unsigned less-than: one comparison for `0 <= self < other`."""
        return self.like(self.builder.icmp_unsigned("<", self.value, self._lift(other).value), "bool")

    def is_nan(self) -> Vec:
        return self.like(self.builder.fcmp_unordered("uno", self.value, self.value), "bool")

    def where(self, yes: Any, no: Any) -> Vec:
        """On a mask: `yes` in the lanes that are set, `no` elsewhere. One of the two must be a Vec."""
        if not isinstance(yes, Vec):
            yes = no._lift(yes)
        no = yes._lift(no)
        return yes.like(self.builder.select(self.value, yes.value, no.value))

    def any(self) -> Any:
        """On a mask: an `i1` scalar, true if any lane is set."""
        if self.lanes == 1:
            return self.value
        bits = self.builder.bitcast(self.value, ir.IntType(self.lanes))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    # -- conversion ------------------------------------------------------------------------------------------

    def to(self, kind: str, *, unsigned: bool = False) -> Vec:
        """Convert the numbers to another kind; floats go to integers by truncation, saturating (nan gives 0)."""
        if kind == self.kind:
            return self
        target, build = llvm_type(kind, self.lanes), self.builder
        if is_float(self.kind):
            if is_float(kind):
                emit = build.fpext if BITS[kind] > BITS[self.kind] else build.fptrunc
                return self.like(emit(self.value, target), kind)
            if kind == "bool":
                return self.ne(0.0)
            return self._truncated(kind)
        if is_float(kind):
            emit = build.uitofp if unsigned or self.kind == "bool" else build.sitofp
            return self.like(emit(self.value, target), kind)
        if kind == "bool":
            return self.ne(0)
        if BITS[kind] < BITS[self.kind]:
            return self.like(build.trunc(self.value, target), kind)
        emit = build.zext if unsigned or self.kind == "bool" else build.sext
        return self.like(emit(self.value, target), kind)

    def _truncated(self, kind: str) -> Vec:
        """Floats as integers, saturating. LLVM's own saturating conversion takes vectors apart, lane by lane."""
        if self.lanes == 1:
            return self.intrinsic("llvm.fptosi.sat", kind)
        limit, made = 1 << BITS[kind] - 1, self.value
        high = float(limit)  # the first number that is too large
        rounded = isinstance(made, ir.CallInstr) and made.callee.name.startswith("llvm.trunc.")
        x = self.like(made.args[0]) if rounded else self  # the conversion truncates by itself
        fits = (x < high).where((x > -high).where(x, -high), 0.0)
        whole = self.like(self.builder.fptosi(fits.value, llvm_type(kind, self.lanes)), kind)
        return (x >= high).where(limit - 1, whole)

    # -- LLVM intrinsics -------------------------------------------------------------------------------------

    def intrinsic(self, name: str, kind: str | None = None, *others: Vec) -> Vec:
        """Call the LLVM intrinsic `name` on this and `others`. With `kind`, call one that converts to it."""
        types = [llvm_type(kind, self.lanes)] if kind else []
        result = types[0] if kind else self.value.type
        types.append(self.value.type)
        full = name + "".join(f".{_mangle(t)}" for t in types)
        signature = ir.FunctionType(result, [self.value.type, *(o.value.type for o in others)])
        function = self.builder.module.globals.get(full) or ir.Function(self.builder.module, signature, full)
        return self.like(self.builder.call(function, [self.value, *(o.value for o in others)]), kind or self.kind)

    def fma(self, factor: Any, addend: Any) -> Vec:
        """self * factor + addend, rounded once."""
        return self.intrinsic("llvm.fma", None, self._lift(factor), self._lift(addend))

    def sqrt(self) -> Vec:
        return self.intrinsic("llvm.sqrt")

    def abs(self) -> Vec:
        if is_float(self.kind):
            return self.intrinsic("llvm.fabs")
        return (self < 0).where(-self, self)

    def floor(self) -> Vec:
        return self.intrinsic("llvm.floor")

    def ceil(self) -> Vec:
        return self.intrinsic("llvm.ceil")

    def trunc(self) -> Vec:
        return self.intrinsic("llvm.trunc")

    def copysign(self, sign: Vec) -> Vec:
        # By bits: if the result becomes float16, LLVM would narrow both operands of its own copysign, and narrow the
        # float64 sign by a library function that is not linked.
        whole = f"i{BITS[self.kind]}"
        sign_bit = -1 << (BITS[self.kind] - 1)
        return ((self.bitcast(whole) & ~sign_bit) | (sign.bitcast(whole) & sign_bit)).bitcast(self.kind)

    def maximum(self, other: Any) -> Vec:
        """The larger; nan if either is nan (for floats)."""
        other = self._lift(other)
        return other._propagating((other > self).where(other, self))

    def minimum(self, other: Any) -> Vec:
        """The smaller; nan if either is nan (for floats)."""
        other = self._lift(other)
        return other._propagating((other < self).where(other, self))

    def _propagating(self, chosen: Vec) -> Vec:
        """`chosen`, or nan if this is nan. A running maximum tests the new element for nan, not the old maximum, which
        the next step waits for."""
        return self.is_nan().where(self, chosen) if is_float(self.kind) else chosen


def constant(number: float | int | bool, kind: str, lanes: int) -> ir.Constant:
    """An LLVM constant with `number` in every lane."""
    element = ir.Constant(ELEMENT[kind], float(number) if is_float(kind) else int(number))
    return element if lanes == 1 else _VectorConstant(kind, lanes, f"splat ({element})")


class _VectorConstant(ir.Constant):
    """A vector constant in LLVM's short form; llvmlite would write every lane."""

    def __init__(self, kind: str, lanes: int, text: str):
        self.type, self.constant = llvm_type(kind, lanes), text

    def _get_reference(self) -> str:
        return str(self.constant)


def splat(builder: ir.IRBuilder, scalar: Any, kind: str, lanes: int) -> Vec:
    """A scalar SSA value in every lane."""
    if lanes == 1:
        return Vec(builder, scalar, kind, 1)
    poison = _VectorConstant(kind, lanes, "poison")
    first = builder.insert_element(poison, scalar, ir.Constant(ir.IntType(32), 0))
    return Vec(builder, builder.shuffle_vector(first, poison, _lane_zero(lanes)), kind, lanes)


@cache
def _lane_zero(lanes: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)


def _mangle(t: ir.Type) -> str:
    if isinstance(t, ir.VectorType):
        return f"v{t.count}{_mangle(t.element)}"
    return {"float": "f32", "double": "f64", "half": "f16"}.get(str(t), str(t))
