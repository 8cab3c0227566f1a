"""Errors of traced functions, and where in the user's program they occur."""

from __future__ import annotations

from ..base.usage import user_frame


class TraceError(RuntimeError):
    """A call of a traced function does what its recording cannot say.

    >>> from tengen.jit import TraceError
    >>> issubclass(TraceError, RuntimeError)
    True
    """


def user_line() -> str:
    """Where the user's program is: "file:line" of the innermost frame outside the package."""
    frame = user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
