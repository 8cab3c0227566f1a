"""Sums of products in Einstein's notation: diagonals, sums, transposes, and the contraction of two operands at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from math import prod
from typing import NamedTuple

from ...base.dtype import COMPLEX
from ...compiler.program import Type, Value, ViewOp
from ...compiler.view import View
from .base import FLOATS, INTS, Formula, Grads, promoted
from .elemwise import cast
from .linalg import MatMul, Product
from .reduce import total
from .shape import PlaceView, broadcast, reshape, transpose, zeros_of

Labels = frozenset[str | int]
MOST_EXACT = 7
"""Up to this many operands, all orders are compared."""


class Diagonal(ViewOp):
    """The elements whose indices along dims `first` and `second` are equal. The first dim stays, the second goes."""

    first: int
    second: int

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if x.shape[self.first] != x.shape[self.second] or not 0 <= self.first < self.second:
            raise ValueError(
                f"a diagonal takes two dims of one extent, not {self.first} and {self.second} of {x.shape}"
            )
        return (Type(x.dtype, self._without(x.shape)),)

    def view(self, view: View) -> View | None:
        edges = tuple(e._replace(coefficients=self._merged(e.coefficients)) for e in view.edges)
        return view._replace(shape=self._without(view.shape), strides=self._merged(view.strides), edges=edges)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and PlaceView(self, "set")(zeros_of(inputs[0]), grads[0])]

    def _without(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        return numbers[: self.second] + numbers[self.second + 1 :]

    def _merged(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        moved = list(numbers)
        moved[self.first] += numbers[self.second]
        return self._without(tuple(moved))


class Term(NamedTuple):
    """A value whose dims have these labels, each once: letters, or negative numbers, with -1 for the last dim of an
    ellipsis."""

    value: Value
    labels: tuple[str | int, ...]

    def extent(self, label: str | int) -> int:
        return self.value.shape[self.labels.index(label)]

    def ordered(self, labels: Sequence[str | int]) -> Value:
        """The term with its dims in this order."""
        return transpose(self.value, [self.labels.index(label) for label in labels])

    def summed(self, labels: Iterable[str | int]) -> Term:
        """The term summed over the dims of these labels."""
        gone = [d for d, label in enumerate(self.labels) if label in set(labels)]
        if not gone:
            return self
        kept = [d for d in range(len(self.labels)) if d not in gone]
        value = reshape(total(self.value, gone), [self.value.shape[d] for d in kept])
        return Term(value, tuple(self.labels[d] for d in kept))


class Einsum(Formula):
    """The sum of products that `equation` describes, by NumPy's rules."""

    equation: str

    name = "einsum"

    def expand(self, *inputs: Value) -> Value:
        labels, output = parse(self.equation, [x.shape for x in inputs])
        if len(inputs) > 1:
            dtype = promoted("einsum", [x.type for x in inputs])
            dtype = dtype if dtype in (*FLOATS, COMPLEX, "int64") else "int32"
            inputs = tuple(cast(x, dtype) for x in inputs)
        terms = [_diagonals(x, own) for x, own in zip(inputs, labels, strict=True)]
        for pair in order([t.labels for t in terms], [t.value.shape for t in terms], output):
            second, first = (terms.pop(i) for i in sorted(pair, reverse=True))
            terms.append(_contracted(first, second, {*output, *(label for t in terms for label in t.labels)}))
        (made,) = terms
        return made.summed(set(made.labels) - set(output)).ordered(output)


# -- the equation --------------------------------------------------------------------------------------------------


