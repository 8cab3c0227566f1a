"""What goes wrong in traced functions, and where in the user's program."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_EXAMPLES = str(Path(_PACKAGE, "examples"))


class TraceError(RuntimeError):
    """A call of a traced function does what its recording cannot say."""


def user_line() -> str:
    """Where the program that uses tengen stands: "file:line" of the innermost frame outside of the package."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) or name.startswith(_EXAMPLES):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
