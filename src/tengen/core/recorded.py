"""Programs as ops: what was recorded runs, and is differentiated, like any other op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from .. import _rt
from ..compiler.plan import Plan
from ..compiler.program import Builder, Composite, Program, Type, Value
from ..compiler.values import replay
from ..compiler.view import View


class Compiled(NamedTuple):
    """A Plan of a recorded op: for inputs with these strides, compiled (or found on the disk) in so many seconds. runtime: what runs, of
    an op that is profiled."""

    strides: tuple[tuple[int, ...], ...]
    plan: Plan
    seconds: float
    runtime: _rt.Plan | None = None


class Recorded(Composite):
    """An op whose formula is a Program that was recorded, such as the backward of another op."""

    title: str
    program: Program
    keeps_plans: ClassVar[bool] = False
    """Whether `plans` are for somebody to see."""

    @property
    def name(self) -> str:
        return self.title

    @property
    def effect(self) -> bool:
        found = self.__dict__.get("_effect")
        if found is None:
            found = self.__dict__["_effect"] = any(node.op.effect for node in self.program.nodes)
        return bool(found)

    @property
    def profiled(self) -> bool:
        """Whether its Plans keep the times of their steps."""
        return False

    @property
    def plans(self) -> list[Compiled]:
        """The Plans that this has been compiled to, if it keeps them."""
        plans: list[Compiled] = self.__dict__.setdefault("_plans", [])
        return plans

    def takes(self, types: Sequence[Type]) -> bool:
        """Whether these are the types for which the Program was recorded."""
        return tuple(types) == tuple(v.type for v in self.program.inputs)

    def prepared(self, views: Sequence[View]) -> Program:
        """What is compiled to run it on inputs that lie like `views`."""
        return self.program

    def infer(self, *types: Type) -> tuple[Type, ...]:
        if self.takes(types):
            return tuple(v.type for v in self.program.outputs)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        return replay(self.formula(inputs[0].builder), inputs[0].builder, inputs)

    def expand_on(self, inputs: Sequence[Value], results: Sequence[Value]) -> Sequence[Value]:
        """The same where the results are known: what is computed from one of them starts from that."""
        builder = inputs[0].builder
        program = self.formula(builder)
        return replay(program, builder, inputs, dict(zip(program.outputs, results, strict=True)))

    def formula(self, builder: Builder) -> Program:
        """The Program to record in a builder."""
        return self.program
