"""The op that a traced function becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import _rt
from ..compiler.plan import Plan
from ..compiler.program import Builder, CompileLog, Program, Type, Value
from ..compiler.view import View
from ..core.recorded import Recorded
from .attention import with_attention
from .memory import MemoryLimit

if TYPE_CHECKING:
    from ..compiler.kernels.target import Target


class StaleTrace(Exception):
    """A tensor that a traced function uses has another shape or dtype than when it was recorded."""


class Compiled(NamedTuple):
    """A Plan of a traced function, for inputs that lie like these views, compiled (or found on the disk) in this many
    seconds. target: what for; None: this machine's CPU. runtime: what runs it, if it is timed."""

    views: tuple[View, ...]
    plan: Plan
    seconds: float
    target: Target | None = None
    runtime: _rt.Plan | None = None


class PlanLog(CompileLog):
    """The Plans of a traced function, for people to see. timed: whether each run keeps the times of its steps."""

    def __init__(self, timed: bool = False):
        self.timed = timed
        self.plans: list[Compiled] = []

    def add(self, views: Sequence[View], plan: Plan, seconds: float, runtime: _rt.Plan, target: Target | None) -> None:
        self.plans.append(Compiled(tuple(views), plan, seconds, target, runtime if self.timed else None))


class Traced(Recorded):
    """A recorded function. Its Program, of primitive ops, is valid for one set of types only.

    plan_log: where its Plans are noted. composed: makes the same Program from the ops that the function applied, in
    which differentiation finds their own rules. memory: a limit on what it takes.
    """

    plan_log: PlanLog
    composed: Callable[[], Program] | None = None
    memory: MemoryLimit | None = None

    @property
    def log(self) -> PlanLog:
        return self.plan_log

    def as_program(
        self, types: Sequence[Type], views: Sequence[View] | None = None, target: Target | None = None
    ) -> Program:
        program = with_attention(super().as_program(types, views, target))
        if not self.memory or not views or not self.takes(types):
            return program
        return self.memory.apply(self.title, program, views, target)

    def infer(self, *types: Type) -> tuple[Type, ...]:
        self._check(types)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        self._check([v.type for v in inputs])
        return super().expand(*inputs)

    def formula(self, builder: Builder) -> Program:
        return self.composed() if builder.keep_rules and self.composed else self.program

    def _check(self, types: Sequence[Type]) -> None:
        if not self.takes(types):
            raise StaleTrace(self.title)
