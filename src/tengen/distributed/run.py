"""`tengen-run --nproc 4 script.py`: runs a script in several processes of this machine, which are one world.

Each has RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and TENGEN_RESTART_COUNT in its environment. If one fails,
the others are ended, and the exit status is that of the one that failed.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from functools import partial

from . import started
from .launcher import GRACE_SECONDS, RESTARTS, die_with
from .rendezvous import Server


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `tengen-run`; returns the exit status."""
    parser = ArgumentParser(
        "tengen-run", description="Run a script in several processes of this machine, which are one world."
    )
    parser.add_argument("--nproc", type=int, default=1, help="how many processes")
    parser.add_argument("--max-restarts", type=int, default=0, help="how often to restart all processes if one fails")
    parser.add_argument("-m", "--module", action="store_true", help="the script is the name of a module")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=REMAINDER, help="of the script")
    options = parser.parse_args(arguments)
    if options.nproc < 1:
        parser.error("--nproc must be at least 1")
    command = [*(["-m"] if options.module else []), options.script, *options.arguments]
    for restarts in range(options.max_restarts + 1):
        status, why = _run(command, options.nproc, restarts)
        if not status:
            break
        again = (
            f"; all processes are restarted ({restarts + 1} of {options.max_restarts} times)"
            if restarts < options.max_restarts
            else ""
        )
        print(f"tengen-run: {why}{again}", file=sys.stderr, flush=True)
    return status


def _run(command: Sequence[str], size: int, restarts: int) -> tuple[int, str]:
    """The status of the first process that fails, and how it ended; 0 if all succeed."""
    with Server() as server:
        own = {
            "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": server.py_server_port,
            RESTARTS: restarts, started.RUN: 1,
        }  # fmt: skip
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(size):
                named = {name: str(value) for name, value in {**own, "RANK": rank, "LOCAL_RANK": rank}.items()}
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", __name__, *command],
                        env={**os.environ, **named},
                        preexec_fn=partial(die_with, os.getpid()),
                    )
                )
            while any(p.poll() is None for p in processes) and not any(p.poll() for p in processes):
                time.sleep(0.02)
        finally:
            _end(processes)
    for rank, process in enumerate(processes):
        code = process.returncode
        if code and (code > 0 or -code != signal.SIGTERM):
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            return (128 - code if code < 0 else code), f"rank {rank} {how}"
    return 0, ""


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _script(arguments: Sequence[str]) -> None:
    """Run the script in this process, which has joined its world by the import of the package."""
    module = arguments[0] == "-m"
    sys.argv = list(arguments[module:])
    try:
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as leaving:
        if leaving.code:
            started.fail()
        raise
    except BaseException:
        started.fail()
        raise


if __name__ == "__main__":
    _script(sys.argv[1:])
