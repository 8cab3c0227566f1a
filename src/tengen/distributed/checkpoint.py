"""Checkpoints that processes write together, and from which all of them go on at the same step.

A checkpoint is a file for each process that has something of its own, and one for what all have alike, which the first process writes last: so
there is a whole checkpoint, or none. All processes must see one folder.

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
    """What a checkpoint has. own: what this process has saved for itself; None if it has not, as when there were fewer processes."""

    step: int
    state: Any
    own: Any


def save(folder: Any, step: int, state: Any, own: Any = None, keep: int = 2) -> None:
    """Write a checkpoint; all processes call it.

    Args:
        folder: where, made if it is not there.
        step: how far the training is; a later checkpoint has a larger one.
        state: what is alike in all processes, such as state dicts. That of the first one is written.
        own: what only this process has, such as the state of its random numbers.
        keep: how many checkpoints stay, the last ones. Others are removed once this one is there.

    Raises ValueError for a negative step or keep < 1, SerializationError for values that cannot be saved, OSError if writing fails.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"checkpoint.save: step must be at least 0 and keep at least 1, got {step} and {keep}")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if own is not None:
        _save(own, _own_path(place, step, get_rank()))
    group_barrier()  # a checkpoint is there with its last file
    if get_rank() == 0:
        _save({"step": step, "processes": get_world_size(), "state": state}, _path(place, step))
        for old in _steps(place)[:-keep]:
            _remove(place, old)
    group_barrier()


def load(folder: Any) -> Checkpoint | None:
    """The last checkpoint in a folder, the same in all processes, which all call it; None if there is none. Tensors go to the default device.

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
            f"checkpoint.load: rank 0 goes on from {path}, which rank {get_rank()} does not see; all need one folder"
        )
    here = get_default_device()
    return Checkpoint(step, _load(path, here)["state"], _load(own, here) if own.exists() else None)


def _steps(place: Path) -> list[int]:
    """Those of the checkpoints that are there, in order."""
    names = place.iterdir() if place.is_dir() else ()
    return sorted(int(found[1]) for path in names if (found := _NAME.fullmatch(path.name)))


def _path(place: Path, step: int) -> Path:
    return place / f"step-{step:09d}.tengen"


def _own_path(place: Path, step: int, rank: int) -> Path:
    return place / f"step-{step:09d}.rank-{rank}.tengen"


def _remove(place: Path, step: int) -> None:
    """First the file without which there is no checkpoint."""
    _path(place, step).unlink(missing_ok=True)
    for path in place.glob(f"step-{step:09d}.rank-*.tengen"):
        path.unlink(missing_ok=True)
