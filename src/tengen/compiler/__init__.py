"""Programs in, machine code out; knows nothing of tensors or of the runtime.

`program` (graph IR) → `passes` → `schedule` (what becomes one kernel) → `kernel` (loop IR) → `targets` (LLVM) → `cache` (disk);
`plan` is what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..base import config
from . import dump, passes
from .plan import Plan
from .program import Program
from .schedule.driver import Scheduler
from .targets.host import Target, host_target
from .view import View, contiguous


def compile_program(
    program: Program, views: Sequence[View] | None = None, target: Target | None = None, title: str = "program"
) -> Plan:
    """Compile a Program for inputs that lie like `views` (row-major if left out), by default for this machine.

    title: what dumps call it.
    """
    layouts = [contiguous(v.shape) for v in program.inputs] if views is None else views
    machine = target or host_target()
    stages = list(passes.stages(program))
    scheduler = Scheduler(stages[-1][1], layouts, machine)
    plan = scheduler.run()
    folder = config.get("dump")
    if folder:
        dump.write(folder, title, stages, scheduler.sources, plan, machine)
    return plan
