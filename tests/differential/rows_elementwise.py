"""Element-wise operations: one row for every mode of the op table; the meaning of each in NumPy stands here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from math import erf, erfc, pi, sqrt
from typing import Any

import numpy as np
from elementwise_rows import BY_MODE
from elementwise_rows import ROWS as FORMULAE

import tengen.functional as F
from tengen.core.ops import elemwise, formula, loss

from .dtypes import DTYPES, FLOATS, INTS
from .pull import VAGUE
from .row import Draw, Row
from .rules import loss as loss_rule

Meaning = Callable[..., Any]
ERF, ERFC = np.vectorize(erf, otypes=[float]), np.vectorize(erfc, otypes=[float])

LIMITS = {t: (float(np.iinfo(t).min), float(np.iinfo(t).max)) for t in INTS}


def sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))  # of 1 + tanh(x / 2) few digits are left where x is far below 0
    return np.where(x < 0, small, 1.0) / (1 + small)


def softplus(x: Any) -> Any:
    return np.logaddexp(x, 0)


def floor_div(a: Any, b: Any) -> Any:
    if "f" in (a.dtype.kind, b.dtype.kind):
        return np.floor_divide(a, b)  # nan for inf // 2, as Python has it; the floor of the quotient would be inf
    return np.where(b == 0, 0, a // np.where(b == 0, 1, b))


def mod(a: Any, b: Any) -> Any:
    """C's remainder of floats, Python's of integers; tengen gives 0 for an integer modulo 0."""
    if "f" in (a.dtype.kind, b.dtype.kind):
        return np.fmod(a, b)
    return np.where(b == 0, 0, a % np.where(b == 0, 1, b))


def away(x: Any) -> Any:
    """Rounded, halves away from zero."""
    return np.copysign(np.floor(np.abs(x) + 0.5), x) if x.dtype.kind == "f" else x


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def fitting(x: Any, dtype: str) -> Any:
    """The nearest numbers that an integer dtype has."""
    return np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max)


def clipped(x: Any, low: float, high: float) -> Any:
    return np.maximum(np.minimum(x, high), low)


#: mode → (meaning, how exact it is). Modes that are not here are compared between the ways to run a program only.
MEANINGS: dict[str, tuple[Meaning, str]] = {
    "ADD": (np.add, "rounded"), "SUB": (np.subtract, "rounded"), "MUL": (np.multiply, "rounded"), "TRUE_DIV": (np.true_divide, "rounded"),
    "FLOOR_DIV": (floor_div, "function"), "MOD": (mod, "rounded"), "POW": (lambda a, b: np.power(a * 1.0, b * 1.0), "function"),
    "MAX": (np.maximum, "exact"), "MIN": (np.minimum, "exact"), "ATAN2": (np.arctan2, "function"), "NEGATE": (np.negative, "exact"),
    "ABS": (np.abs, "exact"), "SIGN": (np.sign, "exact"), "SQUARE": (np.square, "rounded"), "SQRT": (np.sqrt, "rounded"),
    "RSQRT": (lambda x: 1 / np.sqrt(x), "function"), "FLOOR": (np.floor, "exact"), "CEIL": (np.ceil, "exact"), "ROUND": (away, "exact"),
    "RELU": (relu, "exact"), "EXP": (np.exp, "function"), "EXPM1": (np.expm1, "function"), "LOG": (np.log, "function"),
    "LOG1P": (np.log1p, "function"), "SIGMOID": (sigmoid, "function"), "SOFTPLUS": (softplus, "function"), "ERF": (ERF, "function"),
    "NORMCDF": (lambda x: 0.5 * ERFC(-x / sqrt(2)), "function"), "SIN": (np.sin, "function"), "COS": (np.cos, "function"),
    "TAN": (np.tan, "function"), "ASIN": (np.arcsin, "function"), "ACOS": (np.arccos, "function"), "ATAN": (np.arctan, "function"),
    "SINH": (np.sinh, "function"), "COSH": (np.cosh, "function"), "TANH": (np.tanh, "function"), "ASINH": (np.arcsinh, "function"),
    "ACOSH": (np.arccosh, "function"), "ATANH": (np.arctanh, "function"), "EQ": (np.equal, "exact"), "NEQ": (np.not_equal, "exact"),
    "LT": (np.less, "exact"), "LEQ": (np.less_equal, "exact"), "GT": (np.greater, "exact"), "GEQ": (np.greater_equal, "exact"),
    "ISNAN": (np.isnan, "exact"), "ISINF": (np.isinf, "exact"), "LOGICAL_AND": (np.logical_and, "exact"),
    "LOGICAL_OR": (np.logical_or, "exact"), "LOGICAL_XOR": (np.logical_xor, "exact"), "NOT": (np.logical_not, "exact"),
    "AND": (np.bitwise_and, "exact"), "OR": (np.bitwise_or, "exact"), "XOR": (np.bitwise_xor, "exact"), "INVERT": (np.invert, "exact"),
}  # fmt: skip

# What is not here and is in the table of all tests has its meaning from there.
MEANINGS |= {
    mode: (row.truth, "function") for mode, row in BY_MODE.items() if mode not in MEANINGS and not row.undefined
}

#: Functions that add up numbers of about this size, as PyTorch's do.
LEVELS = {"NORMCDF": 1.0, "gelu": 4.0, "logaddexp": 1.0}
#: Functions whose slope is taken from their own result, in PyTorch and MegEngine as in tengen: 1 - y² and y (1 - y), of which little is
#: left near y = 1. A rounding of y and one of the product are a rounding of 1 each.
SLOPE_LEVELS = {"TANH": 1.0, "SIGMOID": 1.0}
#: mode → its public name, where that is not the mode in small letters; what has none is called by its op.
NAMES = {
    "NEGATE": "F.neg", "TRUE_DIV": "F.div", "MAX": "F.maximum", "MIN": "F.minimum", "EQ": "F.equal", "NEQ": "F.not_equal", "LT": "F.less",
    "LEQ": "F.less_equal", "GT": "F.greater", "GEQ": "F.greater_equal", "NOT": "F.logical_not",
    "SHL": "F.left_shift", "SHR": "F.right_shift",
}  # fmt: skip
OPERATORS = {
    "ADD": "+",
    "SUB": "-",
    "MUL": "*",
    "TRUE_DIV": "/",
    "FLOOR_DIV": "//",
    "MOD": "%",
    "POW": "**",
    "LT": "<",
    "GEQ": ">=",
    "EQ": "==",
}
INTEGER_NUMBERS = ("ADD", "SUB", "MUL", "FLOOR_DIV", "MOD", "MAX", "MIN", "LT", "LEQ", "GT", "GEQ", "EQ", "NEQ")

#: Derivatives where a function has a corner, as users expect them: those of PyTorch.
SLOPES: dict[str, Callable[..., Any]] = {
    "RELU": lambda x: [x > 0],
    "ABS": lambda x: [np.sign(x)],
    "SIGN": lambda x: [np.zeros(x.shape)],
    "FLOOR": lambda x: [np.zeros(x.shape)],
    "CEIL": lambda x: [np.zeros(x.shape)],
    "ROUND": lambda x: [np.zeros(x.shape)],
    "FLOOR_DIV": lambda a, b: [np.zeros(a.shape), np.zeros(b.shape)],
    "ADD": lambda a, b: [1.0, 1.0],
    "SUB": lambda a, b: [1.0, -1.0],
    "MUL": lambda a, b: [b, a],
    "TRUE_DIV": lambda a, b: [1 / b, -a / b**2],
    "NEGATE": lambda x: [-1.0],
    "SQUARE": lambda x: [2 * x],
    "EXP": lambda x: [np.exp(x)],
    "POW": lambda a, b: [
        np.where(b == 0, 0.0, b * np.power(a * 1.0, b - 1.0)),
        np.where((a == 0) & (b >= 0), 0.0, np.power(a * 1.0, b) * np.log(a * 1.0)),
    ],
    "relu6": lambda x: [(x > 0) & (x < 6)],
    "hsigmoid": lambda x: [((x > -3) & (x < 3)) / 6],
}

#: Derivatives of smooth functions: where a function is nearly flat, of its difference only the roundings are left.
SMOOTH: dict[str, Callable[..., Any]] = {
    "SQRT": lambda x: 0.5 / np.sqrt(x),
    "RSQRT": lambda x: -0.5 / (x * np.sqrt(x)),
    "EXPM1": np.exp,
    "LOG": lambda x: 1 / x,
    "LOG1P": lambda x: 1 / (1 + x),
    "SIGMOID": lambda x: sigmoid(x) * sigmoid(-x),
    "SOFTPLUS": sigmoid,
    "ERF": lambda x: 2 / sqrt(pi) * np.exp(-x * x),
    "ERFC": lambda x: -2 / sqrt(pi) * np.exp(-x * x),
    "NORMCDF": lambda x: np.exp(-x * x / 2) / sqrt(2 * pi),
    "SIN": np.cos,
    "COS": lambda x: -np.sin(x),
    "TAN": lambda x: 1 / np.cos(x) ** 2,
    "ASIN": lambda x: 1 / np.sqrt(1 - x * x),
    "ACOS": lambda x: -1 / np.sqrt(1 - x * x),
    "ATAN": lambda x: 1 / (1 + x * x),
    "SINH": np.cosh,
    "COSH": np.sinh,
    "TANH": lambda x: 1 / np.cosh(x) ** 2,
    "ASINH": lambda x: 1 / np.sqrt(1 + x * x),
    "ACOSH": lambda x: 1 / np.sqrt(x * x - 1),
    "ATANH": lambda x: 1 / (1 - x * x),
    "logsigmoid": lambda x: sigmoid(-x),
}


def _smooth(meaning: Meaning, slope: Callable[..., Any]) -> Callable[..., Any]:
    """The slope, where it and the function are finite."""

    def slopes(x: Any) -> Any:
        made = slope(x)
        return [np.where(np.isfinite(meaning(x)) & np.isfinite(made), made, VAGUE)]

    return slopes


SLOPES |= {mode: _smooth(MEANINGS[mode][0], slope) for mode, slope in SMOOTH.items() if mode in MEANINGS}
SLOPES["logsigmoid"] = _smooth(lambda x: -softplus(-x), SMOOTH["logsigmoid"])


def dtype_rule(row: elemwise.Row) -> str:
    if row.bools:
        return "promoted"
    return {"same": "counted", "float": "float", "bits": "promoted", "ints": "promoted"}.get(row.result, "bool")


def _operands(mode: str, row: elemwise.Row) -> Callable[[Draw], Any]:
    allowed = INTS if row.result in ("bits", "ints") else (*FLOATS, *INTS)
    if row.result == "logic" or row.bools:
        allowed = DTYPES

    def draw(d: Draw) -> Any:
        first = d.tensor(allowed)
        return ([first, d.partner(first, allowed)] if row.arity == 2 else [first]), {}

    return draw


def _meaning(mode: str) -> Meaning | None:
    if mode not in MEANINGS:
        return None
    function = MEANINGS[mode][0]
    comparing = mode in ("ISNAN", "ISINF")
    return lambda p, *x: function(*(v * 1.0 for v in x) if comparing else x)


def slots(count: int) -> str:
    """{0}, {1}, … for so many operands."""
    return ", ".join(f"{{{i}}}" for i in range(count))


def _call(mode: str, arity: int) -> str:
    name = NAMES.get(mode) or (f"F.{mode.lower()}" if hasattr(F, mode.lower()) else f'M.Elemwise("{mode}")')
    return f"{name}({slots(arity)})"


def _rows() -> list[Row]:
    found = []
    for mode, row in elemwise.ROWS.items():
        exact = MEANINGS.get(mode, (None, "function"))[1]
        slopes = SLOPES.get(mode)
        call = _call(mode, row.arity)
        if "Elemwise" in call:
            call = f"apply(Elemwise({mode!r}), {slots(row.arity)})"
        options = {
            "truth": _meaning(mode),
            "dtype": dtype_rule(row),
            "exact": exact,
            "slopes": slopes,
            "elementwise": True,
            "level": LEVELS.get(mode, 0.0),
            "slope_level": SLOPE_LEVELS.get(mode, 0.0),
        }
        found.append(Row(f"elementwise {mode}", call, _operands(mode, row), **options))
        if mode in OPERATORS:
            code = f"{{0}} {OPERATORS[mode]} {{number}}"
            found.append(_with_number(mode, code, row, exact))
        elif mode in ("MAX", "MIN"):
            found.append(_with_number(mode, f"{NAMES[mode]}({{0}}, {{number}})", row, exact))
    return found


def _with_number(mode: str, code: str, row: elemwise.Row, exact: str) -> Row:
    """The row with a Python number as its second operand."""
    rule = {"same": "number", "float": "number float"}.get(row.result, "bool")
    function, slopes = MEANINGS[mode][0], SLOPES.get(mode)

    def draw(d: Draw) -> Any:
        x = d.tensor((*FLOATS, *INTS))
        number = d.number(d.dtype_of(x), zero=mode == "POW")
        if mode in ("FLOOR_DIV", "MOD") and number == 0:
            number = 2
        return [x], {"number": number, "of": d.dtype_of(x)}

    def truth(p: dict[str, Any], x: Any) -> Any:
        number = p["number"]
        if mode in ("MAX", "MIN") and p["of"] in INTS and isinstance(number, int):
            return fitting(function(x, number), p["of"])
        wide = x * 1.0 if isinstance(number, float) else x
        return function(wide, np.asarray(number, wide.dtype if not isinstance(number, float) else "float64"))

    def slope(x: Any, number: Any) -> Any:
        assert slopes is not None
        return slopes(x, number)[:1]

    return Row(
        f"elementwise {mode} number",
        code,
        draw,
        truth,
        rule,
        exact,
        slopes=slope if slopes else None,
        elementwise=True,
        weight=0.6,
    )


#: name → (code, meaning, exactness, numbers that are drawn): activations, and element-wise functions that are formulae
FUNCTIONS: dict[str, tuple[str, Meaning, str, dict[str, list[Any]]]] = {
    "gelu": ("F.gelu({0})", lambda p, x: x * 0.5 * ERFC(-x / sqrt(2)), "function", {}),
    "silu": ("F.silu({0})", lambda p, x: x * sigmoid(x), "function", {}),
    "relu6": ("F.relu6({0})", lambda p, x: clipped(x, 0, 6), "exact", {}),
    "hsigmoid": ("F.hsigmoid({0})", lambda p, x: clipped(x + 3, 0, 6) / 6, "rounded", {}),
    "hswish": ("F.hswish({0})", lambda p, x: x * clipped(x + 3, 0, 6) / 6, "function", {}),
    "leaky_relu": ("F.leaky_relu({0}, {number})", lambda p, x: np.where(x > 0, x, x * p["number"]), "function", {"number": [0.5, 0.25, 0.01]}),
    "logsigmoid": ("F.logsigmoid({0})", lambda p, x: -softplus(-x), "function", {}),
    "clip": (
        "F.clip({0}, {low}, {high})", lambda p, x: clipped(x, p["low"], p["high"]), "exact", {"low": [-1.0, 0.0], "high": [1.0, 6.0]},
    ),
}  # fmt: skip


def _function(name: str) -> Row:
    code, meaning, exact, numbers = FUNCTIONS[name]

    def draw(d: Draw) -> Any:
        return [d.floating()], {k: d.choice(v) for k, v in numbers.items()}

    slopes = SLOPES.get(name)
    return Row(
        f"elementwise {name}",
        code,
        draw,
        meaning,
        "same",
        exact,
        slopes=slopes,
        elementwise=True,
        level=LEVELS.get(name, 0.0),
    )


def _two(name: str, code: str, meaning: Meaning, exact: str) -> Row:
    def draw(d: Draw) -> Any:
        x = d.floating()
        return [x, d.partner(x, FLOATS)], {}

    return Row(
        f"elementwise {name}",
        code,
        draw,
        lambda p, *x: meaning(*x),
        "promoted",
        exact,
        slopes=SLOPES.get(name),
        elementwise=True,
        level=LEVELS.get(name, 0.0),
    )


def _unknown_activations() -> list[Row]:
    """Modes of the table that nothing is said about here: with the meaning that the table of all tests has, or without a truth."""
    known = {*FUNCTIONS, "prelu", "logaddexp"}
    meanings = {row.name: row.truth for row in FORMULAE if row.arity == 1}
    found = []
    for mode, formula_of in formula.ACTIVATIONS.items():
        count = len(signature(formula_of).parameters)
        if mode not in known and mode in meanings:
            found.append(_formula(mode, meanings[mode]))
        elif mode not in known:
            code = f"apply(Activation({mode!r}), {slots(count)})"
            found.append(Row(f"elementwise {mode}", code, partial(_alike, count=count), weight=0.2))
    return found


def _formula(mode: str, meaning: Meaning) -> Row:
    """A function of one tensor that is a formula, and has a name in F."""
    return Row(
        f"elementwise {mode}",
        f"F.{mode}({{0}})",
        lambda d: ([d.floating()], {}),
        lambda p, x: meaning(x),
        "same",
        "formula",
        elementwise=True,
        level=LEVELS.get(mode, 0.0),
    )


def _alike(d: Draw, count: int) -> Any:
    """So many floats of one shape and dtype."""
    x = d.floating()
    return [x, *(d.like(d.shape_of(x), (d.dtype_of(x),)) for _ in range(count - 1))], {}


def _where(d: Draw) -> Any:
    x = d.tensor(DTYPES)
    shape = d.shape_of(x)
    return [d.like(shape, ("bool",)), x, d.partner(x, (d.dtype_of(x),))], {}


def _hinge(slope: Callable[[Any], Any]) -> Callable[..., Any]:
    """The gradient of a hinge loss from the slope of a term by 1 - x · y. The squared one has no corner, but its slope has, where a
    difference is off by about its step."""

    def pull(p: dict[str, Any], g: Any, x: Any, y: Any) -> Any:
        losses = x.size // x.shape[1]
        share = np.expand_dims(g, 1) if p["reduction"] == "none" else g / (losses if p["reduction"] == "mean" else 1)
        by_product = -share * slope(1 - x * y)
        return [by_product * y, by_product * x]

    return pull


#: Losses → their gradients, at corners those that users expect
LOSSES = {
    "l1_loss": loss_rule(lambda x, y: (np.sign(x - y), np.sign(y - x))),
    "hinge_loss_L1": _hinge(lambda room: room > 0),
    "hinge_loss_L2": _hinge(lambda room: 2 * relu(room)),
    "square_loss": loss_rule(lambda x, y: (2 * (x - y), 2 * (y - x))),
    "binary_cross_entropy_with_logits": loss_rule(lambda x, y: (sigmoid(x) - y, -x)),
}


def _loss(mode: str) -> Row:
    """Losses of two tensors, reduced."""
    hinge = mode.startswith("hinge")
    with_logits = mode != "binary_cross_entropy"

    def value(x: Any, y: Any) -> Any:
        if mode == "l1_loss":
            return np.abs(x - y)
        if mode == "square_loss":
            return (x - y) ** 2
        if hinge:
            return (relu(1 - x * y) ** (2 if mode.endswith("2") else 1)).sum(1)
        if with_logits:
            return softplus(-np.abs(x)) + x * ((x > 0) - y)  # not inf - inf where the loss is infinite
        left, right = y * np.maximum(np.log(x), -100), (1 - y) * np.maximum(np.log(1 - x), -100)
        return -(np.where(y == 0, 0.0, left) + np.where(y == 1, 0.0, right))

    def truth(p: dict[str, Any], x: Any, y: Any) -> Any:
        losses = value(x, y)
        return losses if p["reduction"] == "none" else losses.sum() if p["reduction"] == "sum" else losses.mean()

    def pull(p: dict[str, Any], g: Any, x: Any, y: Any) -> Any:
        """Of a probability that is exactly its label the loss is 0 and so is the gradient, as PyTorch has it."""
        share = (
            g if p["reduction"] == "none" else np.broadcast_to(g, x.shape) / (x.size if p["reduction"] == "mean" else 1)
        )
        inner = (x > 0) & (x < 1)
        by_label = np.where(inner, share * np.log(np.where(inner, (1 - x) / np.where(inner, x, 0.5), 1.0)), VAGUE)
        at_ends = np.where(x == y, share * 0.0, VAGUE)
        return [np.where(inner, share * (x - y) / np.where(inner, x * (1 - x), 1.0), at_ends), by_label]

    name = mode.partition("_L")[0].removesuffix("_with_logits")
    extra = f", norm='{mode[-2:]}'" if hinge else "" if with_logits else ", with_logits=False"
    code = f"F.loss.{name}({{0}}, {{1}}{extra}, reduction={{reduction}})"

    def draw(d: Draw) -> Any:
        x = d.floating(ranks=(2, 3) if hinge else None, empty=False)
        values = "sign" if hinge else None
        if not with_logits:
            x = d.new(d.shape_of(x), d.dtype_of(x), d.choice(["unit", "inner"]))
            values = "mask"
        return [x, d.like(d.shape_of(x), (d.dtype_of(x),), values)], {"reduction": d.choice(["none", "sum", "mean"])}

    rules = {**LOSSES, "binary_cross_entropy": pull}
    return Row(f"loss {mode}", code, draw, truth, "all statistics", "formula", pull=rules.get(mode))


def _wrapped_logit(p: dict[str, Any], *x: Any) -> Any:
    high, low = np.maximum(*x), np.minimum(*x)
    return high + np.log1p(np.exp(np.where(high == low, 0.0, low - high)))


def _cast(d: Draw) -> Any:
    x = d.tensor(DTYPES)
    return [x], {"dtype": d.choice([t for t in DTYPES if t != d.dtype_of(x)])}


def _clip_integers(d: Draw) -> Any:
    x = d.integral()
    return [x], {"low": d.choice([-1000, -1, 0, 1]), "high": d.choice([2, 5, 300, 70000]), "of": d.dtype_of(x)}


def _clipped_integers(p: dict[str, Any], x: Any) -> Any:
    return fitting(clipped(x, p["low"], p["high"]), p["of"])


def _converted(p: dict[str, Any], x: Any) -> Any:
    if p["dtype"] in INTS and x.dtype.kind == "f":
        if p["dtype"] not in ("int32", "int64"):
            return np.trunc(np.clip(np.nan_to_num(x), -(2.0**31), 2.0**31 - 1)).astype(np.int64)
        low, high = LIMITS[p["dtype"]]
        return np.where(
            x >= high,
            int(high if high < 2**62 else 2**63 - 1),
            np.trunc(np.clip(np.nan_to_num(x), low, min(high, 2.0**62))).astype(np.int64),
        )
    return x != 0 if p["dtype"] == "bool" else x


ROWS = [
    *_rows(),
    *map(_function, FUNCTIONS),
    *_unknown_activations(),
    _two("prelu", "F.prelu({0}, {1})", lambda x, s: np.where(x > 0, x, x * s), "rounded"),
    _two("logaddexp", "F.logaddexp({0}, {1})", lambda a, b: _wrapped_logit({}, a, b), "function"),
    Row(
        "elementwise where",
        "F.where({0}, {1}, {2})",
        _where,
        lambda p, m, x, y: np.where(m, x, y),
        "same",
        "exact",
        elementwise=True,
    )._replace(dtype="second"),
    Row(
        "elementwise clip integers",
        "F.clip({0}, {low}, {high})",
        _clip_integers,
        _clipped_integers,
        "same",
        "exact",
        elementwise=True,
    ),
    Row("elementwise cast", "{0}.astype({dtype})", _cast, _converted, "param", "rounded", elementwise=True),
    *(_loss(mode) for mode in loss.ELEMENTWISE),
]
