"""Learning rates that change from epoch to epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from ..base.errors import StateDictError
from ..base.missing import Elsewhere, Explained
from ..core.ops.base import integer, several
from .optimizer import Optimizer

__all__ = ["LRScheduler", "MultiStepLR"]


class LRScheduler(Explained, ABC):
    """Sets the learning rate of each group of an optimizer at each `step()`, to what a subclass says in `get_lr`.

    Args:
        optimizer: the optimizer; the learning rates it has now are `base_lrs`.
        current_epoch: the epoch before the first; other than -1 when training is taken up again, and each group then
            has "initial_lr".

    >>> from tengen.optimizer import SGD
    >>> class Halve(LRScheduler):
    ...     def get_lr(self):
    ...         return [lr * 0.5 ** self.current_epoch for lr in self.base_lrs]
    >>> opt = SGD([tengen.Parameter([1.0])], lr=1.0)
    >>> scheduler = Halve(opt)
    >>> scheduler.step()
    >>> opt.param_groups[0]["lr"]
    0.5
    """

    get_last_lr = Elsewhere("get_last_lr", 'PyTorch\'s, in tengen: [group["lr"] for group in optimizer.param_groups]')

    def __init__(self, optimizer: Optimizer, current_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a scheduler takes an Optimizer, got {type(optimizer).__name__}")
        for index, group in enumerate(optimizer.param_groups):
            if current_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"current_epoch={current_epoch} needs 'initial_lr' in param_groups[{index}]; "
                    "load the optimizer's state first"
                )
        self.optimizer = optimizer
        self.current_epoch = current_epoch
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    @abstractmethod
    def get_lr(self) -> list[float]:
        """The learning rate of each group at `current_epoch`.

        Returns: a list of numbers.
        """

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to `epoch`, and set the learning rates.

        Args:
            epoch: the epoch to go to; None for the next.
        """
        self.current_epoch = self.current_epoch + 1 if epoch is None else epoch
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer and its base_lrs.

        Returns: a dict.
        """
        return {name: value for name, value in self.__dict__.items() if name not in ("optimizer", "base_lrs")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Args:
            state_dict: what `state_dict` gave.

        Raises:
            StateDictError: something is missing.
        """
        names = list(self.state_dict())
        missing = [name for name in names if name not in state_dict]
        if missing:
            raise StateDictError(f"the state dict does not fit {type(self).__name__}: missing {', '.join(missing)}")
        for name in names:
            setattr(self, name, state_dict[name])


class MultiStepLR(LRScheduler):
    """Multiplies learning rates by `gamma` at each of some epochs.

    Args:
        optimizer: the optimizer; the learning rates it has now are `base_lrs`.
        milestones: the epochs, integers in order; one that is there twice counts twice.
        gamma: the factor.
        current_epoch: the epoch before the first; see LRScheduler.

    >>> from tengen.optimizer import SGD
    >>> opt = SGD([tengen.Parameter([1.0])], lr=1.0)
    >>> scheduler = MultiStepLR(opt, [1, 2], gamma=0.5)
    >>> scheduler.step()
    >>> opt.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, current_epoch: int = -1):
        given = several("MultiStepLR", "milestones", milestones, "epochs in a list")
        try:
            self.milestones = [integer("MultiStepLR", "milestones", epoch) for epoch in given]
        except TypeError:
            self.milestones = []
        if self.milestones != sorted(self.milestones) or len(self.milestones) != len(given):
            raise ValueError(f"milestones are integers in order, got {given}")
        self.gamma = gamma
        super().__init__(optimizer, current_epoch)

    def get_lr(self) -> list[float]:
        """base_lr · gamma ** (how many milestones have been reached), for each group."""
        factor = self.gamma ** bisect_right(self.milestones, self.current_epoch)
        return [lr * factor for lr in self.base_lrs]
