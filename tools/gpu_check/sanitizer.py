"""Programs of the corpus under NVIDIA's compute-sanitizer, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

from .command import environment
from .table import Options, Say

FOUND_ERRORS = 97  # the exit status that it is told to give
AT_END = 12.0
KEPT = 3000
COUNT, SMALL = 200, 1


def racecheck(options: Options, say: Say) -> None:
    """Two threads that touch the same shared memory, and no barrier between them."""
    _check("racecheck", options, say, {})


def memcheck(options: Options, say: Say) -> None:
    """Accesses out of bounds: each tensor is an allocation of its own."""
    _check("memcheck", options, say, {"TENGEN_GPU_CACHE": "0"})


def find_sanitizer() -> str | None:
    """The path of compute-sanitizer; None if there is none."""
    places = [
        *glob("/usr/local/cuda*/bin/compute-sanitizer"),
        *glob("/usr/local/cuda*/compute-sanitizer/compute-sanitizer"),
    ]
    places += [str(path) for folder in sys.path for path in Path(folder or ".").glob("nvidia/*/bin/compute-sanitizer")]
    return shutil.which("compute-sanitizer") or next(iter(sorted(places)), None)


def _check(tool: str, options: Options, say: Say, own: dict[str, str]) -> None:
    sanitizer = find_sanitizer()
    if sanitizer is None:
        say(case=tool, value="not run: compute-sanitizer is not installed; it comes with the CUDA toolkit")
        return
    count, seconds = (SMALL if options.small else COUNT), max(options.seconds - AT_END, 1)
    programs = [sys.executable, "-m", "gpu_check.programs", "0", "1", str(count), str(seconds), "--gpu-only"]
    command = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND_ERRORS), *programs]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), **own}, check=False)
    lines = done.stdout.splitlines()
    run = sum(line.startswith("{") for line in lines)
    summary = [line for line in lines if "SUMMARY" in line]
    said = {} if done.returncode == 0 else {"said": (done.stdout + done.stderr)[-KEPT:]}
    say(
        case=tool,
        value=summary[-1] if summary else "",
        programs=run,
        status=done.returncode,
        ok=done.returncode == 0 and run > 0,
        **said,
    )
