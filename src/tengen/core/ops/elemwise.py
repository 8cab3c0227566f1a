"""Element-wise ops. One row per mode: the kernel instruction, the dtype of the result, the gradient.

A row's gradient gets (g, y, *x): the gradient of the result, the result, the operands; it returns one gradient per
operand, not yet summed over broadcast axes (core/gradient.py does that).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...compiler.kernels.functions import FUNCTIONS, Function
from ...compiler.program import OPERATORS, Constant, Elementwise, Type, Value
from .base import FLOATS, INTS, as_float, broadcast_shapes, integer_range, promoted

SQRT_PI = math.sqrt(math.pi)


class Row(NamedTuple):
    """Everything about one mode. What other parts of the project do with it follows from its row.

    instr: the instruction of the loop IR. function: if it is a mathematical function, its code: a name in
    `compiler.targets.vecmath`, or an emitter; see compiler/kernels/functions.py.

    `result` is the rule for dtypes:

    same: the promoted dtype, computed in it; float: floats stay, everything else becomes float32; compare: computed in
    the promoted dtype, with a bool result; logic: operands become bool; bits: bool and integers only; ints: integers
    only.

    grad: see above; `nondiff` if there is none or it is zero everywhere.
    onnx: the ONNX operator that does exactly this (for bits: without its prefix "Bitwise"), or the name of a function
    in jit/onnx/elemwise.py; "" if there is none, and then no_onnx says why.

    parts: the mode on complex numbers: it takes the (real part, imaginary part) of each operand and returns those of
    the result, or a real result. None if the mode is not defined for complex numbers.

    The rest concerns few modes. neutral: the second operand that leaves the first as it is. operand: a number that is
    the instruction's second operand. bools, floats: another instruction for these dtypes; without `bools`, "same" takes
    bool as int32. keeps_ints: integers stay as they are. undoes_itself: applying it twice does nothing. cheap:
    computing it again costs less than writing and reading it. no_effect: a Python int beyond this end ("above",
    "below") of the dtype changes nothing, so it need not fit. low: in mixed precision a function of floats may give the
    dtype of its operand instead of the high one.
    """

    instr: str
    arity: int
    result: str
    grad: Callable[..., Sequence[Value | None]]
    onnx: str = ""
    function: str | Callable[..., Any] = ""
    no_onnx: str = ""
    parts: Callable[..., tuple[Value, Value] | Value] | None = None
    neutral: int | None = None
    operand: int | None = None
    bools: str = ""
    floats: str = ""
    keeps_ints: bool = False
    undoes_itself: bool = False
    cheap: bool = False
    no_effect: str = ""
    low: bool = False


def nondiff(g: Value, y: Value, *x: Value) -> Sequence[None]:
    """The gradient of an op that has none, or whose gradient is zero everywhere."""
    return (None,) * len(x)


class Elemwise(Elementwise):
    """The element-wise op `mode`; the modes are the rows of ROWS."""

    mode: str

    @property
    def name(self) -> str:
        return self.mode.lower()

    @property
    def row(self) -> Row:
        return ROWS[self.mode]

    @property
    def precision(self) -> str:
        return "high" if self.row.result == "float" and not self.row.low else ""

    @property
    def cheap(self) -> bool:
        return self.row.cheap

    @property
    def costly(self) -> bool:
        return self.row.result == "float"

    @property
    def no_onnx(self) -> str:
        return self.row.no_onnx

    def infer(self, *types: Type) -> tuple[Type, ...]:
        row = self.row
        if len(types) != row.arity:
            raise TypeError(f"{self.name} takes {row.arity} operand{'s' * (row.arity > 1)}, got {len(types)}")
        name = self.name
        shape, dtype = broadcast_shapes(name, *[t.shape for t in types]), promoted(name, types)
        if row.result == "float":
            dtype = as_float(dtype)
        elif (row.result in ("bits", "ints") and dtype in FLOATS) or (row.result == "ints" and dtype == "bool"):
            wanted = "integers" if row.result == "ints" else "bool and integers"
            raise TypeError(f"{self.name} works on {wanted}, got {' and '.join(t.dtype for t in types)}")
        elif row.result in ("compare", "logic"):
            dtype = "bool"
        elif row.result == "same" and dtype == "bool" and not row.bools:
            dtype = "int32"
        return (Type(dtype, shape),)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        row = self.row
        work = out.dtype
        if row.result == "compare":
            work = promoted(self.name, types)
            if row.arity == 1:
                work = as_float(work)
            if work in INTS and any(self._is_wide(e, a, t) for a, t in zip(args, types, strict=True)):
                work = "int64"
        operands = [e.cast(a, work) for a in args]
        if row.keeps_ints and work in INTS:
            return int(operands[0])
        if row.operand is not None:
            operands.append(e.cast(e("const", dtype="int32", attr=row.operand), work))
        instr = (row.floats if work in FLOATS else row.bools if work == "bool" else "") or row.instr
        value = e(instr, *operands, dtype=e.compute(out.dtype))
        return int(value if row.operand is not None else e.narrow(value, out.dtype))  # max(x, 0) is no wider than x

    @staticmethod
    def _is_wide(e: Any, number: int, type: Type) -> bool:
        """Whether an operand is a Python int that may not fit int32; comparing with it is exact."""
        if type.dtype != "weak_int":
            return False
        instruction = e.code[number]
        return instruction.op != "const" or not -(2**31) <= instruction.attr < 2**31

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        limits = integer_range(out.dtype)
        if limits is None or self.row.result not in ("same", "bits", "ints"):
            return None
        wide = integer_range("int64" if out.dtype == "int64" else "int32")
        assert wide is not None
        low, high = self.row.no_effect == "below", self.row.no_effect == "above"
        return wide[0] if low else limits[0], wide[1] if high else limits[1]

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        if self.row.undoes_itself and inputs[0].op is self:
            return inputs[0].operands[0]
        if self.row.neutral is not None and isinstance(number := inputs[1].op, Constant):
            return inputs[0] if number.value == self.row.neutral else None
        return None

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return [None] * len(inputs)
        return self.row.grad(g, outputs[0], *inputs)


class TypeCvt(Elementwise):
    """Converts to `dtype`; floats go to integers by truncation, saturating."""

    dtype: str

    converts = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, types[0].shape),)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        return int(e.narrow(e.cast(args[0], out.dtype), out.dtype))

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        return integer_range(out.dtype)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        return inputs[0]  # the pass takes it only if the types are equal

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        return [grads[0]]


class Where(Elementwise):
    """Input 1 where the mask, input 0, is not zero, else input 2."""

    name = "where"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        shape = broadcast_shapes("where", *(t.shape for t in types))
        return (Type(promoted("where", types[1:]), shape),)

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        mask, yes, no = args
        return int(
            e("select", e.cast(mask, "bool"), e.cast(yes, out.dtype), e.cast(no, out.dtype), dtype=e.compute(out.dtype))
        )

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        return integer_range(out.dtype) if position else None

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (mask, _, _), (g,) = inputs, grads
        return [None, g and where(mask, g, 0.0), g and where(mask, 0.0, g)]


def cast(x: Value, dtype: str) -> Value:
    """`x` as `dtype`."""
    return x if x.dtype == dtype else TypeCvt(dtype)(x)


def meeting(op: str, *operands: Value) -> Sequence[Value]:
    """The operands of a sum of products in their common dtype; quantised ones, which may have different scales, as they
    are."""
    if any(x.dtype[0] == "q" for x in operands):
        return operands
    dtype = promoted(op, [x.type for x in operands])
    return [cast(x, dtype) for x in operands]


where = Where()

POW, LOG, SIGN, EXP = Elemwise("POW"), Elemwise("LOG"), Elemwise("SIGN"), Elemwise("EXP")
EXP_NONPOSITIVE = Elemwise("EXP_NONPOSITIVE")
SIGMOID, SIN, COS, SINH, COSH = (Elemwise(m) for m in ("SIGMOID", "SIN", "COS", "SINH", "COSH"))
SQRT, RSQRT, EQ, ISINF = Elemwise("SQRT"), Elemwise("RSQRT"), Elemwise("EQ"), Elemwise("ISINF")


def _pow_grad(g: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
    """The gradient without products 0 · inf: a ** 0 is 1 everywhere, and 0 ** b is 0 for every b > 0."""
    b = cast(b, y.dtype)  # a Python number minus 1 would be float32
    constant, zero = EQ(b, 0.0), EQ(a, 0.0)
    by_base = where(constant, 0.0, g * b * POW(a, where(constant, 1.0, b - 1.0)))
    flat = where(b < 0, False, zero)
    return by_base, where(flat, 0.0, g * y * LOG(where(flat, 1.0, a)))


def _below_one(x: Value) -> Value:
    """1 - x², with all its digits where x is near 1."""
    return (1.0 - x) * (x + 1.0)


def _atan2_grad(g: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
    """The gradient; 0 at the origin, where there is none, and infinitely far from it."""
    square = a * a + b * b
    square, far = where(EQ(square, 0.0), 1.0, square), ISINF(square)
    return where(far, 0.0, g * b / square), where(far, 0.0, -g * a / square)


def _complex_abs(x: tuple[Value, Value]) -> Value:
    """From the parts divided by the larger one, so that no square overflows. At 0 the gradient is 0. If a part is
    infinite, so is the result, whatever the other part is, and its slope there is that of the infinite part."""
    a, b = abs(x[0]), abs(x[1])
    wide, high = EQ(a, math.inf), EQ(b, math.inf)
    special = wide | high | (EQ(a, 0.0) & EQ(b, 0.0))
    p, q = where(special, 1.0, a), where(special, 1.0, b)
    larger = Elemwise("MAX")(p, q)
    p, q = p / larger, q / larger
    return where(wide, a, where(high, b, where(special, 0.0, larger * SQRT(p * p + q * q))))


def _complex_quotient(a: tuple[Value, Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
    """a / b by R. L. Smith (Algorithm 116, 1962): with the ratio of the smaller part of b to the larger one, so that
    nothing overflows early."""
    high = abs(b[0]) >= abs(b[1])
    ratio = where(high, b[1], b[0]) / where(EQ(where(high, b[0], b[1]), 0.0), 1.0, where(high, b[0], b[1]))
    scale = where(high, b[0] + b[1] * ratio, b[1] + b[0] * ratio)
    real = where(high, a[0] + a[1] * ratio, a[0] * ratio + a[1])
    imag = where(high, a[1] - a[0] * ratio, a[1] * ratio - a[0])
    return real / scale, imag / scale


ROWS: dict[str, Row] = {
    # -- arithmetic
    "ADD": Row(
        "add", 2, "same", lambda g, y, a, b: (g, g), "Add",
        parts=lambda a, b: (a[0] + b[0], a[1] + b[1]), cheap=True,
    ),
    "SUB": Row(
        "sub", 2, "same", lambda g, y, a, b: (g, -g), "Sub",
        parts=lambda a, b: (a[0] - b[0], a[1] - b[1]), neutral=0, cheap=True,
    ),
    "MUL": Row(
        "mul", 2, "same", lambda g, y, a, b: (g * b, g * a), "Mul",
        parts=lambda a, b: (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]), neutral=1, cheap=True,
    ),
    "TRUE_DIV": Row(
        "div", 2, "float", lambda g, y, a, b: (g / b, -g * y / b), "Div", parts=_complex_quotient, neutral=1
    ),
    "FLOOR_DIV": Row("floor_div", 2, "same", nondiff, "floor_div", "rounding.floor_div"),
    # as the reference: C's rule for floats, Python's for integers
    "MOD": Row("mod", 2, "same", lambda g, y, a, b: (g, -g * ((a - y) / b)), "mod", "rounding.mod", floats="fmod"),
    "POW": Row("pow", 2, "float", _pow_grad, "Pow", "power.pow"),
    "MAX": Row(
        "max", 2, "same", lambda g, y, a, b: (where(a >= b, g, 0.0), where(a >= b, 0.0, g)), "Max",
        bools="or", no_effect="below", cheap=True,
    ),
    "MIN": Row(
        "min", 2, "same", lambda g, y, a, b: (where(a <= b, g, 0.0), where(a <= b, 0.0, g)), "Min",
        bools="and", no_effect="above", cheap=True,
    ),
    "ATAN2": Row("atan2", 2, "float", _atan2_grad, "atan2", "trigonometric.atan2"),
    "NEGATE": Row("neg", 1, "same", lambda g, y, x: (-g,), "Neg", parts=lambda x: (-x[0], -x[1]), undoes_itself=True, cheap=True),
    "ABS": Row("abs", 1, "same", lambda g, y, x: (g * SIGN(x),), "Abs", parts=_complex_abs),
    "SIGN": Row("sign", 1, "same", nondiff, "Sign", "rounding.sign"),
    "SQUARE": Row("square", 1, "same", lambda g, y, x: (g * x * 2.0,), "square"),
    "SQRT": Row("sqrt", 1, "float", lambda g, y, x: (g * 0.5 / y,), "Sqrt"),
    "RSQRT": Row("rsqrt", 1, "float", lambda g, y, x: (g * -0.5 * y * y * y,), "rsqrt", "power.rsqrt", low=True),
    "FLOOR": Row("floor", 1, "same", nondiff, "Floor", keeps_ints=True),
    "CEIL": Row("ceil", 1, "same", nondiff, "Ceil", keeps_ints=True),
    "ROUND": Row("round", 1, "same", nondiff, "round", "rounding.round", keeps_ints=True),
    "RELU": Row("max", 1, "same", lambda g, y, x: (where(y > 0, g, 0.0),), "relu", operand=0, cheap=True),
    # -- exponentials
    "EXP": Row("exp", 1, "float", lambda g, y, x: (g * y,), "Exp", "exponential.exp"),
    "EXP_NONPOSITIVE": Row(
        "exp_nonpositive", 1, "float", lambda g, y, x: (g * y,), "Exp", "exponential.exp_nonpositive"
    ),
    "EXPM1": Row("expm1", 1, "float", lambda g, y, x: (g * EXP(x),), "expm1", "exponential.expm1"),
    "LOG": Row("log", 1, "float", lambda g, y, x: (g / x,), "Log", "exponential.log"),
    "LOG1P": Row("log1p", 1, "float", lambda g, y, x: (g / (x + 1.0),), "log1p", "exponential.log1p"),
    "SIGMOID": Row("sigmoid", 1, "float", lambda g, y, x: (g * y * (1.0 - y),), "Sigmoid", "exponential.sigmoid", low=True),
    "SOFTPLUS": Row("softplus", 1, "float", lambda g, y, x: (g * SIGMOID(x),), "Softplus", "exponential.softplus"),
    "ERF": Row(
        "erf", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(-x * x) * (2.0 / SQRT_PI),), "Erf", "special.erf", low=True),
    "NORMCDF": Row(
        "normcdf", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi)),),
        "normcdf", "special.normcdf", low=True,
    ),
    "ERFINV": Row(
        "erfinv", 1, "float", lambda g, y, x: (g * EXP(y * y) * (SQRT_PI / 2.0),), "erfinv", "special.erfinv",
        no_onnx="has no operator for it; in float64 no formula is exact enough", low=True,
    ),
    "ERFC": Row(
        "erfc", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(-x * x) * (-2.0 / SQRT_PI),), "erfc", "special.erfc", low=True),
    "ERFCINV": Row(
        "erfcinv", 1, "float", lambda g, y, x: (g * EXP(y * y) * (-SQRT_PI / 2.0),), "erfcinv", "special.erfcinv",
        no_onnx="has no operator for it; in float64 no formula is exact enough", low=True,
    ),
    "ERFCX": Row(
        "erfcx", 1, "float", lambda g, y, x: (g * (x * y * 2.0 - 2.0 / SQRT_PI),), function="special.erfcx",
        no_onnx="has no erfc that keeps its digits",
    ),
    # -- trigonometry
    "SIN": Row("sin", 1, "float", lambda g, y, x: (g * COS(x),), "Sin", "trigonometric.sin"),
    "COS": Row("cos", 1, "float", lambda g, y, x: (-g * SIN(x),), "Cos", "trigonometric.cos"),
    "TAN": Row("tan", 1, "float", lambda g, y, x: (g * (y * y + 1.0),), "Tan", "trigonometric.tan"),
    "ASIN": Row("asin", 1, "float", lambda g, y, x: (g / SQRT(_below_one(x)),), "Asin", "trigonometric.asin"),
    "ACOS": Row("acos", 1, "float", lambda g, y, x: (-g / SQRT(_below_one(x)),), "Acos", "trigonometric.acos"),
    "ATAN": Row("atan", 1, "float", lambda g, y, x: (g / (x * x + 1.0),), "Atan", "trigonometric.atan"),
    "SINH": Row("sinh", 1, "float", lambda g, y, x: (g * COSH(x),), "Sinh", "hyperbolic.sinh"),
    "COSH": Row("cosh", 1, "float", lambda g, y, x: (g * SINH(x),), "Cosh", "hyperbolic.cosh"),
    "TANH": Row("tanh", 1, "float", lambda g, y, x: (g * (1.0 - y * y),), "Tanh", "exponential.tanh", low=True),
    "ASINH": Row("asinh", 1, "float", lambda g, y, x: (g * RSQRT(x * x + 1.0),), "Asinh", "hyperbolic.asinh"),
    "ACOSH": Row("acosh", 1, "float", lambda g, y, x: (g * RSQRT(-_below_one(x)),), "Acosh", "hyperbolic.acosh"),
    "ATANH": Row("atanh", 1, "float", lambda g, y, x: (g / _below_one(x),), "Atanh", "hyperbolic.atanh"),
    # -- comparison, logic, bits
    "EQ": Row("eq", 2, "compare", nondiff, "Equal", parts=lambda a, b: EQ(a[0], b[0]) & EQ(a[1], b[1])),
    "NEQ": Row("ne", 2, "compare", nondiff, "not_equal", parts=lambda a, b: ~(EQ(a[0], b[0]) & EQ(a[1], b[1]))),
    "LT": Row("lt", 2, "compare", nondiff, "Less", cheap=True),
    "LEQ": Row("le", 2, "compare", nondiff, "LessOrEqual", cheap=True),
    "GT": Row("gt", 2, "compare", nondiff, "Greater", cheap=True),
    "GEQ": Row("ge", 2, "compare", nondiff, "GreaterOrEqual", cheap=True),
    "ISNAN": Row("isnan", 1, "compare", nondiff, "IsNaN"),
    "ISINF": Row("isinf", 1, "compare", nondiff, "IsInf"),
    "LOGICAL_AND": Row("and", 2, "logic", nondiff, "And"),
    "LOGICAL_OR": Row("or", 2, "logic", nondiff, "Or"),
    "LOGICAL_XOR": Row("xor", 2, "logic", nondiff, "Xor"),
    "NOT": Row("not", 1, "logic", nondiff, "Not"),
    "AND": Row("and", 2, "bits", nondiff, "And"),
    "OR": Row("or", 2, "bits", nondiff, "Or"),
    "XOR": Row("xor", 2, "bits", nondiff, "Xor"),
    "INVERT": Row("not", 1, "bits", nondiff, "Not"),
    "SHL": Row("shl", 2, "ints", nondiff, "shift_left"),
    "SHR": Row("shr", 2, "ints", nondiff, "shift_right"),
}  # fmt: skip

FUNCTIONS.update({row.instr: Function(row.arity, row.function) for row in ROWS.values() if row.function})
FUNCTIONS["fmod"] = Function(2, "rounding.fmod")  # of floats, which have no other `mod`

OPERATORS.update(
    {
        "add": Elemwise("ADD"), "sub": Elemwise("SUB"), "mul": Elemwise("MUL"), "truediv": Elemwise("TRUE_DIV"),
        "floordiv": Elemwise("FLOOR_DIV"), "mod": Elemwise("MOD"), "pow": POW, "and": Elemwise("AND"), "or": Elemwise("OR"),
        "xor": Elemwise("XOR"), "neg": Elemwise("NEGATE"), "abs": Elemwise("ABS"), "invert": Elemwise("INVERT"),
        "lt": Elemwise("LT"), "le": Elemwise("LEQ"), "gt": Elemwise("GT"), "ge": Elemwise("GEQ"),
    }
)  # fmt: skip
