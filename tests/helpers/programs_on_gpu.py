"""Short programs in processes of their own, whose GPUs are the double's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from double.library import library

TESTS = Path(__file__).resolve().parent.parent


def printed(code, folder=None, **environment):
    """The last line that the code prints, or that of its error. folder: where it becomes a file, as spawned processes need."""
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{code}"
    file = ["-c", code]
    if folder is not None:
        path = folder / "program.py"
        path.write_text(code)
        file = [str(path)]
    done = subprocess.run(
        [sys.executable, *file],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]
