"""Worker processes, and the search for failures with them: over many seeds, each failure shrunk."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .code import MODES, snippet
from .generate import generate
from .modes import Failure
from .program import Program, parse
from .shrink import clean, shrink

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0
"""Seconds of work, or of doing nothing, after which a program counts as stuck."""
MOST_PROGRAMS = 300
"""After so many a worker is replaced, so that its memory is bounded."""


class Worker:
    """One process under test; a new one takes the place of one that died."""

    def __init__(self, patience: float = PATIENCE):
        self.patience, self.served = patience, 0
        self.process: subprocess.Popen[str] | None = None
        self.errors: Any = None

    def _started(self) -> subprocess.Popen[str]:
        if self.process is None or self.served >= MOST_PROGRAMS:
            self.close()
            path = os.pathsep.join(
                filter(None, [str(HERE.parent), str(HERE.parent / "helpers"), os.environ.get("PYTHONPATH")])
            )
            self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
            command = [sys.executable, "-m", f"{HERE.name}.worker"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )
            self.served = 0
        return self.process

    def ask(self, **request: Any) -> tuple[str, list[Failure]]:
        """The program's text and its failures; that the process died or hangs is one."""
        process = self._started()
        self.served += 1
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return "", [self._died()]
        if not answers(process, self.patience):
            self.close()
            return "", [Failure("process", "stuck", f"no answer within {self.patience} s")]
        line = process.stdout.readline()
        if not line:
            return "", [self._died()]
        reply = json.loads(line)
        return reply["program"], [Failure(*f) for f in reply["failures"]]

    def _died(self) -> Failure:
        assert self.process is not None
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read()[-800:]
        self.close()
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return Failure("process", f"died: {name}", f"{name}\n{said}")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
            self.errors.close()


def answers(process: subprocess.Popen[str], patience: float) -> bool:
    """Whether a process answers before it has worked for so many seconds, or done nothing for as many.

    The clock does not say so: a busy machine gives it little of that time, and one that stands still gives it none.
    """
    step, clock = patience / 100, ~process.pid << 3 | 2  # Linux' name for the time that a process has computed
    start = last = time.clock_gettime(clock)
    idle = 0
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while not ready.select(step):
            now = time.clock_gettime(clock)
            idle = 0 if now > last else idle + 1
            last = now
            if idle >= 100 or now - start > patience:
                return False
    return True


class Found(NamedTuple):
    """A failure of the program of a seed, shrunk."""

    seed: int
    failure: Failure
    program: Program

    @property
    def signature(self) -> tuple[str, ...]:
        """The same for failures that are probably one."""
        return (self.failure.kind.replace("state", "result"), *sorted({s.row for s in self.program.steps}))

    def __str__(self) -> str:
        mode = self.failure.mode if self.failure.mode in MODES else "traced"
        return f"# seed {self.seed}, {self.failure.mode}: {self.failure.kind}\n{snippet(self.program, mode, self.failure.text)}"


def look(worker: Worker, seed: int, seconds: float = 60.0) -> Found | None:
    """Runs the program of a seed; its first failure, shrunk for at most so many seconds, or None."""
    text, failures = worker.ask(seed=seed)
    if not failures:
        return None
    program = parse(text) if text else generate(seed)
    return shrunk(worker, seed, program, failures[0], seconds)


def shrunk(worker: Worker, seed: int, program: Program, failure: Failure, seconds: float) -> Found:
    last = [failure]
    modes = [failure.mode] if failure.mode in MODES else list(MODES)

    def fails(candidate: Program) -> bool:
        _, failures = worker.ask(program=repr(candidate), modes=modes)
        same = [f for f in failures if (f.mode, f.kind) == (failure.mode, failure.kind)]
        if same:
            last[0] = same[0]
        return bool(same)

    if failure.mode != "machine" and seconds > 0:
        first = clean(program)
        program = shrink(first if fails(first) else program, fails, seconds)
    return Found(seed, last[0], program)


def search(
    worker: Worker,
    seeds: Sequence[int] | Any,
    more: Callable[[], bool],
    report: Callable[[Found | None], None],
    seconds: Callable[[], float],
) -> None:
    """Looks at seeds while `more` says so, shrinks what fails for so many seconds, and tells `report` about each."""
    try:
        for seed in seeds:
            if not more():
                return
            report(look(worker, seed, seconds()))
    finally:
        worker.close()
