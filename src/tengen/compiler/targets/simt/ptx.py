"""PTX text from LLVM IR, by LLVM's own backend for it."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from ...backend import compiling
from ...kernels.target import DeviceTarget
from .machine import DeviceFlow

VERSIONS = {(7, 5): "ptx70", (8, 0): "ptx70", (8, 6): "ptx71", (8, 9): "ptx78", (9, 0): "ptx78", (10, 0): "ptx86"}
"""What each generation of chips needs at least of the language. A driver takes text for an older generation too."""


def to_ptx(text: str, target: DeviceTarget) -> str:
    """The PTX of a module of LLVM IR. Raises ValueError for a GPU that is too old."""
    with compiling:
        module, machine = llvm.parse_assembly(text), _machine(target)
        module.data_layout = str(machine.target_data)
        module.verify()
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
        passes.getModulePassManager().run(module, passes)
        return str(machine.emit_assembly(module))


@cache
def _machine(target: DeviceTarget) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    known = max((c for c in VERSIONS if c <= target.capability), default=None)
    if known is None:
        raise ValueError(f"tengen makes kernels for sm_75 and later GPUs, not for {target.name}")
    nvptx = llvm.Target.from_triple(DeviceFlow.TRIPLE)
    chip = target._replace(capability=known).name
    return nvptx.create_target_machine(cpu=chip, features=f"+{VERSIONS[known]}", opt=3)
