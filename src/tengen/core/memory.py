"""The message for when memory runs out: how much was needed, for what, and which tensors hold the rest."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from .. import _rt
from ..base.device import parse
from ..base.dtype import WEAK
from ..compiler.program import Type

SHOWN = 3
"""The most kinds of tensors that are listed, the largest first."""


def out_of_memory(
    name: str, inputs: Sequence[Type], outputs: Sequence[Type], size: int, live: int, device: str = ""
) -> str:
    """The message for an op that needs `size` bytes in one piece, while tensors hold `live` bytes; `device`: of a GPU."""
    where = f" on {device}" if device else ""
    wanted = f"{name}: out of memory{where}: it needs {amount(size)} ({size} bytes) to make {_listed(outputs)}"
    given = f" of {_listed(tensors)}" if (tensors := [t for t in inputs if t.dtype not in WEAK]) else ""
    held_there = f"Tensors hold {amount(live)}{' there' if device else ''}{_largest(device or 'cpu')}"
    return f"{wanted}{given}. {held_there}{_room(device)}. Let go of what is not needed (del), or take smaller batches"


def _room(device: str) -> str:
    """What a GPU has, which other programs use too."""
    if not device:
        return ""
    try:
        total, free = _rt.device_memory(device)
    except RuntimeError:  # it has failed
        return ""
    return f"; {device} has {amount(total)}, of which {amount(free)} are free"


def amount(size: int) -> str:
    """A number of bytes in a form for people."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} bytes"


def _listed(types: Sequence[Type]) -> str:
    shown = [f"{t.dtype} {tuple(t.shape)}" for t in types[:SHOWN]]
    return ", ".join(shown) + (f" and {len(types) - SHOWN} more" if len(types) > SHOWN else "")


class Kind(NamedTuple):
    """Equal tensors: how many, their dtype and shape, and the bytes of all of them."""

    number: int
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def held(memory: str = "cpu") -> list[Kind]:
    """The tensors that Python holds in a device's memory, in groups of equal ones, the largest groups first. Views of
    one value each count; values that tapes hold do not."""
    alive = [t for t in gc.get_objects() if isinstance(t, _rt.Tensor) and _has_value(t)]
    alive = [t for t in alive if parse(t.desc.device).memory == memory]
    groups = Counter(t.desc for t in alive)
    kinds = [Kind(number, desc.dtype, tuple(desc.shape), number * _bytes(desc)) for desc, number in groups.items()]
    return sorted(kinds, key=lambda kind: -kind.bytes)


def _largest(memory: str) -> str:
    shown = [f"{kind.number} × {kind.dtype} {kind.shape} ({amount(kind.bytes)})" for kind in held(memory)[:SHOWN]]
    return f", the largest of them {', '.join(shown)}" if shown else ""


def _bytes(desc: _rt.Descriptor) -> int:
    """The bytes that the elements take in memory; a broadcast element is there only once."""
    return prod(extent for extent, stride in zip(desc.shape, desc.strides, strict=True) if stride) * desc.itemsize


def _has_value(tensor: _rt.Tensor) -> bool:
    try:
        return tensor.desc is not None
    except RuntimeError:  # a handle that was made and never filled
        return False
