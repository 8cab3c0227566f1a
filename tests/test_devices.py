"""The tests of tests/devices, in a process whose CUDA driver is the test double."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from double.library import library

HERE = Path(__file__).resolve().parent


def test_on_the_double():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "devices")]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        env=own | {"TENGEN_CUDA_LIBRARY": library(), "TENGEN_XPU": "cpu"},  # the tests compare with the default device
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
