"""The op that a traced function becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ..compiler.program import Builder, Program, Type, Value
from ..compiler.view import View
from ..core.recorded import Recorded
from .memory import MemoryLimit


class StaleTrace(Exception):
    """A tensor that a traced function uses has another shape or dtype than when it was recorded."""


class Traced(Recorded):
    """A recorded function. Its Program, of primitive ops, says what it does for one set of types only. memory: a limit on what it
    takes. profiling: each run keeps the times of its steps.
    """

    memory: MemoryLimit | None = None
    profiling: bool = False
    keeps_plans: ClassVar[bool] = True

    @property
    def profiled(self) -> bool:
        return self.profiling

    def prepared(self, views: Sequence[View]) -> Program:
        return self.memory.apply(self.title, self.program, views) if self.memory else self.program

    def compose(self, make: Callable[[], Program]) -> None:
        """Say how to make the same Program of the ops that the function applied: differentiation finds their own rules there."""
        self.__dict__["_composed"] = make

    def infer(self, *types: Type) -> tuple[Type, ...]:
        self._check(types)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        self._check([v.type for v in inputs])
        return super().expand(*inputs)

    def formula(self, builder: Builder) -> Program:
        make: Callable[[], Program] | None = self.__dict__.get("_composed")
        return make() if builder.keep_rules and make is not None else self.program

    def _check(self, types: Sequence[Type]) -> None:
        if not self.takes(types):
            raise StaleTrace(self.title)
