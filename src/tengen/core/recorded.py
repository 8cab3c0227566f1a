"""Programs as ops: a recorded Program runs, and is differentiated, like any other op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..compiler.program import Builder, Composite, Op, Program, Type, Value
from ..compiler.values import replay
from ..compiler.view import View

if TYPE_CHECKING:
    from ..compiler.kernels.target import Target


class Recorded(Composite):
    """An op whose formula is a recorded Program, such as the backward of another op."""

    title: str
    program: Program

    @property
    def name(self) -> str:
        return self.title

    @property
    def effect(self) -> bool:
        found = self.__dict__.get("_effect")
        if found is None:
            found = self.__dict__["_effect"] = any(node.op.effect for node in self.program.nodes)
        return bool(found)

    def takes(self, types: Sequence[Type]) -> bool:
        """Whether the Program was recorded for these types."""
        return tuple(types) == tuple(v.type for v in self.program.inputs)

    def as_program(
        self, types: Sequence[Type], views: Sequence[View] | None = None, target: Target | None = None
    ) -> Program:
        return self.program if self.takes(types) else super().as_program(types, views, target)

    def blamed(self, inner: Op) -> Op:
        return inner

    def infer(self, *types: Type) -> tuple[Type, ...]:
        if self.takes(types):
            return tuple(v.type for v in self.program.outputs)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        return replay(self.formula(inputs[0].builder), inputs[0].builder, inputs)

    def expand_on(self, inputs: Sequence[Value], results: Sequence[Value]) -> Sequence[Value]:
        """`expand` if the results are known: computations that start from a result use the given value."""
        builder = inputs[0].builder
        program = self.formula(builder)
        return replay(program, builder, inputs, dict(zip(program.outputs, results, strict=True)))

    def formula(self, builder: Builder) -> Program:
        """The Program to record in a builder."""
        return self.program
