"""The kind of op that repeats another one along an axis."""

from __future__ import annotations

from collections.abc import Sequence

from .program import Op, Type


class Loop(Op, abstract=True):
    """Applies `body` at each place along axis 0, from the first to the last, or if `reverse` the other way.

    Inputs: `states` values that each step takes over from the one before; `sequences` values of which each step sees
    its place along axis 0; and others, which are the same in all steps. The body returns, in this order, the new states
    and any other values. An output is what the body returned at all places, along axis 0; for the last `running` states
    it is the final value.
    """

    body: Op
    states: int
    sequences: int
    running: int
    reverse: bool

    def keeps_last(self, output: int) -> bool:
        """Whether an output is a final value."""
        return self.states - self.running <= output < self.states

    def step_types(self, types: Sequence[Type]) -> list[Type]:
        """The types of the body's inputs."""
        inside = range(self.states, self.states + self.sequences)
        return [t._replace(shape=t.shape[1:]) if i in inside else t for i, t in enumerate(types)]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        end = self.states + self.sequences
        if not 0 <= self.running <= self.states or not self.states < end <= len(types):
            raise ValueError(
                f"{self.name}: {len(types)} inputs are no {self.states} states and {self.sequences} sequences"
            )
        along = {t.shape[:1] for t in types[self.states : end]}
        if len(along) != 1 or () in along:
            raise ValueError(f"{self.name}: sequences must have one extent along axis 0, got {sorted(along)}")
        ((count,),) = along
        made = self.body.infer(*self.step_types(types))
        if made[: self.states] != types[: self.states]:
            states = [", ".join(map(str, found[: self.states])) for found in (types, made)]
            raise ValueError(f"{self.name}: a step makes of the states {states[0]} the states {states[1]}")
        return tuple(t if self.keeps_last(i) else t._replace(shape=(count, *t.shape)) for i, t in enumerate(made))
