"""What a target has no kernels for is computed by other ops."""

from __future__ import annotations

from collections.abc import Sequence

from .attention import Attention, AttentionGradient
from .effects import Begun
from .kernels.target import HostTarget, Target
from .orders import Positions
from .program import Node, Program, Value
from .values import rewritten

ONLY_ON_CPUS = (Attention, AttentionGradient, Positions, Begun)


def for_target(program: Program, target: Target) -> Program:
    """The Program without ops that the target has no kernels for, as far as they can be computed by others."""
    if isinstance(target, HostTarget) or not any(isinstance(node.op, ONLY_ON_CPUS) for node in program.nodes):
        return program

    def in_ops(node: Node, inputs: Sequence[Value]) -> tuple[Value, ...] | None:
        return tuple(node.op.in_ops(*inputs)) if isinstance(node.op, ONLY_ON_CPUS) else None

    return rewritten(program, in_ops)
