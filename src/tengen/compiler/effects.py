"""Order between nodes that no value they read would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .program import Host, Type, Value, ViewOp
from .view import View


class After(ViewOp):
    """Input 0, available only after input 1, the token, has been computed.

    It makes a recomputation wait until its result is about to be needed. Because it is another value than input 0, the
    recomputation is not merged with the original. It is also how to read a value that something other than a kernel
    writes in the meantime.
    """

    waits: ClassVar[bool] = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types[:1]

    def view(self, view: View) -> View | None:
        return view


class Begun(Host, abstract=True):
    """A Python function that fills its outputs after it has returned, until another one that waits for it. A GPU's values are copied back when
    it returns, so it must have ended then."""

    def in_ops(self, *inputs: Value) -> Sequence[Value]:
        """The outputs from an op that has ended when its function returns."""
        raise NotImplementedError
