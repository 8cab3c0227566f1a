"""Element-wise ops. ONNX leaves out what these formulae add: division that rounds down, shifts of signed integers, and the like."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...base.dtype import is_float
from ...core.ops.base import INTS, as_float, promoted
from ...core.ops.elemwise import Elemwise, TypeCvt, Where
from ...core.ops.precision import Narrowed
from ...core.ops.shape import Copy, Fill
from .graph import Graph, Operand
from .rules import rule

LARGEST = {"int32": 2**31 - 1, "int64": 2**63 - 1}
BOOLS = {"or": "Or", "and": "And"}

#: What rows of the op table may name as their `onnx`, besides operators: functions of the operands in their common
#: dtype. They return None where they do not apply.
FORMULAE: dict[str, Callable[..., Operand | None]] = {}


def formula(function: Callable[..., Operand | None]) -> Callable[..., Operand | None]:
    """Enter a function in FORMULAE under its name."""
    FORMULAE[function.__name__.strip("_")] = function
    return function


@rule(Elemwise)
def elemwise(g: Graph, op: Elemwise, *xs: Operand) -> Operand | None:
    row = op.row
    dtype = promoted(op.name, [x.type for x in xs])
    booleans = row.result == "logic" or (row.result in ("same", "bits") and dtype == "bool")
    if booleans and (row.result != "same" or row.bools):
        return g.node(BOOLS[row.bools] if row.bools else row.onnx, *(g.cast(x, "bool") for x in xs))
    if row.result == "float" or (row.result == "compare" and row.arity == 1):
        dtype = as_float(dtype)
    if row.keeps_ints and not is_float(dtype):
        return xs[0]
    operands = [g.working(x, dtype) for x in xs]
    if row.onnx in FORMULAE:
        return FORMULAE[row.onnx](*operands)
    if not row.onnx:
        return None
    if row.result == "compare":
        return g.node(row.onnx, *operands, dtype="bool")
    return g.node(f"Bitwise{row.onnx}" if row.result == "bits" else row.onnx, *operands)


@formula
def _not_equal(a: Operand, b: Operand) -> Operand:
    return ~a.graph.node("Equal", a, b, dtype="bool")


# -- bits ------------------------------------------------------------------------------------------------------


@formula
def _shift_left(x: Operand, amount: Operand) -> Operand:
    g, unsigned = x.graph, _unsigned(x)
    return g.cast(g.node("BitShift", g.cast(x, unsigned), _places(amount, unsigned), direction="LEFT"), x.dtype)


@formula
def _shift_right(x: Operand, amount: Operand) -> Operand:
    """Ones are shifted in from the left of a negative number: they are the zeros shifted into its complement."""
    g, unsigned = x.graph, _unsigned(x)
    amount = _places(amount, unsigned)
    negative = x < 0
    positive = g.where(negative, g.node("BitwiseNot", x), x)
    shifted = g.cast(g.node("BitShift", g.cast(positive, unsigned), amount, direction="RIGHT"), x.dtype)
    return g.where(negative, g.node("BitwiseNot", shifted), shifted)


def _unsigned(x: Operand) -> str:
    return "uint64" if x.dtype == "int64" else "uint32"


def _places(amount: Operand, unsigned: str) -> Operand:
    """Shift by as many places as the low bits of the amount say."""
    g = amount.graph
    mask = g.constant(int(unsigned.removeprefix("uint")) - 1, amount.dtype)
    return g.cast(g.node("BitwiseAnd", amount, mask), unsigned)


# -- arithmetic ------------------------------------------------------------------------------------------------


@formula
def _floor_div(a: Operand, b: Operand) -> Operand:
    return _float_floor_div(a, b) if is_float(a.dtype) else _int_floor_div(a, b)


def _int_floor_div(a: Operand, b: Operand) -> Operand:
    """ONNX's Div truncates. Division by 0, or of the smallest number by -1, ends the process of ONNX Runtime."""
    g = a.graph
    divisor = b if _harmless(b) else g.where(b.equals(0) | b.equals(-1), 1, b)
    quotient = a / divisor
    remainder = a - quotient * divisor
    below = ~remainder.equals(0) & ((remainder < 0) ^ (divisor < 0))
    floor = quotient - g.cast(below, a.dtype)
    return floor if divisor is b else g.where(b.equals(0), 0, g.where(b.equals(-1), -a, floor))


def _harmless(b: Operand) -> bool:
    return b.known is not None and not np.isin(b.known, (0, -1)).any()


@formula
def _mod(a: Operand, b: Operand) -> Operand:
    """By C's rule for floats, by Python's for integers; 0 for an integer divisor of 0."""
    g = a.graph
    if is_float(a.dtype):
        return g.node("Mod", a, b, fmod=1)
    if _harmless(b):
        return g.node("Mod", a, b)
    return g.node("Mod", a, g.where(b.equals(0) | b.equals(-1), 1, b))


def _float_floor_div(a: Operand, b: Operand) -> Operand:
    """The floor of the true quotient, for which the remainder is more exact than the rounded quotient; a / b for b ==
    0."""
    g = a.graph
    remainder = g.node("Mod", a, b, fmod=1)
    below = ~remainder.equals(0) & ((remainder < 0) ^ (b < 0))
    near = (a - remainder) / b - g.cast(below, a.dtype)
    floor = g.node("Floor", near)
    floor = g.where((near - floor) > 0.5, floor + 1, floor)
    return g.where(b.equals(0), a / b, floor)


@formula
def _round(x: Operand) -> Operand:
    """Halves away from zero; ONNX's Round takes them to even."""
    if not is_float(x.dtype):
        return x
    g, size = x.graph, abs(x)
    whole = g.node("Floor", size)
    up = g.where((size - whole) >= 0.5, whole + 1, whole)
    return g.where(x < 0, -up, up)


