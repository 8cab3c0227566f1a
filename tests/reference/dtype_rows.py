"""The dtype tables: each row is an expression over x (and y), asked for every dtype (or pair of dtypes).

The result of a row is a line of dtype names, one for each of its `operands`; `!` where the reference refuses.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

TENSORS = ["float32", "float16", "int32", "int16", "int8", "uint8", "bool"]
SCALARS = {"python int": 2, "python float": 2.5, "python bool": True}
OPERANDS = [*TENSORS, *SCALARS]

ARITHMETIC = "add sub mul div floor_div mod pow maximum minimum atan2 logaddexp".split()
COMPARISONS = "equal not_equal less less_equal greater greater_equal".split()
BITWISE = "logical_and logical_or logical_xor left_shift right_shift".split()
OPERATORS = "+ - * / // % ** < == & | ^ << >>".split()
UNARY = """abs acos acosh asin asinh atanh ceil cos cosh exp expm1 floor gelu hsigmoid hswish isinf isnan
    leaky_relu log log1p logical_not logsigmoid neg relu relu6 round sigmoid sign silu sin sinh softplus
    sqrt square tan tanh""".split()
REDUCTIONS = "sum mean max min prod argmax argmin var std".split()
SHAPES = [
    "F.zeros_like(x)",
    "F.ones_like(x)",
    "F.full_like(x, 2.5)",
    "F.concat([x, x])",
    "F.stack([x, x])",
    "F.repeat(x, 2)",
    "F.tile(x, (2, 1))",
    "F.roll(x, 1, 0)",
    "F.pad(x, ((1, 1), (0, 0)))",
    "F.split(x, 2)[0]",
    "F.diag(x)",
    "F.meshgrid(x[0], x[0])[0]",
    "F.gather(x, 1, tensor([[0], [1]]))",
    "F.scatter(x, 1, tensor([[0], [1]]), x[:, :1])",
    "F.cond_take(x == x, x)[0]",
    "F.cond_take(x == x, x)[1]",
    "F.embedding(tensor([0, 1]), x)",
    "x[0, 1]",
    "x[:, ::2]",
    "x[tensor([0, 1])]",
    "x[x == x]",
    "x.T",
    "F.arange(3, dtype=x.dtype)",
    "F.linspace(0, 3, 4, dtype=x.dtype)",
    "F.full((2,), 1, dtype=x.dtype)",
    "F.eye(2, dtype=x.dtype)",
    "F.zeros((2,), dtype=x.dtype)",
]
MATHS = [
    "F.norm(x, axis=1)",
    "F.normalize(x, axis=1)",
    "F.cumsum(x, 1)",
    "F.sort(x)[0]",
    "F.sort(x)[1]",
    "F.argsort(x)",
    "F.topk(x, 2)[0]",
    "F.topk(x, 2)[1]",
    "F.softmax(x, 1)",
    "F.logsoftmax(x, 1)",
    "F.logsumexp(x, 1)",
    "F.clip(x, 0, 1)",
    "F.clip(x, 0.5, 1.5)",
    "F.where(x == x, x, x)",
    "F.one_hot(x, 4)",
    "F.dot(x[0], x[0])",
    "F.matmul(x, x, transpose_b=True)",
    "F.linear(x, x)",
    "F.conv2d(x.reshape(1, 1, 2, 3), x.reshape(1, 1, 2, 3))",
    "F.max_pool2d(x.reshape(1, 1, 2, 3), 2)",
    "F.layer_norm(x, (3,), False)",
    "F.nn.square_loss(x, x)",
    "F.nn.l1_loss(x, x)",
    "F.nn.cross_entropy(x, tensor([0, 1]))",
    "x.sum()",
    "x.mean()",
    "x.max()",
    "-x",
    "+x",
    "abs(x)",
    "~x",
    "x + tensor(1)",
    "x + tensor(1.0)",
    "x + np.float32(1)",
    "x + np.ones(3, np.float32)",
    "np.ones(3, np.float32) * x",
    "operator.iadd(x, 1.5)",
    "operator.itruediv(x, 2)",
    "operator.setitem(x, 0, 1) or x",
    "operator.setitem(x, 0, 1.5) or x",
    "operator.setitem(x, 0, tensor([1.0, 2.0, 3.0])) or x",
]
PAIRED = ["F.concat([x, y])", "F.stack([x, y])"]

ROWS = [
    *(f"F.{name}(x, y)" for name in ARITHMETIC + COMPARISONS + BITWISE),
    *(f"x {name} y" for name in OPERATORS),
    *PAIRED,
    *(f"F.{name}(x)" for name in UNARY),
    *(f"F.{name}(x{axis})" for name in REDUCTIONS for axis in ("", ", axis=1")),
    *SHAPES,
    *MATHS,
]


def is_binary(row: str) -> bool:
    """Whether a row has two operands."""
    return row in PAIRED or row.endswith(" y") or row.endswith("(x, y)")


def operands(row: str) -> list[tuple[str, ...]]:
    """The names of the operands that a row is asked for."""
    if not is_binary(row):
        return [(name,) for name in TENSORS]
    if row in PAIRED:
        return list(product(TENSORS, TENSORS))
    return [pair for pair in product(OPERANDS, OPERANDS) if not set(pair) <= set(SCALARS)]


def result(row: str, names: tuple[str, ...], scope: dict[str, Any]) -> str:
    """The dtype that a row gives for these operands, or `!` when it raises."""
    values = {letter: _operand(name, scope) for letter, name in zip("xy", names, strict=False)}
    try:
        value = eval(row, {**scope, **values})
        value.numpy()  # a failure may show only when the value is asked for
    except Exception:
        return "!"
    return np.dtype(value.dtype).name


def results(row: str, scope: dict[str, Any]) -> str:
    """The results of a row for all its operands, as one line of text."""
    return " ".join(result(row, names, scope) for names in operands(row))


def _operand(name: str, scope: dict[str, Any]) -> Any:
    return SCALARS[name] if name in SCALARS else scope["tensor"](np.ones((2, 3), dtype=name))
