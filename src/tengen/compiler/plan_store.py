"""Plans on disk, so that no process plans again what an earlier one has planned.

A Plan belongs to a Program, to the layouts of its inputs, to a target and to the source of tengen. Its entry refers to
its kernels by their own entries, so a kernel that many Plans use is stored once.
"""

from __future__ import annotations

import atexit
import marshal
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..base import config
from . import cache
from .kernels.device import DeviceGrid
from .kernels.target import Target
from .plan import DeviceLaunch, Launch, Placed, Plan, Stopwatch
from .program import Host, Op, Program, Type
from .view import View

PACKAGE = __name__.partition(".")[0]
FOLDER = os.path.dirname(os.path.dirname(__file__))
PLAIN = (int, float, bool, str, type(None))

SLOW = 0.02
"""Seconds. A Plan that takes longer is written at once; writing a file takes about as long as planning one small op."""
MOST_WAITING = 512
"""A process that keeps meeting new shapes stores only the Plans of the first ones."""

_waiting: dict[str, Plan] = {}


class _Unnamed(Exception):
    """Raised for something that cannot be written down: a Python function, an op from outside tengen, or a parameter
    that is not data."""


def name(program: Program, views: Sequence[View], target: Target) -> str | None:
    """The name of the entry of a Plan for inputs that lie like `views`; None for a Program that cannot have one."""
    try:
        said: list[Any] = [(*v.type, *view) for v, view in zip(program.inputs, views, strict=True)]
        numbers = {v: i for i, v in enumerate(program.inputs)}
        for node in program.nodes:
            said.append((_word(node.op), *[numbers[v] for v in node.inputs]))
            for v in node.outputs:
                numbers[v] = len(numbers)
        said.append([numbers[v] for v in program.outputs])
    except _Unnamed:
        return None
    chosen = " ".join(f"{name} {config.get(name)}" for name in ("winograd", "tf32", "gpu_cache"))
    version = f"plan {sys.implementation.cache_tag} {marshal.version} {chosen}"
    return cache.entry_name(f"{version} {said}", target, cache.source_digest(FOLDER))


def _word(op: Op) -> str:
    """The text that stands for an op: its class and its parameters."""
    known: str | None = op.__dict__.get("_word")
    if known is None:
        kind = type(op)
        # The digest of the source covers only tengen's own classes.
        if isinstance(op, Host) or kind.__module__.partition(".")[0] != PACKAGE or "<" in kind.__qualname__:
            raise _Unnamed
        parameters = ",".join(_parameter(getattr(op, p)) for p in kind.parameters)
        known = op.__dict__["_word"] = f"{kind.__module__}.{kind.__qualname__}({parameters})"
    return known


def _parameter(value: Any) -> str:
    if type(value) in PLAIN:
        return repr(value)
    if isinstance(value, tuple):
        return f"({','.join(map(_parameter, value))})"
    if isinstance(value, Op):
        return _word(value)
    raise _Unnamed


# -- entries -------------------------------------------------------------------------------------------------------


def find(entry: str) -> Plan | None:
    """The Plan of an entry with its kernels loaded; None if the entry or one of its kernels is missing."""
    watch = Stopwatch()
    content = cache.read(entry)
    if content is None:
        return None
    of_gpu, names, steps, outputs, rest = marshal.loads(content)
    launches = _device_launches(names, steps) if of_gpu else _launches(names, steps)
    if launches is None:
        return None
    placed = tuple([Placed(slot, offset, Type(*type), strides) for slot, offset, type, strides in outputs])
    watch.stop("found on the disk")
    return Plan(steps=launches, outputs=placed, stages=tuple(watch.stages), **rest)


def _launches(names: Sequence[str], steps: Sequence[Any]) -> tuple[Launch, ...] | None:
    addresses = cache.load_kernels(names)
    return None if addresses is None else tuple([Launch(addresses[step[0]], *step[1:]) for step in steps])


def _device_launches(names: Sequence[str], steps: Sequence[Any]) -> tuple[DeviceLaunch, ...] | None:
    kernels = cache.load_device_kernels(names)
    if kernels is None:
        return None
    return tuple([DeviceLaunch(kernels[at], buffers, DeviceGrid(*grid), *rest) for at, buffers, grid, *rest in steps])


def has(entry: str) -> bool:
    """Whether `find` may find a Plan, or it waits to be written."""
    return entry in _waiting or cache.has(entry)


def keep(entry: str, plan: Plan, seconds: float) -> None:
    """Store a Plan, now or when the process ends, depending on how long it took to make. Plans that call Python
    functions are not stored, nor are those of composites that the Program still has."""
    if not all([isinstance(step, (Launch, DeviceLaunch)) for step in plan.steps]):
        return
    if seconds >= SLOW:
        _write(entry, plan)
    elif len(_waiting) < MOST_WAITING:
        if not _waiting:
            atexit.register(write_waiting)
        _waiting[entry] = plan


def write_waiting() -> None:
    """Write the Plans that are waiting to be written."""
    while _waiting:
        _write(*_waiting.popitem())


def _write(entry: str, plan: Plan) -> None:
    of_gpu = any(isinstance(step, DeviceLaunch) for step in plan.steps)
    launches = [step for step in plan.steps if isinstance(step, (Launch, DeviceLaunch))]
    named = list(zip(map(_entry_of, launches), launches, strict=True))
    names = list(dict.fromkeys(name for name, _ in named))
    places = {name: i for i, name in enumerate(names)}
    steps = [(places[name], *[tuple(x) if isinstance(x, tuple) else x for x in step[1:]]) for name, step in named]
    outputs = [(p.slot, p.offset, tuple(p.type), p.strides) for p in plan.outputs]
    rest = {field: getattr(plan, field) for field in plan._fields if field not in ("steps", "outputs", "stages")}
    with suppress(ValueError):  # not data, for instance a NumPy number
        cache.write(entry, marshal.dumps((of_gpu, names, steps, outputs, rest)))


def _entry_of(step: Launch | DeviceLaunch) -> str:
    """The entry of the kernel of a launch."""
    return step.kernel.entry if isinstance(step, DeviceLaunch) else cache.names_of([step.address])[0]
