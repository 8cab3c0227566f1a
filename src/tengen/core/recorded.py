"""Programs as ops: what was recorded runs, and is differentiated, like any other op."""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.program import Composite, Program, Type, Value, replay


class Recorded(Composite):
    """An op whose formula is a Program that was recorded, such as the backward of another op."""

    title: str
    program: Program

    @property
    def name(self) -> str:
        return self.title

    def takes(self, types: Sequence[Type]) -> bool:
        """Whether these are the types for which the Program was recorded."""
        return tuple(types) == tuple(v.type for v in self.program.inputs)

    def infer(self, *types: Type) -> tuple[Type, ...]:
        if self.takes(types):
            return tuple(v.type for v in self.program.outputs)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        return replay(self.program, inputs[0].builder, inputs)
