"""Where the program that uses tengen stands, and warnings that point there."""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_EXAMPLES = os.path.join(_PACKAGE, "examples") + os.sep


class UsageWarning(UserWarning):
    """Something was done that gives a result, but hardly the one that was wanted. The message says what to do instead."""


def is_ours(filename: str) -> bool:
    """Whether a file of code is a part of tengen; its examples are programs that use it."""
    return filename.startswith(_PACKAGE) and not filename.startswith(_EXAMPLES)


def user_frame() -> FrameType:
    """The innermost frame outside of tengen; the outermost of all if there is none."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def warn(message: str) -> None:
    """Show a UsageWarning for the user's line: once for each line, unless warning filters say otherwise."""
    frame = user_frame()
    module, registry = frame.f_globals.get("__name__"), frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, UsageWarning, frame.f_code.co_filename, frame.f_lineno, module, registry)
