"""The element-wise functions and modes, one row each: what they are in NumPy, and how exact they are.

Tests of functions, of kernels, of the export to ONNX and random programs all read this table: a new function is one row here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np

import tengen.functional as F
import tengen.module as M
from tengen.core.ops import elemwise


@dataclass(frozen=True)
class Row:
    """A function of this name, or the mode of M.Elemwise.

    truth: in NumPy, for float64 and longdouble. low, high: the range of its operands. gradient: whether it can be differentiated.
    ints: what integers give: "same", a dtype, or None where they are not tested. result: the dtype whatever the operands are. mode: its
    name in the op table, where it is not this one in capitals.
    ulps: how many units in the last place of float32 and float64 the instruction may be away from the truth, for any number; None:
    test_vecmath.py has a test of its own; the truth of erf and erfcx is itself not exact in float64. points: where else values and
    gradients are looked at, for functions of one operand.
    undefined: outside of its range it may give anything.
    loose: how much more than others the function loses for narrow dtypes, as a product of roundings.
    """

    name: str
    truth: Callable[..., Any]
    arity: int = 1
    low: float = -2.0
    high: float = 2.0
    gradient: bool = True
    ints: str | None = "float32"
    result: str | None = None
    mode: str = ""
    ulps: tuple[float, float] | None = (2.0, 1.0)
    loose: float = 1
    points: tuple[float, ...] = ()
    undefined: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether it is not for all numbers."""
        return (self.low, self.high) != (-2.0, 2.0)

    @property
    def op(self) -> elemwise.Row | None:
        """Its row of the op table, if it is no formula."""
        return elemwise.ROWS.get(self.mode or self.name.upper())

    def call(self, *args: Any) -> Any:
        found = F
        for part in self.name.split("."):
            if not hasattr(found, part):
                return M.Elemwise(self.name)(*args)
            found = getattr(found, part)
        return found(*args)


erf, erfc = (np.vectorize(f, otypes=[float]) for f in (math.erf, math.erfc))


@partial(np.vectorize, otypes=[float])
def erfcinv(x):
    if 0 < x < 2:
        return -NormalDist().inv_cdf(x / 2) / math.sqrt(2)
    return {0.0: math.inf, 2.0: -math.inf}.get(float(x), math.nan)


def erfcx(x):
    """By its definition, or from 3 on the continued fraction 1 / (x + (1/2) / (x + (2/2) / (x + …))) / √π."""
    x = np.asarray(x, np.longdouble)
    with np.errstate(all="ignore"):
        made = np.asarray(np.exp(x * x) * erfc(x))
        high = tail = x[x >= 3]
        for k in range(30, 0, -1):
            tail = high + k / 2 / tail
        made[x >= 3] = 1 / tail / np.sqrt(np.longdouble(np.pi))
    return made


def sigmoid(x):
    z = np.exp(-np.abs(x))
    return np.where(x < 0, z, 1.0) / (1.0 + z)


def softplus(x):
    return np.where(x < 0, 0.0, x) + np.log1p(np.exp(-np.abs(x)))