@formula
def _expm1(x: Operand) -> Operand:
    """e^x - 1 = tanh(x / 2) (e^x + 1), which loses no digits near 0."""
    g = x.graph
    return g.node("Tanh", x * 0.5) * (g.node("Exp", x) + 1)


@formula
def _log1p(x: Operand) -> Operand:
    """log(u) x / (u - 1) with u = 1 + x as rounded (Kahan); see Goldberg 1991, theorem 4."""
    g = x.graph
    u = x + 1
    log = g.node("Log", u)
    exact = u.equals(1) | g.node("IsInf", u, dtype="bool")
    return g.where(u.equals(1), x, g.where(exact, log, log * x / (u - 1)))


@formula
def _atan2(y: Operand, x: Operand) -> Operand:
    """From the angle within an octant. The sign of a zero tells which side it is on."""
    g = y.graph
    across, up = abs(x), abs(y)
    low, high = g.node("Min", across, up), g.node("Max", across, up)
    ratio = g.where(low.equals(high), g.where(high.equals(0), 0, low * 0 + 1), low / high)
    ratio = g.where(low.equals(high) & g.node("IsInf", high, dtype="bool"), 1, ratio)
    angle = g.node("Atan", ratio)
    angle = g.where(up > across, math.pi / 2 - angle, angle)
    angle = g.where(_minus(x), math.pi - angle, angle)
    return g.where(_minus(y), -angle, angle)


def _minus(x: Operand) -> Operand:
    """Whether x is negative or -0.0."""
    g = x.graph
    return g.where(x.equals(0), g.node("Reciprocal", x), x) < 0


@formula
def _normcdf(x: Operand) -> Operand:
    return (x.graph.node("Erf", x * math.sqrt(0.5)) + 1) * 0.5


# Giles 2010, "Approximating the erfinv function", table 5: highest power first
_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


@formula
def _erfinv(x: Operand) -> Operand | None:
    """Giles' polynomials of w = -log(1 - x²); ±inf at ±1."""
    g = x.graph
    if x.dtype == "float64":
        return None  # the polynomials are for float32
    w = -g.node("Log", (1 - x) * (x + 1))
    central, tail = w - 2.5, g.node("Sqrt", w) - 3
    value = g.where(w < 5, _polynomial(_CENTRAL, central), _polynomial(_TAIL, tail)) * x
    return g.where(abs(x).equals(1), x * math.inf, value)


@formula
def _erfc(x: Operand) -> Operand:
    """1 - erf(x), which ends at 6e-8; ONNX has nothing for smaller values."""
    return 1 - x.graph.node("Erf", x)


@formula
def _erfcinv(x: Operand) -> Operand | None:
    """As _erfinv of 1 - x, with w computed from x itself, which has more digits near 0."""
    g = x.graph
    if x.dtype == "float64":
        return None  # the polynomials are for float32
    w = -g.node("Log", x * (2 - x))
    value = g.where(w < 5, _polynomial(_CENTRAL, w - 2.5), _polynomial(_TAIL, g.node("Sqrt", w) - 3)) * (1 - x)
    return g.where(x.equals(0), math.inf, g.where(x.equals(2), -math.inf, value))


def _polynomial(coefficients: tuple[float, ...], x: Operand) -> Operand:
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


@formula
def _relu(x: Operand) -> Operand:
    g = x.graph
    return g.node("Relu", x) if is_float(x.dtype) else g.node("Max", x, g.constant(0, x.dtype))


@formula
def _square(x: Operand) -> Operand:
    return x * x


@formula
def _rsqrt(x: Operand) -> Operand:
    return x.graph.node("Reciprocal", x.graph.node("Sqrt", x))


# -- conversions and choices -----------------------------------------------------------------------------------


@rule(TypeCvt)
def convert(g: Graph, op: TypeCvt, x: Operand) -> Operand:
    return _converted(g, x, op.dtype)


@rule(Narrowed)
def narrowed(g: Graph, op: Narrowed, x: Operand) -> Operand:
    return x  # as every value between two nodes is


def _converted(g: Graph, x: Operand, dtype: str) -> Operand:
    if not (is_float(x.dtype) and dtype in INTS):
        return g.cast(x, dtype)
    # Numbers that are too large become the largest one, and nan becomes 0; then narrow integers wrap.
    wide = "int64" if dtype == "int64" else "int32"
    value = g.working(x, x.dtype)
    value = g.cast(g.where(g.node("IsNaN", value, dtype="bool"), 0, value), "float64")
    top = float(LARGEST[wide] + 1)
    fits = (value < top) & (value >= -top)
    whole = g.cast(g.where(fits, value, 0), wide)
    ends = g.where(value < 0, g.constant(-LARGEST[wide] - 1, wide), g.constant(LARGEST[wide], wide))
    return g.where(fits, whole, ends)


@rule(Where)
def where(g: Graph, op: Where, mask: Operand, yes: Operand, no: Operand) -> Operand:
    dtype = promoted("where", [yes.type, no.type])
    return g.where(g.cast(mask, "bool"), g.working(yes, dtype), g.working(no, dtype))


@rule(Copy)
def copy(g: Graph, op: Copy, x: Operand) -> Operand:
    return g.node("Identity", x)


@rule(Fill)
def fill(g: Graph, op: Fill, number: Operand) -> Operand:
    known = g.compute(TypeCvt(op.dtype), [number])
    return g.node("Expand", known[0] if known else _converted(g, number, op.dtype), g.integers(op.shape))
