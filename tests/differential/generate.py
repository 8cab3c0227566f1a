"""Draws a program from a seed. It runs in NumPy while it is drawn, so that all shapes, dtypes and numbers are known."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .dtypes import DTYPES, FLOATS, INTS, kind
from .optimizers import RULES
from .program import Gradient, Program, Source, Step, data
from .row import Draw
from .table import ROWS
from .truth import Machine

LARGEST = 1e4
"""Values grow no further."""
MOST_ELEMENTS = 200_000


class Settings(NamedTuple):
    """What programs of a theme are like.

    weights: theme of rows, or name of a row → how often it is drawn, by default 1. dtypes, values: of tensors from outside; dtypes that
    stand there twice are drawn twice as often. steps: fewest and most. gradient, optimizer: how often there is one. large, layouts, views,
    new, wrong: how often tensors are large, lie in memory in another way, are seen through a view, are made anew, and indices are wrong.
    """

    weights: Mapping[str, float] = MappingProxyType({})
    dtypes: tuple[str, ...] = ("float32",) * 6 + ("float64", "float16", "int32")
    values: tuple[str, ...] = ("grid", "grid", "corner", "fine")
    steps: tuple[int, int] = (2, 7)
    gradient: float = 0.15
    optimizer: float = 0.3
    large: float = 0.04
    layouts: float = 0.3
    views: float = 0.12
    new: float = 0.2
    wrong: float = 0.03


#: Rows whose gradients, or numbers, have corners that others do not reach.
CORNERS = {
    "elementwise relu6": 6.0,
    "elementwise hsigmoid": 6.0,
    "elementwise POW": 3.0,
    "elementwise POW number": 6.0,
    "reduce std": 4.0,
    "reduce norm": 4.0,
    "reduce normalize": 4.0,
    "loss binary_cross_entropy": 4.0,
}
NUMBERS = {"elementwise MAX number": 5.0, "elementwise MIN number": 5.0, "elementwise clip integers": 4.0}
ONLY = {
    "elementwise": 0.3,
    "view": 0.5,
    "move": 0.2,
    "index": 0.2,
    "write": 0.0,
    "conv": 0.0,
    "make": 0.1,
    "random": 0.0,
}
SINGLE = ("float32",) * 4
#: What programs are about, and how often; the seed says which it is.
THEMES: dict[str, tuple[float, Settings]] = {
    "anything": (2.0, Settings(dtypes=DTYPES, values=("grid", "corner", "fine", "special", "nan", "equal"))),
    "state": (
        3.0,
        Settings(
            {
                "write": 3.0,
                "view": 0.5,
                "conv": 0.0,
                "norm": 0.1,
                "window": 0.1,
                "pool": 0.1,
                "make": 0.2,
                "random": 0.2,
            },
            dtypes=(*SINGLE, "float32", "int32", "float64"),
            values=("grid",),
            steps=(2, 6),
            wrong=0.01,
            large=0.01,
        ),
    ),
    "training": (
        2.0,
        Settings(
            {**ONLY, "write": 0.8, "product": 1.0, "conv": 0.4, "norm": 0.5, "reduce": 0.5},
            dtypes=(*SINGLE, "float64"),
            values=("grid", "fine"),
            steps=(2, 6),
            gradient=1.0,
            optimizer=0.8,
            large=0.01,
            wrong=0.0,
        ),
    ),
    "gradients": (
        3.0,
        Settings(
            {**ONLY, "elementwise": 1.0, "loss": 1.0, **CORNERS},
            dtypes=("float32", "float32", "float64"),
            values=("corner", "corner", "grid", "zero", "equal", "unit"),
            steps=(1, 4),
            gradient=1.0,
            optimizer=0.0,
            large=0.0,
            wrong=0.0,
        ),
    ),
    "contractions": (
        3.0,
        Settings(
            {**ONLY, "elementwise": 0.15, "conv": 4.0, "product": 1.0, "pool": 0.7, "norm": 0.3, "window": 0.2},
            dtypes=(*SINGLE, "float64", "float16", "bfloat16"),
            values=("grid", "fine"),
            steps=(1, 4),
            gradient=0.25,
            optimizer=0.0,
            large=0.15,
            layouts=0.5,
            views=0.25,
            wrong=0.0,
        ),
    ),
    "indices": (
        3.0,
        Settings(
            {
                **ONLY,
                "view": 0.7,
                "view pad": 4.0,
                "index": 2.0,
                "index array": 4.0,
                "loss": 0.4,
                "window": 0.8,
                "move diag": 3.0,
            },
            dtypes=("float32", "float32", "float32", "int32"),
            values=("grid",),
            steps=(1, 5),
            gradient=0.1,
            optimizer=0.0,
            large=0.02,
            wrong=0.1,
        ),
    ),
    "integers": (
        2.0,
        Settings(
            {**ONLY, "elementwise": 1.5, "reduce": 1.0, "sort": 0.6, **NUMBERS},
            dtypes=("int8", "uint8", "int16", "uint16", "int32", "int64", "bool", "float32"),
            values=("grid",),
            steps=(1, 4),
            gradient=0.0,
        ),
    ),
    "order": (
        1.5,
        Settings(
            {**ONLY, "sort": 3.0, "reduce": 1.5, "soft": 0.5, "pool": 0.5},
            dtypes=("float32", "float32", "float64", "float16", "int32", "uint8"),
            values=("grid", "nan", "nan", "special", "corner"),
            steps=(1, 4),
            gradient=0.2,
        ),
    ),
    "statistics": (
        1.5,
        Settings(
            {**ONLY, "norm": 2.0, "random": 1.0, "reduce": 0.5},
            dtypes=("float32", "float32", "float64", "float16"),
            values=("grid", "fine", "equal"),
            steps=(1, 4),
            gradient=0.3,
        ),
    ),
    "long": (0.7, Settings(dtypes=(*SINGLE, "float64", "int32"), values=("grid", "fine"), steps=(8, 12), gradient=0.3)),
}


class Drawing(Draw):
    """A program while it is drawn."""

    def __init__(self, seed: int):
        random = np.random.default_rng([seed, 20240])
        odds = np.array([weight for weight, _ in THEMES.values()])
        self.theme = list(THEMES)[int(random.choice(len(odds), p=odds / odds.sum()))]
        super().__init__(random, THEMES[self.theme][1])
        self.apply = self._apply  # type: ignore[method-assign]
        self.machine = Machine(seed, versions=1)
        self.steps: list[Step] = []
        self.count = 0

    def declare(self, source: Source) -> None:
        self.machine.put(source.name, data(source, 0), source.dtype)
        self.types[source.name] = (source.shape, source.dtype)

    def step(self) -> bool:
        """One more step, if it can be."""
        name = self._row()
        kept = len(self.sources), len(self.steps), dict(self.types), dict(self.machine.names)
        made = ROWS[name].draw(self)
        if made is not None and self._apply(name, *made) is not None:
            return True
        del self.sources[kept[0] :], self.steps[kept[1] :]
        self.types, self.machine.names = kept[2], kept[3]
        return False

    def _row(self) -> str:
        weights = self.settings.weights
        odds = np.array([r.weight * weights.get(r.name, weights.get(r.theme, 1.0)) for r in ROWS.values()])
        return list(ROWS)[int(self.random.choice(len(odds), p=odds / odds.sum()))]

    def _apply(self, name: str, inputs: Sequence[str], params: dict[str, Any]) -> str | None:
        """Adds a step; the name of its first result, or of what it changed. None if its numbers are of no use."""
        row = ROWS[name]
        changed = [inputs[i] for i in row.changes]
        if any(c in self.fixed for c in changed) or len(set(changed)) < len(changed):
            return None
        new = tuple(f"v{self.count + i}" for i in range(row.results))
        step = Step(name, tuple(inputs), tuple(params.items()), (*new, *changed))
        old = dict(self.machine.names)
        wrong = False
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self.machine.run(step)
        except IndexError:
            wrong = True
        if not wrong and not self._useful(step):
            self.machine.names = old
            self.machine.tape.pop()
            return None
        self.count += row.results
        self.steps.append(step)
        for out in step.outs:
            value = None if wrong else self.machine.names[out]
            if value is not None:
                self.types[out] = (value.shape, value.dtype)
            else:
                self.types.pop(out, None)
                self.machine.names[out] = None
        return step.outs[0]

    def _useful(self, step: Step) -> bool:
        for out in step.outs:
            value = self.machine.names[out]
            if value is None:
                continue
            array = value.versions[0]
            numbers = array[np.isfinite(array)] if kind(value.dtype) == "float" else array
            odd = array.size and not np.isfinite(array).any() and self.random.random() < 0.9
            if (
                odd
                or array.size > MOST_ELEMENTS
                or (kind(value.dtype) != "bool" and np.abs(numbers).max(initial=0) > LARGEST)
            ):
                return False
            if step.outs.index(out) >= ROWS[step.row].results and (value.shape, value.dtype) != self.types.get(out):
                return False  # a handle keeps its shape and dtype
        return True


def generate(seed: int) -> Program:
    """The program of a seed."""
    draw = Drawing(seed)
    settings = draw.settings
    count = draw.integer(*settings.steps)
    gradient = None
    if draw.chance(settings.gradient):
        gradient = _recorded(draw, max(1, count - draw.integer(0, 2)))
    for _ in range(20 * count):
        if len(draw.steps) >= count:
            break
        draw.step()
    return _finished(draw, gradient)


def _recorded(draw: Drawing, count: int) -> Gradient | None:
    """Steps that are recorded, and what is differentiated after them. What is attached must not change while they are recorded."""
    draw.machine.tape.clear()
    for _ in range(20 * count):
        if len(draw.steps) >= count:
            break
        draw.step()
        draw.fixed |= {s.name for s in draw.sources if s.dtype in FLOATS and s.role == "parameter"}
    changed = {n for s in draw.steps for n in s.outs}
    tops = [s.name for s in draw.sources if s.dtype in FLOATS and s.name not in changed]
    results = [n for n in reversed(draw.types) if n.startswith("v") and draw.dtype_of(n) in FLOATS]
    if not tops or not results:
        return None
    y = results[0] if draw.chance(0.7) else draw.choice(results)
    dy = draw.new(draw.shape_of(y), draw.dtype_of(y), "positive", "argument")
    parameters = [s.name for s in draw.sources if s.role == "parameter" and s.name in tops]
    optimizer = draw.choice([r for r in RULES if r]) if parameters and draw.chance(draw.settings.optimizer) else ""
    gradient = Gradient(len(draw.steps), tuple(tops), y, dy, optimizer)
    for name in tops:
        draw.machine.put(f"g_{name}", np.zeros(draw.shape_of(name)), draw.dtype_of(name))
        draw.types[f"g_{name}"] = draw.types[name]
    draw.fixed = {f"g_{name}" for name in tops}
    return gradient


def _finished(draw: Drawing, gradient: Gradient | None) -> Program:
    """The program with its results: all that nobody reads, and some that somebody does."""
    used = {n for s in draw.steps for n in s.inputs} | ({gradient.y} if gradient else set())
    made = [n for s in draw.steps for n in s.outs[: ROWS[s.row].results]]
    # A trace need not compute what nobody reads, and so need not find that an index is wrong.
    changed = {n for s in draw.steps for n in s.outs}
    doubtful = {
        s.name for s in draw.sources if s.values.startswith("beyond") or (s.name in changed and s.dtype in INTS)
    }
    risky = {n for s in draw.steps if doubtful & set(s.inputs) for n in s.outs if n.startswith("v")}
    outputs = [n for n in made if n not in used or n in risky or draw.chance(0.25)]
    if gradient:
        outputs += [f"g_{n}" for n in gradient.wrt]
    if draw.chance(0.1):
        outputs += [s.name for s in draw.sources if s.role != "parameter" and draw.chance(0.4)]
    touched = [s.name for s in draw.sources if s.role != "argument" and s.dtype in FLOATS and draw.chance(0.5)]
    return Program(
        tuple(draw.sources),
        tuple(draw.steps),
        tuple(dict.fromkeys(outputs or made)),
        gradient,
        tuple(touched if draw.chance(0.4) else ()),
    )
