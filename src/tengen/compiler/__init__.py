"""Programs in, machine code out; knows nothing of tensors or of the runtime.

`program` (graph IR) → `passes` → `schedule` (what becomes one kernel) → `kernel` (loop IR) → `targets` (LLVM) → `cache` (disk);
`pipeline` has all steps, `plan` is what comes out. Importing this package loads no LLVM: see `backend`.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from ..base import config
from . import backend
from .plan import Cost, Plan
from .program import Program
from .view import View, contiguous

if TYPE_CHECKING:
    from .kernels.target import Target
    from .passes.recompute import Fitted


def compile_program(
    program: Program, views: Sequence[View] | None = None, target: Target | None = None, title: str = "program"
) -> Plan:
    """Compile a Program for inputs that lie like `views` (row-major if left out), by default for this machine.

    title: what dumps call it.
    """
    layouts = [contiguous(v.shape) for v in program.inputs] if views is None else views
    machine = target or backend.host.host_target()
    plan = backend.pipeline.compiled(program, layouts, machine, config.get("dump"), title).finished
    pairs = zip(plan.outputs, program.outputs, strict=True)
    plan = plan._replace(outputs=tuple([placed._replace(type=v.type) for placed, v in pairs]))  # quantised ones again
    return plan


def obtain_plan(program: Program, views: Sequence[View], title: str) -> Plan:
    """What `compile_program` gives for this machine, from the disk if an earlier process has left it there."""
    machine = backend.host.host_target()
    entry = None if config.get("dump") else backend.plan_store.name(program, views, machine)
    known = backend.plan_store.find(entry) if entry else None
    if known is not None:
        return known
    start = perf_counter()
    plan = compile_program(program, views, machine, title)
    if entry:
        backend.plan_store.keep(entry, plan, perf_counter() - start)
    return plan


def fit_memory(
    program: Program,
    views: Sequence[View],
    limit: int,
    smallest: int = 0,
    given: int = 0,
    target: Target | None = None,
) -> Fitted:
    """The Program changed so that, on inputs that lie like `views`, the first `given` of which are given away, its Plan takes at most
    `limit` bytes, if that can be reached by computing values of at least `smallest` bytes again instead of keeping them.
    """
    machine = target or backend.host.host_target()

    def measure(changed: Program) -> Cost:
        return backend.driver.Scheduler(changed, views, machine).cost(given)

    return backend.recompute.fit(backend.passes.run(program), limit, measure, smallest)
