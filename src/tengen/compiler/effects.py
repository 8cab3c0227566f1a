"""Order between nodes that no value they read would give."""

from __future__ import annotations

from typing import ClassVar

from .program import Type, ViewOp
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