def parse(
    equation: str, shapes: Sequence[tuple[int, ...]]
) -> tuple[list[tuple[str | int, ...]], tuple[str | int, ...]]:
    """The labels of the dims of each operand and of the result. Raises ValueError saying what is wrong."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {equation!r} is for {len(terms)} operands, got {len(shapes)}")
    labels = [_labels(equation, term, shape) for term, shape in zip(terms, shapes, strict=True)]
    widest = max((-label for own in labels for label in own if isinstance(label, int)), default=0)
    dots: tuple[str | int, ...] = tuple(range(-widest, 0))
    if not arrow:
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        output = (*dots, *once)
    else:
        before, ellipsis, after = right.partition("...")
        if widest and not ellipsis:
            raise ValueError(
                f"einsum: the result of {equation!r} needs an ellipsis for the dimensions of that of operands"
            )
        output = (*before, *(dots if ellipsis else ()), *after)
        known = {label for own in labels for label in own}
        for label in (*before, *after):
            if label not in known or output.count(label) > 1:
                reason = "named twice in" if label in known else "in no operand but in"
                raise ValueError(f"einsum: {label!r} is {reason} the result of {equation!r}")
    _check_extents(equation, labels, shapes)
    return labels, output


def _labels(equation: str, term: str, shape: tuple[int, ...]) -> tuple[str | int, ...]:
    before, ellipsis, after = term.partition("...")
    for c in before + after:
        if not (c.isascii() and c.isalpha()):
            raise ValueError(f"einsum: {c!r} in {equation!r} is not a letter, a comma, '->' or '...'")
    free = len(shape) - len(before) - len(after)
    if free < 0 or (free and not ellipsis):
        raise ValueError(
            f"einsum: {term!r} in {equation!r} does not match the {len(shape)} dimensions of shape {shape}"
        )
    return (*before, *range(-free, 0), *after)


def _check_extents(equation: str, labels: Sequence[tuple[str | int, ...]], shapes: Sequence[tuple[int, ...]]) -> None:
    """The extent of each label; a 1 in an operand is stretched."""
    known: dict[str | int, int] = {}
    for own, shape in zip(labels, shapes, strict=True):
        here: dict[str | int, int] = {}
        for label, extent in zip(own, shape, strict=True):
            if here.setdefault(label, extent) != extent or (extent != 1 and known.setdefault(label, extent) != extent):
                other = here[label] if here[label] != extent else known[label]
                shown = "the ellipsis" if isinstance(label, int) else repr(label)
                raise ValueError(
                    f"einsum: {shown} in {equation!r} is {other} and {extent}: shapes {', '.join(map(str, shapes))}"
                )


def _diagonals(x: Value, labels: tuple[str | int, ...]) -> Term:
    """The operand with each label once."""
    own = list(labels)
    for label in dict.fromkeys(labels):
        while own.count(label) > 1:
            first = own.index(label)
            second = own.index(label, first + 1)
            x = Diagonal(first, second)(x)
            del own[second]
    return Term(x, tuple(own))


# -- two at a time -------------------------------------------------------------------------------------------------


def order(
    labels: Sequence[tuple[str | int, ...]], shapes: Sequence[tuple[int, ...]], output: Sequence[str | int]
) -> list[tuple[int, int]]:
    """Which two of the remaining terms are contracted at each step. Their result is appended at the end.

    For few terms the order with the fewest multiplications is taken; for many, the best pair at each step.
    """
    extents: dict[str | int, int] = {}
    for own, shape in zip(labels, shapes, strict=True):
        for label, extent in zip(own, shape, strict=True):
            extents[label] = max(extent, extents.get(label, 0))
    result, terms = frozenset(output), [frozenset(own) for own in labels]

    @cache
    def best(terms: tuple[Labels, ...], exact: bool) -> tuple[int, tuple[int, int]]:
        """The fewest products of all steps from here on, and the first of these steps. Unless `exact`, of one step
        only."""
        found = []
        for pair in combinations(range(len(terms)), 2):
            cost = prod([extents[label] for label in terms[pair[0]] | terms[pair[1]]])
            rest = _after(terms, pair, result)
            found.append((cost + (best(tuple(rest), True)[0] if exact and len(rest) > 1 else 0), pair))
        return min(found)

    steps = []
    while len(terms) > 1:
        _, pair = best(tuple(terms), len(terms) <= MOST_EXACT)
        terms = _after(terms, pair, result)
        steps.append(pair)
    return steps


def _after(terms: Sequence[Labels], pair: tuple[int, int], output: Labels) -> list[Labels]:
    """The terms after these two have become one."""
    rest = [t for i, t in enumerate(terms) if i not in pair]
    kept = output.union(*rest)
    return [*rest, (terms[pair[0]] | terms[pair[1]]) & kept]


def _contracted(a: Term, b: Term, kept: set[str | int]) -> Term:
    """The product of two terms, summed over the labels that neither the result nor another term has."""
    a, b = a.summed(set(a.labels) - set(b.labels) - kept), b.summed(set(b.labels) - set(a.labels) - kept)
    for label in set(a.labels) & set(b.labels) - kept:
        if a.extent(label) != b.extent(label):  # A 1 is stretched, so it is a factor of the sum of the other term
            a, b = a.summed([label]), b.summed([label])
    shared = [label for label in a.labels if label in b.labels]
    batch, summed = [x for x in shared if x in kept], [x for x in shared if x not in kept]
    left, right = [x for x in a.labels if x not in shared], [x for x in b.labels if x not in shared]
    labels = (*batch, *left, *right)
    if not summed or not (left or right):
        x, y = a.ordered([*batch, *left, *summed]), b.ordered([*batch, *right, *summed])
        x = reshape(x, (*x.shape[: len(batch) + len(left)], *[1] * len(right), *x.shape[len(batch) + len(left) :]))
        y = reshape(y, (*y.shape[: len(batch)], *[1] * len(left), *y.shape[len(batch) :]))
        return Term(x * y, (*labels, *summed)).summed(summed)
    stretched = tuple(max(a.extent(x), b.extent(x)) if min(a.extent(x), b.extent(x)) else 0 for x in batch)
    x = _matrices(a, batch, left, summed, stretched)
    y = _matrices(b, batch, summed, right, stretched)
    product = Product()(x, y) if x.dtype in INTS else MatMul()(x, y)
    return Term(reshape(product, (*stretched, *map(a.extent, left), *map(b.extent, right))), labels)


def _matrices(
    term: Term,
    batch: Sequence[str | int],
    rows: Sequence[str | int],
    columns: Sequence[str | int],
    stretched: tuple[int, ...],
) -> Value:
    """A matrix for each place along `batch`, which is one dim or none."""
    value = broadcast(
        term.ordered([*batch, *rows, *columns]), (*stretched, *map(term.extent, rows), *map(term.extent, columns))
    )
    whole = [prod(stretched)] if batch else []
    return reshape(value, [*whole, prod(map(term.extent, rows)), prod(map(term.extent, columns))])
