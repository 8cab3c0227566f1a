"""Tracebacks as users of tengen want them: the lines of their program, without tengen's own in between."""

from __future__ import annotations

import sys
from opcode import opmap
from types import TracebackType

from . import config
from .usage import is_ours

_RAISE = opmap["RAISE_VARARGS"]

# The classes of errors with which tengen refuses a call. Any other, such as AssertionError, is a fault of tengen itself.
_ABOUT_CALLS = (TypeError, ValueError, IndexError, RuntimeError, MemoryError, ArithmeticError)

# Packages that tengen itself calls: what goes wrong there is a fault of tengen as well.
_MEANS = sys.stdlib_module_names | {"numpy", "llvmlite"}


def shorten(error: BaseException) -> None:
    """Take the frames of tengen out of the traceback of `error`, all but the first.

    For `except` clauses, which go on with a bare `raise`: the first frame is the one that they stand in, and an error that passes
    costs nothing where none does. Nothing is done to what shows a fault of tengen, and with `config.traceback = "full"`.
    """
    first = error.__traceback__
    if first is not None and _may_shorten(error, first):
        first.tb_next = _without_ours(first.tb_next)


def crossing(error: BaseException, traceback: TracebackType | None) -> TracebackType | None:
    """The traceback that an error leaves the runtime with, which has come from what the runtime called, or from itself."""
    if traceback is None:
        error.__dict__["_tengen_refused"] = True
        return None
    return _without_ours(traceback) if _may_shorten(error, traceback) else traceback


def _may_shorten(error: BaseException, traceback: TracebackType) -> bool:
    if isinstance(error, RecursionError) or config.get("traceback") == "full":
        return False
    last, caller = traceback, None
    while True:
        if is_ours(last.tb_frame.f_code.co_filename):
            caller = last
        if last.tb_next is None:
            break
        last = last.tb_next
    if caller is None:
        return False
    if caller.tb_next is not None:  # raised outside tengen: in the user's code, or in a package that tengen uses
        return caller.tb_next.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _MEANS
    if not isinstance(error, _ABOUT_CALLS):
        return False
    if last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE:
        # The frame that shows it may be removed now, and the error may pass here again.
        error.__dict__["_tengen_refused"] = True
    return "_tengen_refused" in error.__dict__


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    head: TracebackType | None = None
    last: TracebackType | None = None
    while traceback is not None:
        following = traceback.tb_next
        if not is_ours(traceback.tb_frame.f_code.co_filename):
            if last is None:
                head = traceback
            elif last.tb_next is not traceback:
                last.tb_next = traceback
            last = traceback
        traceback = following
    if last is not None and last.tb_next is not None:
        last.tb_next = None
    return head
