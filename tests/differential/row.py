"""What a row of the table of operations says, and what it draws its arguments from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .dtypes import FLOATS, INTS, Array, as_float, promoted, statistics
from .program import Source, Step, layouts_for

Truth = Callable[..., Any]


class Unknown(Exception):
    """The truth has nothing to say here."""


class Row(NamedTuple):
    """One operation.

    name: how steps call it; the part before a space is its theme, see README.md.
    code: the expression, or for rows that change a tensor the statement; {0}, {1} are inputs, {axis} parameters as Python writes them.
    draw: draws inputs and parameters, (inputs, parameters), or None if it cannot be.
    truth: (parameters, *arrays in the wide dtypes) → array, or a tuple of them; raises what tengen must raise. None: nothing is known, and
        only the modes are compared.
    dtype: the rule of the result's dtype, a name of DTYPE_RULES or a dtype.
    exact: "moves" elements, computes "exact" values, a "rounded" one, a "function" of a few roundings, a "sum" of products,
        which is exact where all numbers have few digits, or a "formula" of sums and functions.
    level: the size of the numbers that an element is the sum of, where that may be far larger than the element.
    slopes: derivatives by each operand of an element-wise operation, where differences would not do: (*arrays) → [array, …].
    slope_level: the size of the numbers that the slope of a function of one operand is the difference of, where it is read from the
        function's own result, as that is stored: so it is off by roundings of numbers of this size.
    pull: gradients of all inputs, (parameters, gradient, *arrays) → [array or None, …].
    reads: whether it reads the values of a tensor, which functions without host cannot do.
    changes: which inputs get a new value; the truth gives these last. results: how many new variables there are.
    """

    name: str
    code: str
    draw: Callable[[Draw], tuple[Sequence[str], dict[str, Any]] | None]
    truth: Truth | None = None
    dtype: str = "same"
    exact: str = "function"
    slopes: Callable[..., Sequence[Any]] | None = None
    pull: Callable[..., Sequence[Any]] | None = None
    elementwise: bool = False
    level: float = 0.0
    slope_level: float = 0.0
    reads: bool = False
    changes: tuple[int, ...] = ()
    results: int = 1
    weight: float = 1.0

    @property
    def theme(self) -> str:
        return self.name.partition(" ")[0]

    def statement(self, step: Step) -> str:
        words = {k: v for k, v in step.params}
        code = self.code.format(*step.inputs, **{k: repr(v) for k, v in words.items()}, raw=Raw(words))
        if not self.results:
            return code
        return f"{', '.join(step.outs[: self.results])} = {code}"


class Raw:
    """Parameters that stand in code as they are: {raw.index}."""

    def __init__(self, words: dict[str, Any]):
        self.__dict__.update(words)


#: (parameters, *dtypes of the inputs) → dtypes of all that the truth gives, or one for all of them
DTYPE_RULES: dict[str, Callable[..., str | Sequence[str]]] = {
    "same": lambda p, *d: d[0],
    "promoted": lambda p, *d: promoted(*d),
    "float": lambda p, *d: as_float(promoted(*d)),
    "statistics": lambda p, *d: statistics(d[0]),
    "all statistics": lambda p, *d: promoted(*map(statistics, d)),
    "number": lambda p, *d: promoted(*d, *(["number float" if isinstance(p["number"], float) else "number int"])),
    "number float": lambda p, *d: as_float(promoted(*d, "number float")),
    "counted": lambda p, *d: "int32" if promoted(*d) == "bool" else promoted(*d),
    "summed": lambda p, *d: "int32" if d[0] == "bool" else d[0],
    "product": lambda p, *d: promoted(*d) if promoted(*d) in (*FLOATS, "int64") else "int32",
    "and places": lambda p, *d: (d[0], "int32"),
    "param": lambda p, *d: p["dtype"],
    "each": lambda p, *d: d,
    "each and a count": lambda p, *d: (*d, "float32"),
    "second": lambda p, *d: promoted(*d[1:3]),
    "from second": lambda p, *d: d[1],
    "second and places": lambda p, *d: (d[1], "int32"),
    "first and statistics": lambda p, *d: (d[0], d[1], d[2]),
}

SHAPES = [
    (),
    (1,),
    (2,),
    (5,),
    (7,),
    (0,),
    (1, 1),
    (2, 3),
    (3, 5),
    (5, 2),
    (4, 1),
    (0, 3),
    (3, 0),
    (17, 4),
    (2, 3, 4),
    (3, 1, 5),
    (2, 5, 2),
]
IMAGES = [(1, 1, 4, 4), (2, 3, 5, 7), (1, 2, 6, 6), (2, 4, 5, 2), (3, 1, 9, 1), (1, 16, 5, 2), (0, 2, 4, 4)]
LARGE = [(4099,), (67, 129), (3, 1031), (2, 9, 33, 17)]
RANKED = {
    1: [(1,), (2,), (5,), (7,), (16,)],
    2: [(1, 1), (2, 3), (3, 5), (5, 2), (4, 1), (3, 3)],
    3: [(2, 3, 4), (3, 1, 5), (2, 5, 2)],
    4: IMAGES,
}


class Draw:
    """What a row draws from: random numbers, the variables that there are, new tensors from outside.

    settings: what the program is about: `dtypes`, `values`, how likely new sources, views and odd layouts are.
    """

    def __init__(self, random: np.random.Generator, settings: Any):
        self.random, self.settings = random, settings
        self.types: dict[str, tuple[tuple[int, ...], str]] = {}
        self.known: dict[str, Array] = {}
        self.sources: list[Source] = []
        self.fixed: set[str] = set()  # must not be changed
        self.apply: Callable[[str, Sequence[str], dict[str, Any]], str | None] = lambda row, inputs, params: None

    # -- random choices

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.random.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """low … high, both included."""
        return int(self.random.integers(low, high + 1))

    def axis(self, rank: int) -> int:
        axis = self.integer(0, rank - 1)
        return axis - rank if self.chance(0.3) else axis

    def axes(self, rank: int) -> Any:
        """None, an axis or several."""
        if rank == 0 or self.chance(0.2):
            return None
        if self.chance(0.6):
            return self.axis(rank)
        return tuple(sorted(int(a) for a in self.random.permutation(rank)[: self.integer(1, rank)]))

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        if rank is not None:
            return tuple(self.choice(RANKED[rank])) if rank else ()
        kind = self.random.random()
        return tuple(self.choice(LARGE if kind < self.settings.large else IMAGES if kind < 0.2 else SHAPES))

    def number(self, dtype: str = "float32", zero: bool = False) -> float | int:
        """A Python number: for integers sometimes one that does not fit."""
        if zero and self.chance(0.3):
            return self.choice([0, 0.0])
        if dtype not in FLOATS and self.chance(0.7):
            return self.choice([0, 1, 2, 3, -1, 5, 1000, -300, 70000] if self.chance(0.5) else [1, 2, 3])
        return self.choice([0.5, 2.0, -1.5, 0.25, 3.0, 1, 2, -1])

    # -- tensors

    def new(self, shape: Sequence[int], dtype: str, values: str | None = None, role: str | None = None) -> str:
        """A new tensor from outside of the function."""
        if values is None:
            values = self.choice(self.settings.values) if dtype in FLOATS else "mask" if dtype == "bool" else "small"
        role = role or (
            "argument" if self.chance(0.6) else "outside" if self.chance(0.7) or dtype not in FLOATS else "parameter"
        )
        layouts = ["plain"] * 3
        if self.chance(self.settings.layouts):
            layouts = [self.choice(layouts_for(shape))] * 3
            if role == "argument" and self.chance(0.3):
                layouts = [self.choice(layouts_for(shape)) for _ in range(3)]
        name = f"{role[0]}{len(self.sources)}"
        source = Source(name, role, tuple(map(int, shape)), dtype, tuple(layouts), values, self.integer(0, 999))
        self.sources.append(source)
        self.declare(source)
        return name

    def declare(self, source: Source) -> None:
        """Set by the generator."""
        raise NotImplementedError

    def fits(self, accept: Callable[[tuple[int, ...], str], bool]) -> list[str]:
        return [name for name, (shape, dtype) in self.types.items() if accept(shape, dtype)]

    def tensor(
        self,
        dtypes: Sequence[str] | None = None,
        ranks: Sequence[int] | None = None,
        empty: bool = True,
        most: int = 20000,
    ) -> str:
        """Some tensor, preferably one that was made lately."""

        def accept(shape: tuple[int, ...], dtype: str) -> bool:
            size = int(np.prod(shape))
            return (
                (dtypes is None or dtype in dtypes)
                and (ranks is None or len(shape) in ranks)
                and (empty or size > 0)
                and size <= most
            )

        names = self.fits(accept)
        if names and not self.chance(self.settings.new):
            place = len(names) - 1 - int(min(self.random.exponential(1.2), len(names) - 1))
            return self.viewed(names[place])
        allowed = [d for d in self.settings.dtypes if dtypes is None or d in dtypes] or list(dtypes or ["float32"])
        while True:
            shape = self.shape(None if ranks is None else self.choice(list(ranks)))
            if accept(shape, allowed[0]):
                return self.viewed(self.new(shape, self.choice(allowed)))

    def floating(self, **options: Any) -> str:
        return self.tensor(FLOATS, **options)

    def integral(self, **options: Any) -> str:
        return self.tensor(INTS, **options)

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self.types[name][0]

    def dtype_of(self, name: str) -> str:
        return self.types[name][1]

    def like(self, shape: Sequence[int], dtypes: Sequence[str], values: str | None = None, new: bool = False) -> str:
        """A tensor of this shape: one that is there, or a new one."""
        names = [] if new or values else self.fits(lambda s, d: s == tuple(shape) and d in dtypes)
        if names and self.chance(0.7):
            return self.viewed(self.choice(names))
        allowed = [d for d in dtypes if d in self.settings.dtypes] or list(dtypes)
        return self.viewed(self.new(shape, self.choice(allowed), values))

    def partner(self, name: str, dtypes: Sequence[str]) -> str:
        """A tensor that broadcasts against another one."""
        shape = self.shape_of(name)
        own = self.dtype_of(name)
        same = (
            (own,)
            if own in dtypes and self.chance(0.75)
            else tuple(d for d in dtypes if d in self.settings.dtypes) or dtypes
        )
        if self.chance(0.65):
            return self.like(shape, same)
        short = [1 if self.chance(0.5) else s for s in shape][self.integer(0, len(shape)) :]
        return self.like(short, same)

    def viewed(self, name: str) -> str:
        """The tensor itself, or sometimes a view of one with other contents but the same shape and dtype."""
        if not self.chance(self.settings.views):
            return name
        shape, dtype = self.types[name]
        if not shape or 0 in shape:
            return name
        made: str | None = None
        kind = self.random.random()
        if kind < 0.45:
            index = ", ".join("::-1" if self.chance(0.5) else ":" for _ in shape)
            made = self.apply("view index", [name], {"index": index})
        elif kind < 0.6 and len(set(shape)) < len(shape):
            for a in range(len(shape)):
                for b in range(a + 1, len(shape)):
                    if shape[a] == shape[b] and made is None:
                        made = self.apply("view swapaxes", [name], {"axis1": a, "axis2": b})
        else:
            widths = tuple((self.integer(0, 2), self.integer(0, 1)) for _ in shape)
            fill = self.choice([0.0, 0.0, 1.0, 0.5 if dtype in FLOATS else 2.0]) if dtype != "bool" else 0.0
            padded = self.apply("view pad", [name], {"widths": widths, "fill": fill})
            if padded is not None:
                cut = [self.integer(0, b + a) for b, a in widths]
                index = ", ".join(f"{c}:{c + s}" for c, s in zip(cut, shape, strict=True))
                made = self.apply("view index", [padded], {"index": index})
        return made or name
