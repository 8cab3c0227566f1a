"""What changes a tensor as a whole: in-place arithmetic, set_value, reset_zero; and what shares a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import INTS
from .program import Step
from .row import Draw, Row
from .rows_index import writable

WRITES: dict[str, Any] = {"changes": (0,), "results": 0, "weight": 1.5}


def _other(d: Draw) -> Any:
    """A tensor that gets a new value, and one that broadcasts to it."""
    target = writable(d)
    if target is None:
        return None
    shape, dtype = d.types[target]
    return [target, d.like(shape if d.chance(0.7) else shape[len(shape) // 2 :], (dtype,))], {}


def _number(d: Draw) -> Any:
    target = writable(d)
    if target is None:
        return None
    return [target], {"number": d.choice([2, 3]) if d.dtype_of(target) in INTS else d.choice([0.5, 2.0, 3.0])}


def _alone(d: Draw) -> Any:
    target = writable(d)
    return target and ([target], {})


def _same_shape(d: Draw) -> Any:
    target = writable(d)
    if target is None:
        return None
    shape, dtype = d.types[target]
    return [target, d.like(shape, (dtype,))], {}


def _scaled(d: Draw) -> Any:
    made = _same_shape(d)
    if made is None or d.dtype_of(made[0][0]) in INTS:
        return None
    return made[0], {"alpha": d.choice([0.5, 1.0]), "beta": d.choice([2.0, -0.25])}


def _dtyped(p: dict[str, Any], x: Any) -> Any:
    return np.asarray(p["number"], x.dtype)


class _Excluded(Row):
    """A row that the trace leaves to eager mode."""

    def statement(self, step: Step) -> str:
        return f"with exclude_from_trace():\n    {super().statement(step)}"


def _integral(d: Draw) -> Any:
    """Integers, of which the sign of a sum does not hang on roundings."""
    return [d.integral(most=5000)], {}


def _float(d: Draw) -> Any:
    return [d.floating(most=5000)], {}


ROWS: list[Row] = [
    Row(
        "host read",
        "{0} * (0.5 if {0}.numpy().sum() > 0 else 2.0)",
        _integral,
        lambda p, x: x * (0.5 if x.sum() > 0 else 2.0),
        "number float",
        "rounded",
        slopes=lambda x: [0.5 if x.sum() > 0 else 2.0],
        reads=True,
        elementwise=True,
        weight=0.7,
    ),
    _Excluded(
        "host exclude",
        "{0} * 0.25",
        _float,
        lambda p, x: x * 0.25,
        exact="rounded",
        slopes=lambda x: [0.25],
        reads=True,
        elementwise=True,
        weight=0.7,
    ),
    Row(
        "write add",
        "{0} += {1}",
        _other,
        lambda p, x, y: x + y,
        exact="rounded",
        elementwise=True,
        **{**WRITES, "weight": 3.0},
    ),
    Row(
        "write sub",
        "{0} -= {1}",
        _other,
        lambda p, x, y: x - y,
        slopes=lambda x, y: [1.0, -1.0],
        exact="rounded",
        elementwise=True,
        **WRITES,
    ),
    Row(
        "write mul",
        "{0} *= {1}",
        _other,
        lambda p, x, y: x * y,
        slopes=lambda x, y: [y, x],
        exact="rounded",
        elementwise=True,
        **WRITES,
    ),
    Row(
        "write mul number",
        "{0} *= {number}",
        _number,
        lambda p, x: x * _dtyped(p, x),
        exact="rounded",
        elementwise=True,
        **WRITES,
    ),
    Row(
        "write add number",
        "{0} += {number}",
        _number,
        lambda p, x: x + _dtyped(p, x),
        exact="rounded",
        elementwise=True,
        **WRITES,
    ),
    Row(
        "write inplace",
        "F.inplace._inplace_add_({0}, {1}, {alpha}, {beta})",
        _scaled,
        lambda p, x, y: p["alpha"] * x + p["beta"] * y,
        exact="rounded",
        elementwise=True,
        **{**WRITES, "weight": 0.5},
    ),
    Row("write all", "{0}[...] = {0}", _alone, lambda p, x: x, exact="moves", **WRITES),
    Row("write all of", "{0}[...] = {1}", _same_shape, lambda p, x, y: y, exact="moves", **WRITES)._replace(
        pull=lambda p, g, x, y: [np.zeros(x.shape), g]
    ),
    Row("write set_value", "{0}.set_value({1})", _same_shape, lambda p, x, y: y, exact="moves", **WRITES)._replace(
        pull=lambda p, g, x, y: [np.zeros(x.shape), np.zeros(y.shape)]
    ),
    Row(
        "write reset_zero", "{0}.reset_zero()", _alone, lambda p, x: np.zeros(x.shape), exact="exact", **WRITES
    )._replace(pull=lambda p, g, x: [np.zeros(x.shape)]),
]
