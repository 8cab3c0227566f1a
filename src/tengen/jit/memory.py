"""Limits on the memory of traces: where they come from, and what their effect was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base.errors import NoKernelError
from ..compiler import fit_memory
from ..compiler.plan import Cost
from ..compiler.program import Program
from ..compiler.view import View
from ..logger import get_logger
from .config import DTRConfig, SublinearMemoryConfig

if TYPE_CHECKING:
    from ..compiler.kernels.target import Target

_logger = get_logger(__name__)


class MemoryLimit:
    """How many bytes a Program may take besides its inputs. Values of fewer bytes than `smallest` are not computed
    again.

    given: how many of the first inputs give their memory to the output of the same index, which then takes none if it
    lies alike. cost, unlimited: what the last Plan takes, and what it would take without the limit; None before one is
    compiled.
    """

    def __init__(self, limit: int, smallest: int = 0, given: int = 0):
        self.limit, self.smallest, self.given = limit, smallest, given
        self.cost: Cost | None = None
        self.unlimited: Cost | None = None

    def apply(self, title: str, program: Program, views: Sequence[View], target: Target | None = None) -> Program:
        """The Program within the limit, or as near to it as possible. The outcome is logged. target: what it is
        compiled for; None: this machine's CPU."""
        sizes = self.limit, self.smallest, self.given
        try:
            program, self.cost, self.unlimited = fit_memory(program, views, *sizes, target)
        except NoKernelError:  # then it runs on the CPU, and this is called again
            return program
        if self.cost.bytes > self.limit > 0:
            _logger.warning(
                "%s takes %.1f MiB, more than its limit of %.1f MiB (%.1f MiB without the limit); "
                "no other choice of values to compute again takes less",
                title,
                *(size / (1 << 20) for size in (self.cost.bytes, self.limit, self.unlimited.bytes)),
            )
        return program


class Everywhere:
    """The setting of `tengen.dtr`: a limit for traces that have none of their own."""

    def __init__(self) -> None:
        self.enabled, self.threshold, self.smallest, self.sampling = False, 0, 1 << 20, False

    def limit(self, given: int) -> MemoryLimit | None:
        return MemoryLimit(self.threshold, self.smallest, given) if self.enabled and self.threshold else None


everywhere = Everywhere()


def limit_of(sublinear: SublinearMemoryConfig | None, dtr: DTRConfig | None, given: int) -> MemoryLimit | None:
    """The limit that the settings of a trace ask for, a new one for each Program. given: see `MemoryLimit`. Raises
    TypeError for other settings."""
    if sublinear is not None and not isinstance(sublinear, SublinearMemoryConfig):
        raise TypeError(f"sublinear_memory_config must be a SublinearMemoryConfig, got {type(sublinear).__name__}")
    if dtr is not None and not isinstance(dtr, DTRConfig):
        raise TypeError(f"dtr_config must be a DTRConfig, got {type(dtr).__name__}")
    if sublinear is not None and dtr is not None:
        raise ValueError("trace takes a sublinear_memory_config or a dtr_config, not both")
    if sublinear is not None:
        return MemoryLimit(sublinear.lb_memory_mb << 20, given=given)
    if dtr is not None and dtr.eviction_threshold:
        return MemoryLimit(dtr.eviction_threshold, dtr.evictee_minimum_size, given)
    return everywhere.limit(given) if dtr is None else None
