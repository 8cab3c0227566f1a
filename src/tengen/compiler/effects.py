"""Order among nodes where no value that is read says it."""

from __future__ import annotations

from typing import ClassVar

from .program import Type, ViewOp
from .view import View


class After(ViewOp):
    """Input 0; what reads it runs after input 1, the token, has been computed.

    It makes a recomputation wait until its result is about to be needed, and as it is another value than input 0, the
    recomputation is not taken for what it repeats. And it is how a value is read that something else than a kernel writes meanwhile.
    """

    waits: ClassVar[bool] = True

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types[:1]

    def view(self, view: View) -> View | None:
        return view
