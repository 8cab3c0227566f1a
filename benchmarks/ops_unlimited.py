"""tengen without the limit on its memory, as a peer of the cases that have one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import ops_tengen
from .cases import Case
from .measure import Data, Trial

version = ops_tengen.version


def trials(case: Case, data: Data) -> Iterator[Trial]:
    """The same case with all memory; none where there is no limit."""
    if "memory" in case.arguments:
        rest = {name: value for name, value in case.arguments.items() if name != "memory"}
        yield from ops_tengen.trials(replace(case, arguments=rest), data)