ROWS = [
    Row("abs", np.abs, ints="same"),
    Row("neg", np.negative, ints="same", mode="NEGATE"),
    Row("square", np.square, ints="same"),
    Row("sign", np.sign, gradient=False, ints="same", ulps=None),
    Row("ceil", np.ceil, gradient=False, ints="same"),
    Row("floor", np.floor, gradient=False, ints="same"),
    Row("round", lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5), gradient=False, ints="same", ulps=None),
    Row("sqrt", np.sqrt, low=0.1, high=9),
    Row("exp", np.exp),
    Row("expm1", np.expm1),
    Row("log", np.log, low=0.1, high=9),
    Row("log1p", np.log1p, low=-0.9, high=9, ints=None),
    Row("sin", np.sin),
    Row("cos", np.cos),
    Row(
        "sinc",
        lambda x: np.where((x == np.round(x)) & (x != 0), 0.0 * x, np.sinc(x)),
        points=(0.0, 1e-4, 0.3, 1.0, 7.0),
    ),
    Row("tan", np.tan, low=-1.2, high=1.2, loose=2),
    Row("asin", np.arcsin, low=-0.9, high=0.9),
    Row("acos", np.arccos, low=-0.9, high=0.9),
    Row("atan", np.arctan),
    Row("sinh", np.sinh),
    Row("cosh", np.cosh),
    Row("tanh", np.tanh),
    Row("asinh", np.arcsinh),
    Row("acosh", np.arccosh, low=1.2, high=9, ints=None),
    Row("atanh", np.arctanh, low=-0.9, high=0.9),
    Row("add", np.add, 2, ints="same"),
    Row("sub", np.subtract, 2, ints="same"),
    Row("mul", np.multiply, 2, ints="same"),
    Row("div", np.divide, 2, low=0.5, mode="TRUE_DIV"),
    Row("floor_div", np.floor_divide, 2, low=0.5, gradient=False, ints="same"),
    Row("mod", np.fmod, 2, low=0.5, high=5, ints="same"),
    Row("pow", np.power, 2, low=0.5, loose=2),
    Row("maximum", np.maximum, 2, ints="same", mode="MAX"),
    Row("minimum", np.minimum, 2, ints="same", mode="MIN"),
    Row("atan2", np.arctan2, 2),
    Row("logaddexp", np.logaddexp, 2, loose=2),
    Row("equal", np.equal, 2, gradient=False, result="bool", mode="EQ"),
    Row("not_equal", np.not_equal, 2, gradient=False, result="bool", mode="NEQ"),
    Row("less", np.less, 2, gradient=False, result="bool", mode="LT"),
    Row("less_equal", np.less_equal, 2, gradient=False, result="bool", mode="LEQ"),
    Row("greater", np.greater, 2, gradient=False, result="bool", mode="GT"),
    Row("greater_equal", np.greater_equal, 2, gradient=False, result="bool", mode="GEQ"),
    Row("isnan", np.isnan, gradient=False, result="bool"),
    Row("isinf", np.isinf, gradient=False, result="bool"),
    Row("relu", lambda x: np.maximum(x, 0), ints="same"),
    Row("relu6", lambda x: np.clip(x, 0, 6), low=-3, high=9, ints="same"),
    Row("sigmoid", sigmoid, points=(-30.0, 0.0, 30.0)),
    Row("hsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, low=-5, high=5, loose=2),
    Row("nn.hswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, low=-5, high=5, loose=2),
    Row("silu", lambda x: x * sigmoid(x), loose=2),
    Row("gelu", lambda x: x * 0.5 * erfc(-x / math.sqrt(2)), loose=4),
    Row("softplus", softplus, points=(-30.0, 0.0, 30.0)),
    Row("logsigmoid", lambda x: -np.logaddexp(-x, 0)),
    Row("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x)),
    Row("prelu", lambda x, y: np.where(x > 0, x, y * x), 2, ints="same"),
    # modes that are no functions of their own
    Row("rsqrt", lambda x: 1.0 / np.sqrt(x), low=0.1, high=9, ulps=(2.0, 1.5)),
    Row("exp_nonpositive", np.exp, low=-4, high=0, ulps=None, undefined=True),
    Row("erf", erf, ulps=(2.0, 2.0)),
    Row("erfc", erfc, ulps=None),
    Row("erfcx", erfcx, points=(-5.0, 0.0, 3.0, 24.9, 25.1), ulps=(2.0, 4.0)),
    Row("normcdf", lambda x: 0.5 * erfc(-x / math.sqrt(2)), ulps=None),
    Row("erfinv", lambda x: erfcinv(1 - x), low=-0.9, high=0.9, ulps=None),
    Row("erfcinv", lambda x: erfcinv(x), low=0.1, high=1.9, ulps=None),
]

#: mode of the op table → its row here
BY_MODE = {row.mode or row.name.upper(): row for row in ROWS if row.op is not None}
