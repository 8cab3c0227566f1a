"""What a checkpoint holds besides parameters, and how one is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tengen

DEFAULT_LR = {"adam": 0.002, "sgd": 0.05}


@dataclass(frozen=True)
class Settings:
    """All that the result of a run depends on."""

    epochs: int = 40
    batch_size: int = 64
    lr: float = DEFAULT_LR["adam"]
    optimizer: str = "adam"
    seed: int = 0


@dataclass
class Progress:
    """How far a run has come. `loss`, `right` and `seen` are sums over the images so far in the current epoch."""

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0


@dataclass
class History:
    """One entry for each epoch that is done. Training figures are means over the epoch, of augmented images."""

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `Trainer.save` wrote, wherever that was, for `Trainer.restore`. Raises ValueError for another file or a damaged one."""
    state = tengen.load(path, map_location=tengen.get_default_device())
    try:
        parts = {"settings": Settings, "progress": Progress, "history": History}
        made = {name: kind(**state[name]) for name, kind in parts.items()}
        return made | {name: state[name] for name in ("best", "model", "optimizer", "scheduler")}
    except (KeyError, TypeError):
        raise ValueError(f"{path}: not a checkpoint of this program") from None
