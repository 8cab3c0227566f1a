"""Code run in a process of its own that may take only so much memory."""

from __future__ import annotations

import subprocess
import sys

_BEFORE = """
import resource, sys
import numpy as np
import tengen
import tengen.functional as F
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()

def limit(mebibytes):
    resource.setrlimit(resource.RLIMIT_AS, (taken + (mebibytes << 20),) * 2)
"""


def run(code: str, mebibytes: int | None = None, data: bytes = b"", seconds: float = 120) -> str:
    """What the code prints. It finds `tengen`, `F` and `np`, and may take so many more MiB, or calls `limit` itself; `data` is its standard input."""
    limited = "" if mebibytes is None else f"limit({mebibytes})\n"
    done = subprocess.run(
        [sys.executable, "-c", _BEFORE + limited + code], input=data, capture_output=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}:\n{done.stderr.decode()[-3000:]}"
    return done.stdout.decode()
