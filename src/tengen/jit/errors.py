"""What goes wrong in traced functions, and where in the user's program."""

from __future__ import annotations

import os
import sys

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EXAMPLES = os.path.join(_PACKAGE, "examples")


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
