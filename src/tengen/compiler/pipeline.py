"""From a recorded Program to a Plan: PIPELINE, all steps in order. Each is timed, and dumped, under its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from . import dump, passes
from .kernels.target import Target
from .plan import Plan, Stopwatch
from .program import Program
from .schedule.driver import Placement, Scheduler
from .view import View


class Compilation:
    """A Program for inputs that lie like `views`, and the results of the steps so far."""

    scheduler: Scheduler
    placement: Placement
    plan: Plan

    def __init__(self, program: Program, views: Sequence[View], target: Target):
        self.program, self.views, self.target = program, views, target
        self.watch = Stopwatch()


class Stage:
    """One step. show: what a dump has of its result, in a file of the name `file`."""

    def __init__(self, name: str, run: Callable[[Compilation], None], show: Callable[[Compilation], str], file: str):
        self.name, self.run, self.show, self.file = name, run, show, file


def _passed(change: Callable[[Program], Program], made: Compilation) -> None:
    made.program = change(made.program)


def _groups(made: Compilation) -> None:
    made.scheduler = Scheduler(made.program, made.views, made.target)


def _kernels(made: Compilation) -> None:
    made.scheduler.lower()


def _memory(made: Compilation) -> None:
    made.placement = made.scheduler.place()


def _machine_code(made: Compilation) -> None:
    made.plan = made.scheduler.finish(made.placement)


PIPELINE = (
    *(
        Stage(step.name, partial(_passed, step.run), lambda made: str(made.program), f"program{number}_{step.name}")
        for number, step in enumerate(passes.PASSES, 1)
    ),
    Stage("groups", _groups, lambda made: dump.show_groups(made.scheduler.parts.order), "groups"),
    Stage("kernels", _kernels, lambda made: dump.show_steps(made.scheduler.steps), "steps"),
    Stage("memory", _memory, lambda made: dump.show_placement(made.placement), "memory"),
    Stage("machine code", _machine_code, lambda made: dump.show_plan(made.plan, made.scheduler.sources), "plan"),
)


def compiled(program: Program, views: Sequence[View], target: Target, folder: str = "", title: str = "") -> Compilation:
    """The Program after all steps, whose Plan says how long each took. folder: where dumps go, if anywhere; title: what they call it."""
    files: dict[str, str] | None = {} if folder else None
    made = finished(begun(program, views, target, files), files)
    if files is not None:
        dump.write(folder, title, files)
    return made


def dumped(program: Program, views: Sequence[View], target: Target) -> dict[str, str]:
    """What a dump has of the steps of a Program and of its kernels: texts by the names of files."""
    files: dict[str, str] = {}
    finished(begun(program, views, target, files), files)
    return files


def begun(program: Program, views: Sequence[View], target: Target, files: dict[str, str] | None = None) -> Compilation:
    """The Program after all steps but the last one, which compiles its kernels. files: gets what a dump has of them."""
    made = Compilation(program, views, target)
    if files is not None:
        files["program0_recorded.txt"] = str(program)
    for step in PIPELINE[:-1]:
        _run(step, made, files)
    return made


def finished(made: Compilation, files: dict[str, str] | None = None) -> Compilation:
    """What was begun, after the last step."""
    made.watch.resume()
    _run(PIPELINE[-1], made, files)
    made.plan = made.plan._replace(stages=tuple(made.watch.stages))
    if files is not None:
        files[f"{PIPELINE[-1].file}.txt"] = PIPELINE[-1].show(made)  # with the times of all steps
        files |= dump.show_kernels(made.scheduler.sources, made.target)
    return made


def _run(step: Stage, made: Compilation, files: dict[str, str] | None) -> None:
    step.run(made)
    made.watch.stop(step.name)
    if files is not None:
        files[f"{step.file}.txt"] = step.show(made)
        made.watch.resume()
