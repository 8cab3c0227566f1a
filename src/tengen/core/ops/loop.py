"""Loops over axis 0 of values, and their gradients, which are loops in the other direction."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.loop import Loop
from ...compiler.program import Composite, Op, Value, record
from ..gradient import backward
from .base import FLOATS, Grads
from .shape import Concatenate, Slice, reshape, zeros_of


class Scan(Loop):
    """See Loop. Inputs are `states`, `sequences` and others; outputs are the new states and everything else that `body`
    makes."""

    body: Op
    states: int
    sequences: int
    running: int = 0
    reverse: bool = False

    @property
    def name(self) -> str:
        return self.body.name

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        states, sequences = inputs[: self.states], inputs[self.states : self.states + self.sequences]
        others = inputs[self.states + self.sequences :]
        if not sequences[0].shape[0]:
            finals = [grads[i] if self.keeps_last(i) else None for i in range(self.states)]
            return [*finals, *(zeros_of(v) for v in (*sequences, *others))]
        if self.running:  # their values at all places are wanted
            outputs = record(Scan(self.body, self.states, self.sequences, 0, self.reverse), *inputs)
        before = [previous(out, first, self.reverse) for out, first in zip(outputs, states, strict=False)]
        last = [self.keeps_last(i) for i in range(len(outputs))]
        # The gradients of a state come from the next step, and from its own place in the output.
        given = [g is not None and not final for g, final in zip(grads, last, strict=True)]
        start = [
            g if g is not None and final else zeros_of(v) for g, final, v in zip(grads, last, states, strict=False)
        ]
        varying = tuple(v.dtype in FLOATS for v in others)
        sums = [zeros_of(v) for v, varies in zip(others, varying, strict=True) if varies]
        body = PulledStep(self.body, self.states, self.sequences, tuple(given), varying)
        along = [
            *before,
            *sequences,
            *outputs,
            *(g for g, here in zip(grads, given, strict=True) if here and g is not None),
        ]
        carried = len(start) + len(sums)
        made = Scan(body, carried, len(along), carried, not self.reverse)(*start, *sums, *along, *others)
        totals = iter(made[len(start) : carried])
        return [
            *made[: len(start)],
            *(v if x.dtype in FLOATS else None for v, x in zip(made[carried:], sequences, strict=True)),
            *(next(totals) if varies else None for varies in varying),
        ]


class PulledStep(Composite):
    """One step of the gradient of a Scan.

    Inputs: the gradients of the states after the step; the sums so far of the gradients of those others that have one;
    the states before the step; its place of the sequences; what the body made of them; the gradients of those of its
    outputs that are `given`; the others. Outputs: the gradients of the states before the step; the new sums; the
    gradients of the sequences.
    """

    body: Op
    states: int
    sequences: int
    given: tuple[bool, ...]
    varying: tuple[bool, ...]

    @property
    def name(self) -> str:
        return f"grad_{self.body.name}"

    def expand(self, *inputs: Value) -> Sequence[Value]:
        def take(count: int) -> list[Value]:
            return [next(rest) for _ in range(count)]

        rest = iter(inputs)
        after, sums = take(self.states), take(sum(self.varying))
        xs, ys = take(self.states + self.sequences), take(len(self.given))
        grads: list[Value | None] = [next(rest) if here else None for here in self.given]
        others = list(rest)
        for i, g in enumerate(after):
            own = grads[i]
            grads[i] = g if own is None else own + g
        found = self._pulled([*xs, *others], ys, grads)
        of_others = [g for g, varies in zip(found[len(xs) :], self.varying, strict=True) if varies]
        added = [total + g for total, g in zip(sums, of_others, strict=True)]
        return [*found[: self.states], *added, *found[self.states : len(xs)]]

    def _pulled(self, xs: Sequence[Value], ys: Sequence[Value], grads: Sequence[Value | None]) -> list[Value]:
        """The gradients of the inputs of a step, by the gradient rules of the body's ops."""
        types = tuple([v.type for v in xs]), tuple([v.type for v in ys])
        needs, present = tuple([v.dtype in FLOATS for v in xs]), tuple([g is not None for g in grads])
        pulled, slots = backward(self.body, *types, needs, present), [*xs, *ys, *grads]
        made = record(pulled.op, *(slots[a] for a in pulled.args)) if pulled.op else ()
        known = dict(zip(pulled.results, made, strict=True))
        return [known[i] if i in known else zeros_of(v) for i, v in enumerate(xs)]


def previous(made: Value, first: Value, reverse: bool) -> Value:
    """The value of a state before each step, from its values after each step and before the first."""
    count, one = made.shape[0], (1,) * made.ndim
    start = (1 if reverse else 0, *(0,) * (made.ndim - 1))
    rest = Slice(start, (count - 1, *made.shape[1:]), one)(made)
    first = reshape(first, (1, *first.shape))
    return Concatenate(0)(rest, first) if reverse else Concatenate(0)(first, rest)


def at_end(made: Value, first: Value, reverse: bool) -> Value:
    """The value of a state after the last step."""
    count = made.shape[0]
    if not count:
        return first
    start = (0 if reverse else count - 1, *(0,) * (made.ndim - 1))
    return reshape(Slice(start, (1, *made.shape[1:]), (1,) * made.ndim)(made), made.shape[1:])
