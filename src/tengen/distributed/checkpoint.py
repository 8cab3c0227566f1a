"""Checkpoints that processes write together, and from which all of them resume at the same step.

A checkpoint has a file for each process that has state of its own, and one for what all share, which the first process writes last: so
there is a whole checkpoint or none. All processes must see the same folder.

>>> import tempfile
>>> from tengen.distributed import checkpoint
>>> folder = tempfile.mkdtemp()
>>> checkpoint.save(folder, 10, {"weight": tengen.tensor([1.0, 2.0])}, own={"seed": 7})
>>> found = checkpoint.load(folder)
>>> found.step, found.state["weight"].tolist(), found.own
(10, [1.0, 2.0], {'seed': 7})
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..base.device import get_default_device
from ..base.world import joined
from ..core import Tensor
from ..functional.distributed import broadcast
from ..serialization import load as _load
from ..serialization import save as _save
from .group import get_rank, get_world_size, group_barrier

__all__ = ["Checkpoint", "load", "save"]

_NAME = re.compile(r"step-(\d{9,})\.tengen")


class Checkpoint(NamedTuple):
    """The contents of a checkpoint. own: what this process has saved for itself; None if it saved nothing, or if there were fewer processes."""

    step: int
    state: Any
    own: Any


def save(folder: Any, step: int, state: Any, own: Any = None, keep: int = 2) -> None:
    """Write a checkpoint; all processes call it.

    Args:
        folder: where to write; it is made if it does not exist.
        step: of the training; a later checkpoint has a larger one.
        state: what all processes share, such as state dicts. That of the first process is written.
        own: what this process alone has, such as the state of its random numbers.
        keep: how many of the last checkpoints stay. Older ones are removed once this one is complete.

    Raises ValueError for a negative step or keep < 1, SerializationError for values that cannot be saved, OSError if writing fails.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"checkpoint.save: step must be at least 0 and keep at least 1, got {step} and {keep}")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if own is not None:
        _save(own, _own_path(place, step, get_rank()))
    group_barrier()  # a checkpoint is complete with its last file
    if get_rank() == 0:
        _save({"step": step, "processes": get_world_size(), "state": state}, _path(place, step))
        for old in _steps(place)[:-keep]:
            _remove(place, old)
    group_barrier()


def load(folder: Any) -> Checkpoint | None:
    """Load the last checkpoint in a folder; None if there is none. All processes call it and get the same. Tensors go to the default device.

    Raises FileNotFoundError if this process does not see the files of the first one, SerializationError for a damaged file.
    """
    place = Path(folder)
    step = max(_steps(place), default=-1) if get_rank() == 0 else -1
    if joined():
        step = int(broadcast(Tensor([step], dtype="int64")).item())
    if step < 0:
        return None
    path, own = _path(place, step), _own_path(place, step, get_rank())
    if not path.exists():
        raise FileNotFoundError(
            f"checkpoint.load: rank 0 resumes from {path}, which rank {get_rank()} does not see; all need the same folder"
        )
    here = get_default_device()
    return Checkpoint(step, _load(path, here)["state"], _load(own, here) if own.exists() else None)


def _steps(place: Path) -> list[int]:
    """The steps of the checkpoints that exist, in order."""
    names = place.iterdir() if place.is_dir() else ()
    return sorted(int(found[1]) for path in names if (found := _NAME.fullmatch(path.name)))


def _path(place: Path, step: int) -> Path:
    return place / f"step-{step:09d}.tengen"


def _own_path(place: Path, step: int, rank: int) -> Path:
    return place / f"step-{step:09d}.rank-{rank}.tengen"


def _remove(place: Path, step: int) -> None:
    """Remove the file first without which there is no checkpoint."""
    _path(place, step).unlink(missing_ok=True)
    for path in place.glob(f"step-{step:09d}.rank-*.tengen"):
        path.unlink(missing_ok=True)
