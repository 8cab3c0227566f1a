"""Element-wise ops. One row per mode: the kernel instruction, the dtype of the result, the gradient.

A row's gradient gets (g, y, *x): the gradient of the result, the result, the operands; it returns one gradient per
operand, not yet summed over broadcast axes (core/gradient.py does that). Without one the mode is not differentiable or
its gradient is zero everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...compiler.program import OPERATORS, Constant, Elementwise, Type, Value
from .base import FLOATS, INTS, as_float, broadcast_shapes, integer_range, promoted

SQRT_PI = math.sqrt(math.pi)


class Row(NamedTuple):
    """One mode. `result` is the rule for dtypes:

    same: the promoted dtype, computed in it; float: floats stay, all else becomes float32; compare: computed in the
    promoted dtype, the result is bool; logic: operands become bool; bits: bool and integers only.

    neutral: the second operand that leaves the first as it is.
    """

    instr: str
    arity: int
    result: str
    grad: Callable[..., Sequence[Value | None]] | None = None
    neutral: int | None = None


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
    def cheap(self) -> bool:
        return self.row.instr in ("add", "sub", "mul", "neg", "max", "min", "relu", "lt", "le", "gt", "ge")

    @property
    def costly(self) -> bool:
        return self.row.result == "float"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        row = self.row
        if len(types) != row.arity:
            raise TypeError(f"{self.name} takes {row.arity} operand{'s' * (row.arity > 1)}, got {len(types)}")
        shape = broadcast_shapes(self.name, *(t.shape for t in types))
        dtype = promoted(self.name, types)
        if row.result == "float":
            dtype = as_float(dtype)
        elif row.result == "bits" and dtype in FLOATS:
            raise TypeError(f"{self.name} works on bool and integers, got {' and '.join(t.dtype for t in types)}")
        elif row.result in ("compare", "logic"):
            dtype = "bool"
        elif row.result == "same" and dtype == "bool" and row.instr not in ("max", "min"):
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
        if row.instr == "relu":
            return int(e("max", operands[0], e.cast(e("const", dtype="int32", attr=0), work), dtype=e.compute(work)))
        if work in FLOATS and row.instr == "mod":
            return int(
                e("fmod", *operands, dtype=e.compute(work))
            )  # as the reference: C's for floats, Python's for integers
        if work in INTS and row.instr in ("floor", "ceil", "round"):
            return int(operands[0])
        if work == "bool" and row.instr in ("max", "min"):
            return int(e("or" if row.instr == "max" else "and", *operands, dtype="bool"))
        return int(e.narrow(e(row.instr, *operands, dtype=e.compute(out.dtype)), out.dtype))

    @staticmethod
    def _is_wide(e: Any, number: int, type: Type) -> bool:
        """Whether an operand is a Python int that may not fit int32: comparing with it is exact."""
        if type.dtype != "weak_int":
            return False
        instruction = e.code[number]
        return instruction.op != "const" or not -(2**31) <= instruction.attr < 2**31

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        limits = integer_range(out.dtype)
        if limits is None or self.row.result not in ("same", "bits"):
            return None
        wide = integer_range("int64" if out.dtype == "int64" else "int32")
        assert wide is not None
        if self.mode in ("MIN", "MAX"):  # a limit that is never reached does no harm
            return (limits[0], wide[1]) if self.mode == "MIN" else (wide[0], limits[1])
        return limits

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        if self.mode == "NEGATE" and inputs[0].op is self:
            return inputs[0].operands[0]
        if self.row.neutral is not None and isinstance(number := inputs[1].op, Constant):
            return inputs[0] if number.value == self.row.neutral else None
        return None

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        (g,) = grads
        if self.row.grad is None or g is None:
            return [None] * len(inputs)
        return self.row.grad(g, outputs[0], *inputs)


class TypeCvt(Elementwise):
    """Converts to `dtype`; floats go to integers by truncation, saturating."""

    dtype: str

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


where = Where()

POW, LOG, SIGN, EXP = Elemwise("POW"), Elemwise("LOG"), Elemwise("SIGN"), Elemwise("EXP")
EXP_NONPOSITIVE = Elemwise("EXP_NONPOSITIVE")
SIGMOID, SIN, COS, SINH, COSH = (Elemwise(m) for m in ("SIGMOID", "SIN", "COS", "SINH", "COSH"))
SQRT, RSQRT, EQ = Elemwise("SQRT"), Elemwise("RSQRT"), Elemwise("EQ")


def _pow_grad(g: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
    """Without the products 0 · inf: a ** 0 is 1 everywhere, 0 ** b is 0 for every b > 0."""
    b = cast(b, y.dtype)  # a Python number minus 1 would be float32
    constant, zero = EQ(b, 0.0), EQ(a, 0.0)
    by_base = where(constant, 0.0, g * b * POW(a, where(constant, 1.0, b - 1.0)))
    flat = where(b < 0, False, zero)
    return by_base, where(flat, 0.0, g * y * LOG(where(flat, 1.0, a)))


def _atan2_grad(g: Value, y: Value, a: Value, b: Value) -> Sequence[Value | None]:
    """0 in the origin, where there is none."""
    square = a * a + b * b
    square = where(EQ(square, 0.0), 1.0, square)
    return g * b / square, -g * a / square


ROWS: dict[str, Row] = {
    # -- arithmetic
    "ADD": Row("add", 2, "same", lambda g, y, a, b: (g, g)),
    "SUB": Row("sub", 2, "same", lambda g, y, a, b: (g, -g), neutral=0),
    "MUL": Row("mul", 2, "same", lambda g, y, a, b: (g * b, g * a), neutral=1),
    "TRUE_DIV": Row("div", 2, "float", lambda g, y, a, b: (g / b, -g * y / b), neutral=1),
    "FLOOR_DIV": Row("floor_div", 2, "same"),
    "MOD": Row("mod", 2, "same", lambda g, y, a, b: (g, -g * ((a - y) / b))),
    "POW": Row("pow", 2, "float", _pow_grad),
    "MAX": Row("max", 2, "same", lambda g, y, a, b: (where(a >= b, g, 0.0), where(a >= b, 0.0, g))),
    "MIN": Row("min", 2, "same", lambda g, y, a, b: (where(a <= b, g, 0.0), where(a <= b, 0.0, g))),
    "ATAN2": Row("atan2", 2, "float", _atan2_grad),
    "NEGATE": Row("neg", 1, "same", lambda g, y, x: (-g,)),
    "ABS": Row("abs", 1, "same", lambda g, y, x: (g * SIGN(x),)),
    "SIGN": Row("sign", 1, "same"),
    "SQUARE": Row("square", 1, "same", lambda g, y, x: (g * x * 2.0,)),
    "SQRT": Row("sqrt", 1, "float", lambda g, y, x: (g * 0.5 / y,)),
    "RSQRT": Row("rsqrt", 1, "float", lambda g, y, x: (g * -0.5 * y * y * y,)),
    "FLOOR": Row("floor", 1, "same"),
    "CEIL": Row("ceil", 1, "same"),
    "ROUND": Row("round", 1, "same"),
    "RELU": Row("relu", 1, "same", lambda g, y, x: (where(y > 0, g, 0.0),)),
    # -- exponentials
    "EXP": Row("exp", 1, "float", lambda g, y, x: (g * y,)),
    "EXP_NONPOSITIVE": Row("exp_nonpositive", 1, "float", lambda g, y, x: (g * y,)),
    "EXPM1": Row("expm1", 1, "float", lambda g, y, x: (g * (y + 1.0),)),
    "LOG": Row("log", 1, "float", lambda g, y, x: (g / x,)),
    "LOG1P": Row("log1p", 1, "float", lambda g, y, x: (g / (x + 1.0),)),
    "SIGMOID": Row("sigmoid", 1, "float", lambda g, y, x: (g * y * (1.0 - y),)),
    "SOFTPLUS": Row("softplus", 1, "float", lambda g, y, x: (g * SIGMOID(x),)),
    "ERF": Row("erf", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(-x * x) * (2.0 / SQRT_PI),)),
    "NORMCDF": Row(
        "normcdf", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi)),)
    ),
    "ERFINV": Row("erfinv", 1, "float", lambda g, y, x: (g * EXP(y * y) * (SQRT_PI / 2.0),)),
    "ERFC": Row("erfc", 1, "float", lambda g, y, x: (g * EXP_NONPOSITIVE(-x * x) * (-2.0 / SQRT_PI),)),
    "ERFCINV": Row("erfcinv", 1, "float", lambda g, y, x: (g * EXP(y * y) * (-SQRT_PI / 2.0),)),
    # -- trigonometry
    "SIN": Row("sin", 1, "float", lambda g, y, x: (g * COS(x),)),
    "COS": Row("cos", 1, "float", lambda g, y, x: (-g * SIN(x),)),
    "TAN": Row("tan", 1, "float", lambda g, y, x: (g * (y * y + 1.0),)),
    "ASIN": Row("asin", 1, "float", lambda g, y, x: (g / SQRT(1.0 - x * x),)),
    "ACOS": Row("acos", 1, "float", lambda g, y, x: (-g / SQRT(1.0 - x * x),)),
    "ATAN": Row("atan", 1, "float", lambda g, y, x: (g / (x * x + 1.0),)),
    "SINH": Row("sinh", 1, "float", lambda g, y, x: (g * COSH(x),)),
    "COSH": Row("cosh", 1, "float", lambda g, y, x: (g * SINH(x),)),
    "TANH": Row("tanh", 1, "float", lambda g, y, x: (g * (1.0 - y * y),)),
    "ASINH": Row("asinh", 1, "float", lambda g, y, x: (g * RSQRT(x * x + 1.0),)),
    "ACOSH": Row("acosh", 1, "float", lambda g, y, x: (g * RSQRT(x * x - 1.0),)),
    "ATANH": Row("atanh", 1, "float", lambda g, y, x: (g / (1.0 - x * x),)),
    # -- comparison, logic, bits
    "EQ": Row("eq", 2, "compare"),
    "NEQ": Row("ne", 2, "compare"),
    "LT": Row("lt", 2, "compare"),
    "LEQ": Row("le", 2, "compare"),
    "GT": Row("gt", 2, "compare"),
    "GEQ": Row("ge", 2, "compare"),
    "ISNAN": Row("isnan", 1, "compare"),
    "ISINF": Row("isinf", 1, "compare"),
    "LOGICAL_AND": Row("and", 2, "logic"),
    "LOGICAL_OR": Row("or", 2, "logic"),
    "LOGICAL_XOR": Row("xor", 2, "logic"),
    "NOT": Row("not", 1, "logic"),
    "AND": Row("and", 2, "bits"),
    "OR": Row("or", 2, "bits"),
    "XOR": Row("xor", 2, "bits"),
    "INVERT": Row("not", 1, "bits"),
    "SHL": Row("shl", 2, "bits"),
    "SHR": Row("shr", 2, "bits"),
}

OPERATORS.update(
    {
        "add": Elemwise("ADD"), "sub": Elemwise("SUB"), "mul": Elemwise("MUL"), "truediv": Elemwise("TRUE_DIV"),
        "floordiv": Elemwise("FLOOR_DIV"), "mod": Elemwise("MOD"), "pow": POW, "and": Elemwise("AND"), "or": Elemwise("OR"),
        "xor": Elemwise("XOR"), "neg": Elemwise("NEGATE"), "abs": Elemwise("ABS"), "invert": Elemwise("INVERT"),
        "lt": Elemwise("LT"), "le": Elemwise("LEQ"), "gt": Elemwise("GT"), "ge": Elemwise("GEQ"),
    }
)  # fmt: skip
