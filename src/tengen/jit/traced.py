"""The op that a traced function becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..compiler.program import Type, Value
from ..core.recorded import Recorded


class StaleTrace(Exception):
    """A tensor that a traced function uses has another shape or dtype than when it was recorded."""


class Traced(Recorded):
    """A recorded function. Its Program says what it does for one set of types only."""

    keeps_plans: ClassVar[bool] = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        self._check(types)
        return super().infer(*types)

    def expand(self, *inputs: Value) -> Sequence[Value]:
        self._check([v.type for v in inputs])
        return super().expand(*inputs)

    def _check(self, types: Sequence[Type]) -> None:
        if not self.takes(types):
            raise StaleTrace(self.title)
