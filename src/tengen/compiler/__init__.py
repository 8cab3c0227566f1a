"""Programs in, machine code out. Knows nothing of tensors or of the runtime.

`program` (graph IR) → `passes` → `schedule` (which nodes become one kernel) → `kernels` (loop IR) → `targets` (LLVM) →
`cache` (disk). `pipeline` lists all steps, and `plan` is the result. Importing this package does not load LLVM: see
`backend`.
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
    from .pipeline import Compilation


def compile_program(
    program: Program, views: Sequence[View] | None = None, target: Target | None = None, title: str = "program"
) -> Plan:
    """Compile a Program for inputs that lie like `views` (row-major if left out), by default for this machine.

    title: what dumps call it.
    """
    layouts = [contiguous(v.shape) for v in program.inputs] if views is None else views
    machine = target or backend.host.host_target()
    return _for_users(backend.pipeline.compiled(program, layouts, machine, config.get("dump"), title).plan, program)


def _for_users(plan: Plan, program: Program) -> Plan:
    """The Plan with the types of the results as the Program has them: quantised ones again."""
    types = [v.type for v in program.outputs]
    if types == [placed.type for placed in plan.outputs]:
        return plan
    pairs = zip(plan.outputs, types, strict=True)
    return plan._replace(outputs=tuple([placed._replace(type=type) for placed, type in pairs]))


def obtain_plan(program: Program, views: Sequence[View], title: str, target: Target | None = None) -> Plan:
    """The Plan that `compile_program` gives, taken from the disk if an earlier process left it there."""
    machine = target or backend.host.host_target()
    entry = None if config.get("dump") else backend.plan_store.name(program, views, machine)
    if entry is None:
        return compile_program(program, views, machine, title)
    known = backend.plan_store.find(entry)
    if known is not None:
        return known
    start = perf_counter()
    made = _begun.pop(entry, None) or backend.pipeline.begun(program, views, machine)
    plan = _for_users(backend.pipeline.finished(made).plan, program)
    backend.plan_store.keep(entry, plan, perf_counter() - start)
    return plan


_begun: dict[str, Compilation] = {}
MOST_BEGUN = 256


def begin_plan(program: Program, views: Sequence[View], target: Target | None = None) -> None:
    """Do of `obtain_plan` what needs no kernels, for a Plan that will be wanted soon, and have its kernels compiled meanwhile."""
    machine = target or backend.host.host_target()
    entry = None if config.get("dump") else backend.plan_store.name(program, views, machine)
    if entry and entry not in _begun and len(_begun) < MOST_BEGUN and not backend.plan_store.has(entry):
        _begun[entry] = made = backend.pipeline.begun(program, views, machine)
        backend.cache.expect_kernels(made.scheduler.sources, machine)


def fit_memory(
    program: Program,
    views: Sequence[View],
    limit: int,
    smallest: int = 0,
    given: int = 0,
    target: Target | None = None,
) -> Fitted:
    """The Program, changed so that its Plan takes at most `limit` bytes, if recomputation can achieve that.

    The inputs lie like `views`, and the first `given` of them are donated. Values of at least `smallest` bytes may be
    computed again instead of being kept.
    """
    machine = target or backend.host.host_target()

    def measure(changed: Program) -> Cost:
        return backend.driver.Scheduler(changed, views, machine).cost(given)

    return backend.recompute.fit(backend.passes.run(program), limit, measure, smallest)
