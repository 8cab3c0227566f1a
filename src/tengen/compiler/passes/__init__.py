"""The passes over a Program before it is scheduled: PASSES, in this order. A pass takes a Program and returns an equal
one; `pipeline` has the steps that follow.

To add one, write a module here and a row of PASSES. docs/architecture/compiler.md says what a pass must keep to.
Building a Program (`program.Builder`) already records equal nodes once and leaves out dead ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..program import Program
from .regroup import regroup
from .simplify import simplify
from .stored import stored


class Pass(NamedTuple):
    """One step of the pipeline. Dumps name their files after it."""

    name: str
    run: Callable[[Program], Program]


PASSES = (Pass("regroup", regroup), Pass("simplify", simplify), Pass("stored", stored))


def run(program: Program) -> Program:
    """The Program after all passes."""
    for step in PASSES:
        program = step.run(program)
    return program
