"""From a recorded Program to a Plan: PIPELINE, all steps in order. Each is timed, and dumped, under its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from . import dump, passes
from .kernels.target import Target
from .plan import Plan, Stopwatch
from .program import Program
from .schedule.driver import Placement, Scheduler
from .view import View


@dataclass(frozen=True)
class Compilation:
    """A Program for inputs that lie like `views`, and the results of the steps so far."""

    program: Program
    views: Sequence[View]
    target: Target
    scheduler: Scheduler | None = None
    placement: Placement | None = None
    plan: Plan | None = None

    @property
    def scheduled(self) -> Scheduler:
        assert self.scheduler is not None
        return self.scheduler

    @property
    def finished(self) -> Plan:
        assert self.plan is not None
        return self.plan


class Stage:
    """One step. show: what a dump has of its result, in a file of the name `file`."""

    def __init__(
        self,
        name: str,
        run: Callable[[Compilation], Compilation],
        show: Callable[[Compilation], str],
        file: str,
    ):
        self.name, self.run, self.show, self.file = name, run, show, file


def _passed(change: Callable[[Program], Program], made: Compilation) -> Compilation:
    return replace(made, program=change(made.program))


def _groups(made: Compilation) -> Compilation:
    return replace(made, scheduler=Scheduler(made.program, made.views, made.target))


def _kernels(made: Compilation) -> Compilation:
    made.scheduled.lower()
    return made


def _memory(made: Compilation) -> Compilation:
    return replace(made, placement=made.scheduled.place())


def _machine_code(made: Compilation) -> Compilation:
    assert made.placement is not None
    return replace(made, plan=made.scheduled.finish(made.placement))


PIPELINE = (
    *(
        Stage(step.name, partial(_passed, step.run), lambda made: str(made.program), f"program{number}_{step.name}")
        for number, step in enumerate(passes.PASSES, 1)
    ),
    Stage("groups", _groups, lambda made: dump.show_groups(made.scheduled.parts.order), "groups"),
    Stage("kernels", _kernels, lambda made: dump.show_steps(made.scheduled.steps), "steps"),
    Stage("memory", _memory, lambda made: dump.show_placement(made.placement), "memory"),
    Stage("machine code", _machine_code, lambda made: dump.show_plan(made.finished, made.scheduled.sources), "plan"),
)


def compiled(program: Program, views: Sequence[View], target: Target, folder: str = "", title: str = "") -> Compilation:
    """The Program after all steps, whose Plan says how long each took. folder: where dumps go, if anywhere; title: what they call it."""
    files: dict[str, str] | None = {} if folder else None
    made = _run(program, views, target, files)
    if files is not None:
        dump.write(folder, title, files)
    return made


def dumped(program: Program, views: Sequence[View], target: Target) -> dict[str, str]:
    """What a dump has of the steps of a Program and of its kernels: texts by the names of files."""
    files: dict[str, str] = {}
    _run(program, views, target, files)
    return files


def _run(program: Program, views: Sequence[View], target: Target, files: dict[str, str] | None) -> Compilation:
    made, watch = Compilation(program, views, target), Stopwatch()
    if files is not None:
        files["program0_recorded.txt"] = str(program)
    for step in PIPELINE:
        made = step.run(made)
        watch.stop(step.name)
        if files is not None:
            files[f"{step.file}.txt"] = step.show(made)
            watch.resume()
    made = replace(made, plan=made.finished._replace(stages=tuple(watch.stages)))
    if files is not None:
        files[f"{PIPELINE[-1].file}.txt"] = PIPELINE[-1].show(made)  # with the times of all steps
        files |= dump.show_kernels(made.scheduled.sources, target)
    return made
