"""Random programs on the GPU, in as many processes as there are cores. One that crashes loses its program, and another one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

from .command import environment
from .table import FIRST_SEED, Options, Say

COUNT, SMALL = 1500, 3
MOST_PROCESSES = 16
AT_END = 12.0  # seconds for the last programs
SHOWN = 20  # failures


def corpus(options: Options, say: Say) -> None:
    """One line for each program that is wrong, and the counts."""
    count = SMALL if options.small else COUNT
    jobs = min(MOST_PROCESSES, len(os.sched_getaffinity(0)), count)
    until = monotonic() + max(options.seconds - AT_END, 1)
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda job: _looked_at(job, jobs, count, until), range(jobs))
        found = sorted((one for part in parts for one in part), key=_seed)
    wrong = [one for one in found if one["failures"]]
    for one in wrong[:SHOWN]:
        say(case=f"program {one['seed']}", ok=False, failures=one["failures"])
    say(case="programs", value=len(found), unit=f"of {count}", ok=bool(found))
    say(case="programs that are wrong", value=len(wrong), ok=not wrong)
    totals = Counter[str]()
    for one in found:
        totals.update({name: one.get(name, 0) for name in ("tensors", "equal", "exact")})
    say(case="tensors with the CPU's bits", value=totals["equal"], unit=f"of {totals['tensors']}")
    say(case="programs whose bits must be the CPU's", value=totals["exact"])
    if options.record:
        kept = {str(one["seed"]): [one["program"], one["digest"]] for one in found if "program" in one}
        Path(options.record).write_text(json.dumps(kept))
    if options.recorded:
        _compare(found, json.loads(Path(options.recorded).read_text()), say)


def _compare(found: list[dict[str, Any]], recorded: dict[str, list[str]], say: Say) -> None:
    known = [one for one in found if recorded.get(str(one["seed"]), [""])[0] == one.get("program")]
    other = [one["seed"] for one in known if recorded[str(one["seed"])][1] != one["digest"]]
    say(case="programs with the recorded bits", value=len(known) - len(other), unit=f"of {len(known)}", others=other)


def _seed(one: dict[str, Any]) -> int:
    return int(one["seed"])


def _looked_at(job: int, jobs: int, count: int, until: float) -> list[dict[str, Any]]:
    """What a process says, and those that follow it where one ends before its time."""
    found: list[dict[str, Any]] = []
    first = job
    while first < count and until - monotonic() > 0:
        lines, code, said = _run(first, jobs, count, until - monotonic())
        found += lines
        first += jobs * len(lines)
        if code == 0 or first >= count:
            break
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        found.append({"seed": FIRST_SEED + first, "failures": [f"the process {how}: {said}"]})
        first += jobs
    return found


def _run(first: int, step: int, count: int, seconds: float) -> tuple[list[dict[str, Any]], int, str]:
    command = [sys.executable, "-m", "gpu_check.programs", *map(str, (first, step, count, seconds))]
    own = {**environment(), "OPENBLAS_NUM_THREADS": "1", "TENGEN_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, done.stderr[-1000:]
