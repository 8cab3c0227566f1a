"""A program: tensors that it gets or finds, steps, results. It is text (`repr`, `parse`), and prints as Python code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .dtypes import Array, kind, rounded

CALLS = 3
"""How often a program is called, each time with other data."""


class Source(NamedTuple):
    """A tensor that is there before the function runs.

    role: "argument" (other data in each call), "outside" (a tensor that the function finds, and may change) or "parameter".
    layouts: how it lies in memory in each call, names of LAYOUTS. values: a name of VALUES.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    layouts: tuple[str, ...]
    values: str
    seed: int


class Step(NamedTuple):
    """The row `row` of the table applied to variables; `outs` are new variables, then those whose handles got new values."""

    row: str
    inputs: tuple[str, ...]
    params: tuple[tuple[str, Any], ...]
    outs: tuple[str, ...]


class Gradient(NamedTuple):
    """The first `steps` steps are recorded, then comes `backward(y, dy)`; the gradient of each name in `wrt` is variable g_<name>.

    optimizer: what updates the parameters among `wrt` then, a name of optimizers.RULES, or "".
    """

    steps: int
    wrt: tuple[str, ...]
    y: str
    dy: str
    optimizer: str


class Program(NamedTuple):
    """See README.md. `touched`: tensors from outside that get new values between the calls, and before a dump."""

    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    gradient: Gradient | None = None
    touched: tuple[str, ...] = ()

    def source(self, name: str) -> Source | None:
        return next((s for s in self.sources if s.name == name), None)

    @property
    def arguments(self) -> list[Source]:
        return [s for s in self.sources if s.role == "argument"]

    @property
    def state(self) -> list[Source]:
        return [s for s in self.sources if s.role != "argument"]


def parse(text: str) -> Program:
    """The program that `repr` wrote."""
    names = {cls.__name__: cls for cls in (Source, Step, Gradient, Program)}
    made: Program = eval(text, {"__builtins__": {}, **names})
    return made


#: name → an expression of NumPy: n is the shape, r a generator. Exact in every dtype, so that what adds and multiplies is exact too.
VALUES = {
    "grid": "r.integers(-12, 13, n) / 4",
    "corner": "r.choice([-3.0, 0.0, 3.0, 6.0, 1.0], n)",
    "fine": "r.uniform(-2, 2, n)",
    "positive": "r.integers(1, 17, n) / 8",
    "unit": "r.integers(0, 9, n) / 8",
    "inner": "r.integers(1, 8, n) / 8",
    "special": "r.choice([-1.5, 0.5, 2.0, -np.inf, np.inf, np.nan], n)",
    "nan": "r.choice([-1.5, 0.5, 2.0, 0.5, np.nan], n)",
    "zero": "np.zeros(n)",
    "equal": "np.full(n, r.integers(-6, 7) / 2)",
    "sign": "r.choice([-1.0, 1.0], n)",
    "small": "r.integers(-4, 10, n)",
    "wide": "r.integers(-2**31, 2**31, n)",
    "counts": "r.integers(0, 5, n)",
    "mask": "r.integers(0, 2, n)",
}


def values_text(source: Source, call: int) -> str:
    """The expression of a source's elements; "index K" are places in an axis of K, "label K" those that count from 0, "beyond K" any."""
    name, _, extent = source.values.partition(" ")
    seed = source.seed + 1000 * (call if source.role == "argument" else 0)
    text = (
        VALUES.get(name)
        or {
            "index": f"r.integers({-int(extent or 0)}, {int(extent or 0)}, n)",
            "label": f"r.integers(0, {int(extent or 0)}, n)",
            "beyond": f"r.integers({-int(extent or 0) - 1}, {int(extent or 0) + 2}, n)",
        }[name]
    )
    return re.sub(r"\bn\b", str(source.shape), re.sub(r"\br\b", f"np.random.default_rng({seed})", text))


def data(source: Source, call: int) -> Array:
    """The elements of a source in a call (0, 1, …), in the wide dtype of the truth."""
    made = np.asarray(eval(values_text(source, call), {"np": np}))
    array = rounded(made, source.dtype)
    if layout_of(source, call) == "stretched":
        array = np.broadcast_to(array[:1], array.shape).copy()
    return array


def layout_of(source: Source, call: int) -> str:
    return source.layouts[call % len(source.layouts)]


#: How a tensor may lie in memory: (the array that is put there, what of the tensor of it is taken), as text in terms of `a` and `t`.
LAYOUTS = {
    "plain": ("a", "{t}"),
    "transposed": ("a.T", "{t}.T"),
    "reversed": ("a[{turn}]", "{t}[{turn}]"),
    "stepped": ("np.repeat(a, 2, -1)", "{t}[..., ::2]"),
    "offset": ("np.pad(a, [(1, 0)] * a.ndim)", "{t}[{later}]"),
    "stretched": ("a[:1]", "F.broadcast_to({t}, {shape})"),
    "last": ("np.moveaxis(a, 1, -1)", "{t}.transpose({back})"),
}


def layouts_for(shape: Sequence[int]) -> list[str]:
    """The layouts that a tensor of this shape may have."""
    rank = len(shape)
    if rank == 0 or 0 in shape:
        return ["plain"]
    return ["plain", "reversed", "stepped", "offset", *["transposed"] * (rank > 1), "stretched", *["last"] * (rank > 2)]


def laid_out(source: Source, call: int) -> tuple[Array, str]:
    """What to put into memory, and the expression that makes the tensor of a tensor `{t}` of that."""
    array = data(source, call)
    put, take = LAYOUTS[layout_of(source, call)]
    rank = array.ndim
    words = {
        "turn": ", ".join(["::-1"] * rank),
        "later": ", ".join(["1:"] * rank),
        "shape": source.shape,
        "back": ", ".join(map(str, (0, rank - 1, *range(1, rank - 1)))),
    }
    memory = eval(put.format(**words), {"a": array, "np": np})
    return np.ascontiguousarray(memory).reshape(memory.shape), take.format(t="{t}", **words)


def shown(array: Array, dtype: str) -> str:
    """A literal of an array."""
    if kind(dtype) != "float":
        return str(array.tolist())
    return str(array.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
