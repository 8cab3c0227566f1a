"""What is done to a Program before it is scheduled: PIPELINE, in this order. A pass takes a Program and gives an equal one.

Building a Program (`program.Builder`) already records equal nodes once and leaves out dead ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..program import Program
from .regroup import regroup
from .simplify import simplify
from .stored import stored


class Pass(NamedTuple):
    """One step of the pipeline; dumps name their files after it."""

    name: str
    run: Callable[[Program], Program]


PIPELINE = (Pass("regroup", regroup), Pass("simplify", simplify), Pass("stored", stored))


def run(program: Program) -> Program:
    """The Program after all passes."""
    *_, (_, last) = stages(program)
    return last


def stages(program: Program) -> Iterator[tuple[str, Program]]:
    """(name, Program) as recorded and after each pass."""
    yield "recorded", program
    for step in PIPELINE:
        program = step.run(program)
        yield step.name, program
