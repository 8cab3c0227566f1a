"""What a traced function has become: its Plans, why each was made, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..compiler import backend
from ..compiler.plan import Call, DeviceLaunch, Launch, Plan
from .recorder import Segment
from .traced import Compiled


class PlanReport(NamedTuple):
    """One Plan.

    kernels: how many launches each kind of kernel has. work: about bytes moved and operations done. bytes: memory that
    a run takes besides its inputs, of which `results` stay. unlimited: the bytes it would take without a limit on
    memory, if there is one. compiled: the seconds that making it took. stages: the share of each stage of the compiler
    in these.
    """

    reason: str
    operations: int
    launches: int
    kernels: dict[str, int]
    host_calls: int
    work: int
    bytes: int
    results: int
    unlimited: int | None
    compiled: float
    stages: dict[str, float]
    files: Callable[[], dict[str, str]]

    def __str__(self) -> str:
        kernels = ", ".join(f"{name} × {count}" for name, count in self.kernels.items())
        unlimited = f", without a limit {self.unlimited / 2**20:.2f} MiB" if self.unlimited else ""
        stages = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in self.stages.items())
        host = f", {self.host_calls} calls of Python" if self.host_calls else ""
        return (
            f"{self.operations} operations in {self.launches} launches of kernels{host}; "
            f"{self.bytes / 2**20:.2f} MiB, of which {self.results / 2**20:.2f} are results{unlimited}; made in {self.compiled:.3f} s\n"
            f"      why: {self.reason}\n"
            f"      kernels: {kernels or 'none'}\n"
            f"      stages: {stages}"
        )


class Explanation(NamedTuple):
    """What `trace.explain` gives: for each kind of call (the types of its arguments) how many calls there were, the seconds of the
    last one, and the Plans, in the order in which a call runs them. Prints as text.
    """

    title: str
    calls: list[tuple[str, int, float, list[PlanReport]]]

    def __str__(self) -> str:
        lines = [f"{self.title}: {len(self.calls)} kind{'s' * (len(self.calls) != 1)} of calls"]
        for types, count, seconds, plans in self.calls:
            lines.append(f"  {types}: {count} calls, the last took {1e3 * seconds:.3f} ms")
            lines += [f"    {i}. {plan}" for i, plan in enumerate(plans, 1)]
        return "\n".join(lines)

    def html(self) -> str:
        """A page with the same, and for each Plan the stages of the compiler and the kernels, down to the assembly. They are compiled again."""
        parts = [f"<h1>{_escape(self.title)}</h1>"]
        for types, count, seconds, plans in self.calls:
            parts.append(f"<h2>{_escape(types)}</h2><p>{count} calls, the last took {1e3 * seconds:.3f} ms</p>")
            for number, plan in enumerate(plans, 1):
                parts.append(f"<h3>Plan {number}</h3><pre>{_escape(str(plan))}</pre>")
                parts += [_details(name, text) for name, text in plan.files().items()]
        return f"{_HEAD.format(title=_escape(self.title))}{''.join(parts)}</html>\n"


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 14px system-ui, sans-serif; margin: 1.2em auto; padding: 0 1em; max-width: 80em }}
pre {{ font-size: 12px; overflow-x: auto; padding: .5em; border: 1px solid #8884 }} summary {{ cursor: pointer; padding: .15em 0 }}</style>"""
_STAGES = {"ll": "LLVM IR", "s": "assembly", "ptx": "PTX"}


def _escape(text: str) -> str:
    from html import escape  # which few need

    return escape(text)


def _details(name: str, text: str) -> str:
    """A part of the page that opens at a click."""
    stem, _, suffix = name.rpartition(".")
    loops = "loops" if stem.startswith("kernel") else ""
    title = f"{stem.replace('_', ' ')} {_STAGES.get(suffix, loops)}".strip()
    return f"<details><summary>{_escape(title)}</summary><pre>{_escape(text)}</pre></details>"


def profiles(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """For each Plan that has run since the last time this was asked, the seconds of its steps; see `trace.get_profile`."""
    found = []
    for segment in segments:
        for compiled in segment.op.plan_log.plans:
            seconds = compiled.runtime.take_seconds() if compiled.runtime else []
            if seconds:
                own = of_plan(compiled.plan, seconds)
                steps = [_step(step, taken) for step, taken in zip(compiled.plan.steps, own, strict=True)]
                found.append({"operations": segment.operations, "seconds": sum(own), "steps": steps})
    return found


def of_plan(plan: Plan, seconds: Sequence[float]) -> Sequence[float]:
    """The steps without those that watchers have put around a Plan's own."""
    around = (len(seconds) - len(plan.steps)) // 2
    return seconds[around : len(seconds) - around]


def _step(step: Launch | DeviceLaunch | Call, seconds: float) -> dict[str, Any]:
    if isinstance(step, Launch):
        return {"name": step.name, "seconds": seconds, "tiles": step.tiles, "work": step.work, "joined": step.joined}
    work = step.work if isinstance(step, DeviceLaunch) else 0
    return {"name": step.name, "seconds": seconds, "tiles": 0, "work": work, "joined": False}


def reports(segments: Sequence[Segment], why: str) -> list[PlanReport]:
    """The Plans of a recording; `why` it was recorded."""
    return [
        _report(segment, compiled, _reason(segment, number, why))
        for segment in segments
        for number, compiled in enumerate(segment.op.plan_log.plans)
    ]


def _reason(segment: Segment, number: int, why: str) -> str:
    parts = [f"{segment.cause} before"] if segment.cause else [why]
    if segment.repeats:
        parts.append("other values of it were still held when it ran")
    if segment.note:
        parts.append(segment.note)
    if number:
        parts.append("inputs lay in memory in another way")
    return "; ".join(parts)


def _report(segment: Segment, compiled: Compiled, reason: str) -> PlanReport:
    plan, limit = compiled.plan, segment.op.memory
    launches = [step for step in plan.steps if not isinstance(step, Call)]
    results = {place.slot for place in plan.outputs if place.slot >= plan.inputs}
    return PlanReport(
        reason,
        segment.operations,
        len(launches),
        dict(Counter(step.name for step in launches).most_common()),
        len(plan.steps) - len(launches),
        plan.work,
        sum(plan.allocations),
        sum(plan.allocations[slot - plan.inputs] for slot in results),
        limit.unlimited.bytes if limit and limit.unlimited else None,
        compiled.seconds,
        dict(plan.stages),
        partial(_files, segment, compiled),
    )


def _files(segment: Segment, compiled: Compiled) -> dict[str, str]:
    views, target = compiled.views, compiled.target
    program = segment.op.as_program([v.type for v in segment.op.program.inputs], views, target)
    return backend.pipeline.dumped(program, views, target or backend.host.host_target())
