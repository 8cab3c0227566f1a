"""The command. Each part runs in a process of its own and has a time limit, so a crash or a hang of one does not lose the others.

    python tools/gpu_check.py --output checked.jsonl    all parts, in at most ten minutes
    python tools/gpu_check.py --parts matmul,digits     some of them; --list says which there are
    python tools/gpu_check.py --small                   sizes that take no time: to try the tool, on the double of the driver too

What it finds are lines of JSON, on the standard output and in the file. Each names its part and case; a figure has `value` and `unit`, and
`ok` if there is something that it should be. A part's last line says how it ended. The exit status is 1 if something was not ok.

The corpus compares results with the CPU's bit for bit, as far as these have the same bits (sums are added in another order), and all with
NumPy. `--record FILE` on a machine with the double writes what it gave; `--recorded FILE` then compares with that, sums included.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, Any

from .table import PARTS, Options, Part

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [str(ROOT / name) for name in ("tools", "tests", "tests/helpers", ".")]
KEPT = 3000  # characters of what a part that failed wrote
Emit = Callable[[dict[str, Any]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser("gpu_check.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help="such as corpus,matmul; by default all")
    parser.add_argument("--small", action="store_true", help="sizes that take no time; no speed is judged")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all parts together (10)")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="multiplies each part's limit (1): the double takes its time"
    )
    parser.add_argument("--output", type=Path, help="a file for the lines")
    parser.add_argument("--record", default="", help="a file for the results of the corpus")
    parser.add_argument("--recorded", default="", help="a file to compare them with")
    options = parser.parse_args(arguments)
    if options.list:
        for part in PARTS:
            print(f"{part.name:14}{part.seconds:4.0f} s  {part.doc}")
        return 0
    bad = 0
    with open(options.output or os.devnull, "w") as file:

        def emit(line: dict[str, Any]) -> None:
            nonlocal bad
            bad += line.get("ok") is False
            for stream in (sys.stdout, file):
                stream.write(json.dumps(line) + "\n")
                stream.flush()

        until = monotonic() + 60 * options.minutes
        for part in options.parts:
            seconds = min(part.seconds * options.patience, until - monotonic())
            run_part(part, Options(seconds, options.small, options.record, options.recorded), emit)
        emit({"part": "all", "ended": "done", "not ok": bad})
    return 1 if bad else 0


def _parts(text: str) -> list[Part]:
    known = {part.name: part for part in PARTS}
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is no part; there are {', '.join(known)}")
    return [known[name] for name in text.split(",")]


def run_part(part: Part, options: Options, emit: Emit) -> None:
    """Run a part in a process of its own, and emit its lines and one that says how it ended."""
    if options.seconds <= 1:
        emit({"part": part.name, "ended": "not begun: no time is left", "ok": False})
        return
    start = monotonic()
    command = [sys.executable, "-m", "gpu_check", part.function, json.dumps(options._asdict())]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, env=environment()
        ) as process,
    ):
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, part.name, emit))
        reader.start()
        ended = _end_of(process, options.seconds)
        reader.join()
        last: dict[str, Any] = {"part": part.name, "ended": ended, "seconds": round(monotonic() - start, 1)}
        if ended != "done":
            errors.seek(0)
            last |= {"ok": False, "said": errors.read()[-KEPT:]}
    emit(last)


def environment() -> dict[str, str]:
    """For processes that import this package and the tests'."""
    paths = [*FOLDERS, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _end_of(process: subprocess.Popen[str], seconds: float) -> str:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also what it has started
    process.wait()
    if code is None:
        return f"out of time: it had {seconds:.0f} s"
    return "done" if code == 0 else f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _read(lines: IO[str], part: str, emit: Emit) -> None:
    for line in lines:
        try:
            fields = json.loads(line)
        except ValueError:  # cut short by the end of the process
            continue
        emit({"part": part, **fields})
