"""What a program waits for before it runs at full speed: imports, the first training step, the Plan of a new shape."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from os import environ
from pathlib import Path

from .cases import Case, network
from .measure import Trial, make_data

MODULES = {"tengen": "tengen", "PyTorch": "torch", "NumPy": "numpy"}
OPS = {"tengen": "ops_tengen", "PyTorch": "ops_torch"}
CLOCK = 1e-7  # seconds that it tells apart
SHAPES = 8  # unseen ones before those that count, which see to it that kernels are there


def measure(case: Case, frameworks: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds for each framework; they take turns, a third of them where each is a new process."""
    if case.kind == "plan":
        return plans(case, frameworks, rounds)
    function = {"import": imports, "first step": first_steps}[case.kind]
    return function(case, frameworks, max(3, rounds // 3))


def imports(_: Case, frameworks: list[str], rounds: int) -> dict[str, list[float]]:
    """`import`, in a new interpreter each time; NumPy's is a part of tengen's."""
    times: dict[str, list[float]] = {name: [] for name in MODULES if name in [*frameworks, "NumPy"]}
    for turn in range(rounds + 1):
        for name, taken in times.items():
            timed = (
                f"import time; start = time.perf_counter(); import {MODULES[name]}; print(time.perf_counter() - start)"
            )
            seconds = _child(timed)
            if (
                turn
            ):  # the first turn compiles to bytecode, which pip did for what it installed, but not for this checkout
                taken.append(seconds)
    return times


def first_steps(case: Case, frameworks: list[str], rounds: int) -> dict[str, list[float]]:
    """The first training step of ResNet-18 in a new interpreter; `first_step` is what it does."""
    times: dict[str, list[float]] = {name: [] for name in OPS if name in frameworks}
    with tempfile.TemporaryDirectory() as warm:
        for _ in range(rounds):
            for name, taken in times.items():
                step = f"from benchmarks.startup import first_step; print(first_step({name!r}, {case.traced}))"
                with tempfile.TemporaryDirectory() as empty:
                    folder = warm if case.arguments["warm"] else empty
                    if name == "tengen" and folder == warm and not taken:
                        _child(step, folder)
                    taken.append(_child(step, folder))
    return times


def first_step(framework: str, traced: bool) -> float:
    """Seconds of one training step of ResNet-18, batch 8, with what is compiled for it."""
    trial = _trial(framework, replace(network("first", "resnet18", True), traced=traced))
    start = time.perf_counter()
    trial.run()
    return time.perf_counter() - start


def _child(program: str, cache: str = "") -> float:
    """The number that a Python program prints, run from the root of the repository."""
    settings = {**environ, **({"TENGEN_CACHE_DIR": cache} if cache else {})}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=settings, cwd=root, check=True, capture_output=True, text=True, timeout=600)
    return float(done.stdout.split()[-1])


def plans(case: Case, frameworks: list[str], rounds: int) -> dict[str, list[float]]:
    """How much longer the first call on a shape takes than the third; no Plan of an earlier run is on the disk."""
    cases = [_unseen(case.arguments["op"], index) for index in range(SHAPES + rounds)]
    times: dict[str, list[float]] = {name: [] for name in OPS if name in frameworks}
    settings = import_module("tengen").config
    with tempfile.TemporaryDirectory() as folder, settings.override(cache_dir=folder):
        for new in cases:
            for name, taken in times.items():
                run = _trial(name, new).run
                first, _, third = _seconds(run), _seconds(run), _seconds(run)
                taken.append(max(CLOCK, first - third))
    return {name: taken[SHAPES:] for name, taken in times.items()}


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _unseen(op: str, index: int) -> Case:
    """A case whose shape no other one has."""
    if op == "matmul":
        return Case("plan", "matmul", ((129 + index, 65 + index), (65 + index, 130 + index)))
    size = 9 + 7 * index % 23  # large and small ones soon, for they are computed in different ways
    shapes = ((2, 32, size, size), (32, 32, 3, 3), (2, 32, size, size))
    return Case("plan", "conv", shapes, {"form": "forward", "stride": 1, "padding": 1, "groups": 1})


def _trial(framework: str, case: Case) -> Trial:
    """The first setting in which a framework does a case."""
    ops = import_module(f".{OPS[framework]}", __package__)
    trial: Trial = next(iter(ops.trials(case, make_data(case))))
    return trial
