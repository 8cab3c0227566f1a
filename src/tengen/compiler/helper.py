"""Other processes that compile kernels at the same time, so that a first run on an empty cache uses all cores.

Threads would not do: llvmlite has one lock, and kernels are written as LLVM IR in Python. So another Python compiles, the *helper*. It is
told of the kernels that this process will need, and fills the folder of compiled kernels with them, the last one first. This process
takes its kernels in order, from the folder if they are there. It waits only for one that the helper has in hand, and not for long. So
nothing depends on the helper but time. Where there is no folder, no second core, or no Python to start, all is compiled here.
More helpers follow the first one if there are more cores, and so many kernels that starting them is worth it.

- Kernels are told in a file without a name, to which this process appends. So nothing ever blocks.
- Who compiles a kernel says so by a lock on one byte of that file, at a place that follows from the kernel's name. The system drops the
  locks of a process that ends.
- The helper ends after a while without work, and at once if this process ends, in whatever way, or becomes another program: then a pipe
  is closed of which only this process has the other end. A forked process closes its copy.
- A folder of kernels has the helpers of one process at a time, so processes that start together do not crowd the machine. The first
  helper has the folder's lock; the others need none, as they are started only while it runs.
- It is a new interpreter in a session of its own: it neither imports the user's program nor gets its Ctrl-C.
"""

from __future__ import annotations

import _thread
import atexit
import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter, sleep
from typing import Any, NamedTuple

from . import backend, cache
from .kernels.target import Target

ENOUGH = 8
"""So many kernels take about as long to compile as a helper to start."""
PATIENCE = 2.0
"""Seconds that this process waits for a kernel that the helper has in hand; few take a tenth of that."""
IDLE = 3.0
"""Seconds without work after which a helper ends."""
PROGRAM = """
import sys
sys.path[:] = {path!r}
import tengen
from tengen.compiler.helper_process import serve
serve({jobs}, {life}, {idle}, {folder!r})
"""


class _Helper(NamedTuple):
    process: subprocess.Popen[bytes]
    jobs: int  # the file that kernels are told in
    life: int  # the end of the pipe that only this process has
    far: int  # the end that helpers have
    others: list[subprocess.Popen[bytes]]


_running: _Helper | None = None
_waiting: dict[str, tuple[Any, Target]] = {}  # kernels to tell of as soon as they are enough
_told: set[str] = set()


def tell(sources: Mapping[str, Any], target: Target) -> None:
    """Kernels, by the names of their entries, will be needed and are not there. Starts the helper if they are enough.

    The caller holds `backend.compiling`.
    """
    global _running
    for name, source in sources.items():
        if name not in _told:
            _told.add(name)
            _waiting[name] = source, target
    if _running is not None and _running.process.poll() is not None:
        _forget()
    if _running is None and len(_waiting) >= ENOUGH:
        _running = _started()
    if _running is not None or len(_waiting) >= ENOUGH:
        told = list(_waiting.items())
        _waiting.clear()
        for name, (source, machine) in told:
            _write(name, source, machine)
        _reinforce(len(told) // ENOUGH - 1)


def _write(name: str, source: Any, target: Target) -> None:
    if _running is None:
        return
    with suppress(OSError, pickle.PicklingError, TypeError, AttributeError):  # without it, the kernel is compiled here
        content = pickle.dumps((name, source, target))
        os.write(_running.jobs, len(content).to_bytes(8, "little") + content)


def awaited(name: str) -> bytes | None:
    """The code of a kernel that the helper has in hand; None if this process is to compile it."""
    _waiting.pop(name, None)
    if _running is None:
        return None
    end = perf_counter() + PATIENCE
    while not claim(_running.jobs, name) and perf_counter() < end:
        code = cache.read(name)
        if code is not None:
            return code
        sleep(0.001)
    return cache.read(name)


def claim(jobs: int, name: str) -> bool:
    """Say that this process compiles a kernel; False if the other one has said so."""
    return _lock(jobs, name, fcntl.LOCK_EX | fcntl.LOCK_NB)


def give_up(jobs: int, name: str) -> None:
    """Say that this process does not compile a kernel after all."""
    _lock(jobs, name, fcntl.LOCK_UN)


def _lock(jobs: int, name: str, how: int) -> bool:
    try:
        fcntl.lockf(jobs, how, 1, int(name[:15], 16))
    except OSError:
        return False
    return True


# -- its life ------------------------------------------------------------------------------------------------------


def _started() -> _Helper | None:
    """A new helper; None if there can be none."""
    folder = cache.trusted_folder()
    python = os.path.basename(sys.executable or "").startswith("python") and not getattr(sys, "frozen", False)
    if folder is None or not python or _cores() < 2 or not hasattr(os, "memfd_create"):
        return None
    opened: list[int] = []
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.append(lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the helper ends, which has it open too
        jobs = os.memfd_create("tengen-kernels")
        opened.append(jobs)
        fcntl.fcntl(jobs, fcntl.F_SETFL, fcntl.fcntl(jobs, fcntl.F_GETFL) | os.O_APPEND)
        far, life = os.pipe()
        opened += [far, life]
        process = _process(jobs, far, folder, lock)
    except (OSError, subprocess.SubprocessError):
        for descriptor in opened:
            os.close(descriptor)
        return None
    os.close(lock)
    atexit.register(_end)
    return _Helper(process, jobs, life, far, [])


def _reinforce(wanted: int) -> None:
    """Start more helpers beside the first one, until there are so many or all cores have one."""
    folder = cache.trusted_folder()
    if _running is None or folder is None:
        return
    _running.others[:] = [process for process in _running.others if process.poll() is None]
    while len(_running.others) < min(wanted, _cores() - 2):
        try:
            _running.others.append(_process(_running.jobs, _running.far, folder))
        except (OSError, subprocess.SubprocessError):
            return


def _cores() -> int:
    return backend.threads() if backend.threads else 1


def _process(jobs: int, far: int, folder: str, *locks: int) -> subprocess.Popen[bytes]:
    """A helper that has just been started."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(path=sys.path, jobs=jobs, life=far, idle=IDLE, folder=folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(jobs, far, *locks),
        start_new_session=True,
    )
    with suppress(RuntimeError):  # Python is shutting down
        _thread.start_new_thread(process.wait, ())  # so that it is not a zombie when it has ended
    return process


def _end() -> None:
    """End the helpers."""
    if _running is not None:
        for process in (_running.process, *_running.others):
            process.kill()
            process.wait()
        _forget()


def _forget() -> None:
    """Forget helpers of which the first has ended, or that belong to the process from which this one was forked."""
    global _running
    if _running is not None:
        for process in (_running.process, *_running.others):
            process.returncode = 0  # for a forked process, which has no such child
        for descriptor in (_running.jobs, _running.life, _running.far):  # so those that still run end
            os.close(descriptor)
        _running = None
    _waiting.clear()
    _told.clear()


os.register_at_fork(after_in_child=_forget)
