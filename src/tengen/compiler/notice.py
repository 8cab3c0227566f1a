"""The one line that a process writes when compiling takes long."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..base import config

LONG = 2.0  # seconds

_kernels, _seconds = 0, 0.0


def add(seconds: float, folder: str | None) -> None:
    """One more kernel was compiled in this time, and is kept in the folder, if there is one."""
    global _kernels, _seconds
    before = _seconds
    _kernels, _seconds = _kernels + 1, _seconds + seconds
    if before <= LONG < _seconds and config.get("compile_notice"):
        kept = f"They are kept in {folder} for the next time" if folder else "They are not kept: no folder can be used"
        text = f"tengen: compiling for this machine, {_kernels} kernels in {_seconds:.1f} s so far. {kept}"
        with suppress(OSError, ValueError, AttributeError):  # without a stderr there is nobody to tell
            print(f"{text} (TENGEN_COMPILE_NOTICE=0 or config.compile_notice = False hides this).", file=sys.stderr)
