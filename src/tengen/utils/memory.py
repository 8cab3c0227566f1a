"""Shows what memory is used for."""

from __future__ import annotations

from .. import _rt
from ..base.device import Device, require
from ..core.memory import amount, held
from .table import table

__all__ = ["memory_summary"]


def memory_summary(most: int = 10, device: str | Device | None = None) -> str:
    """Describe the memory of tensors: the total, its peak, and the kinds of tensors that use most of it.

    Each view of a value counts on its own; what a GradManager keeps for the backward is only in the totals.

    Args:
        most: how many kinds are listed.
        device: whose memory; the default device's if left out.

    Returns: text.

    Raises: DeviceError for a GPU that does not exist.

    >>> x = F.zeros((256, 1024))
    >>> print(memory_summary())
    tensors ...
    """
    place = require(device)
    stats = _rt.memory_stats(place.physical)
    source = "the system" if place.memory == "cpu" else f"the driver of {place.physical}"
    lines = [
        f"tensors hold {amount(stats['live'])}, at most {amount(stats['peak'])} since reset_max_memory_stats()",
        f"from {source} {amount(stats['reserved'])}, what is free of it is kept for the next tensors",
    ]
    kinds = held(place.memory)
    rows = [(kind.number, kind.dtype, kind.shape, amount(kind.bytes)) for kind in kinds[:most]]
    if rows:
        lines.append(table(("tensors", "dtype", "shape", "together"), rows))
    if len(kinds) > most:
        rest = kinds[most:]
        lines.append(f"and {sum(kind.number for kind in rest)} others, {amount(sum(kind.bytes for kind in rest))}")
    return "\n".join(lines)
