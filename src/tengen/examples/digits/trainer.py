"""Training that can be interrupted at any batch and resumed with the same result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import tengen
import tengen.distributed as dist
import tengen.functional as F

from ...autodiff import GradManager
from ...jit import trace
from ...optimizer import SGD, Adam, MultiStepLR, Optimizer
from .checkpoint import History, Progress, Settings, load_checkpoint
from .data import Scans, epoch_batches
from .model import LeNet

OPTIMIZERS: dict[str, Callable[[Any, float], Optimizer]] = {
    "adam": lambda parameters, lr: Adam(parameters, lr),
    "sgd": lambda parameters, lr: SGD(parameters, lr, momentum=0.9),
}
# Softer targets than one and zeros: with few scans to learn from, it saves about half of the mistakes.
LABEL_SMOOTHING = 0.1


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


class Trainer:
    """A LeNet and everything that its training needs.

    In a world of several processes, each computes its part of every batch, and gradients are added: apart from rounding, the network is that
    of one process. All of them know the whole run; the first one saves it, and shows its progress.

    The best epoch is the one with the lowest training loss: test scans are not used to choose, only to tell how
    good it is.

    Args:
        settings: of the run.
        train, test: the scans.
        checkpoint: path of the file that holds the run after each epoch.
        traced: run each training step as one compiled Program.
    """

    def __init__(self, settings: Settings, train: Scans, test: Scans, checkpoint: Path, traced: bool = False):
        self.learn = trace(self._learn, without_host=True) if traced else self._learn
        self.settings, self.train, self.test, self.checkpoint = settings, train, test, checkpoint
        tengen.random.seed(settings.seed)
        self.model = LeNet()
        callbacks = [dist.make_allreduce_cb("sum")] if dist.is_distributed() else []
        self.gm = GradManager().attach(self.model.parameters(), callbacks=callbacks)
        self.optimizer = OPTIMIZERS[settings.optimizer](self.model.parameters(), settings.lr)
        milestones = sorted({round(settings.epochs * share) for share in (0.6, 0.85)})
        self.scheduler = MultiStepLR(self.optimizer, milestones, gamma=0.1)
        self.progress = Progress()
        self.history = History()
        self.best: dict[str, Any] = {"epoch": -1, "model": self.model.state_dict()}

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, stop: Callable[[], bool], log: Callable[..., None] | None = None) -> bool:
        """Train to the end, saving at the start and after each epoch; returns whether the end was reached.

        Args:
            stop: called after each batch; if it returns True, the run is saved and ends. It must return the same in all processes.
            log: called after each epoch with its number, and its figures by name.
        """
        self.save()
        done = self.progress.epoch * len(self.train) + self.progress.seen
        total = self.settings.epochs * len(self.train)
        quiet = dist.get_rank() > 0
        with tqdm(total=total, initial=done, unit=" images", unit_scale=True, dynamic_ncols=True, disable=quiet) as bar:
            while self.progress.epoch < self.settings.epochs:
                if not self._run_epoch(bar, stop):
                    self.save()
                    return False
                self._end_epoch()
                self.save()
                if log is not None:
                    log(self.progress.epoch, **{name: values[-1] for name, values in asdict(self.history).items()})
        return True

    def _run_epoch(self, bar: tqdm[Any], stop: Callable[[], bool]) -> bool:
        now, settings = self.progress, self.settings
        bar.set_description(f"epoch {now.epoch + 1}/{settings.epochs}")
        for images, labels in epoch_batches(self.train, settings.batch_size, settings.seed, now.epoch, now.batch):
            loss, right = self.step(images, labels)
            if not math.isfinite(loss):
                raise Diverged(f"the loss became {loss} in epoch {now.epoch + 1}; try a smaller --lr")
            now.batch += 1
            now.loss += loss * len(labels)
            now.right += right
            now.seen += len(labels)
            bar.set_postfix(loss=f"{now.loss / now.seen:.4f}", accuracy=f"{now.right / now.seen:.2%}", refresh=False)
            bar.update(len(labels))
            if stop():
                return False
        return True

    def step(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        """Learn from one batch; returns its mean loss, and how many of its images the network read right."""
        mine, share = own_part(len(labels))
        loss, right = self.learn(tengen.tensor(images[mine]), tengen.tensor(labels[mine]), tengen.tensor(share))
        if dist.is_distributed():
            loss, right = dist.functional.all_reduce_sum(F.stack([loss, right.astype("float32")]))
        return loss.item(), int(right.item())

    def _learn(
        self, images: tengen.Tensor, labels: tengen.Tensor, share: tengen.Tensor
    ) -> tuple[tengen.Tensor, tengen.Tensor]:
        """share: of the images of the whole batch."""
        with self.gm:
            logits = self.model(images)
            loss = smoothed_loss(logits, labels) * share
            self.gm.backward(loss)
        self.optimizer.step().clear_grad()
        return loss, F.sum((F.argmax(logits, axis=1) == labels) * (share > 0))

    def _end_epoch(self) -> None:
        now, history = self.progress, self.history
        history.train_loss.append(now.loss / now.seen)
        history.train_accuracy.append(now.right / now.seen)
        logits = self.predict(self.test.images)
        history.test_loss.append(smoothed_loss(tengen.tensor(logits), tengen.tensor(self.test.labels)).item())
        history.test_accuracy.append(float(np.mean(logits.argmax(1) == self.test.labels)))
        if history.train_loss[-1] == min(history.train_loss):
            self.best = {"epoch": now.epoch, "model": self.model.state_dict()}
        self.scheduler.step()
        self.progress = Progress(epoch=now.epoch + 1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits of images, of shape (N, 10)."""
        self.model.eval()
        logits = self.model(tengen.tensor(images)).numpy()
        self.model.train()
        return logits

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the whole run to the checkpoint: the new file replaces the old one once it is complete."""
        if dist.get_rank() > 0:
            return
        state = {
            "settings": asdict(self.settings),
            "progress": asdict(self.progress),
            "history": asdict(self.history),
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }
        tengen.save(state, self.checkpoint)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume the run that `load_checkpoint` read."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.progress, self.history, self.best = state["progress"], state["history"], state["best"]

    def load_best(self) -> None:
        """Give the network the parameters of the best epoch, from the checkpoint file."""
        self.best = load_checkpoint(self.checkpoint)["best"]
        self.model.load_state_dict(self.best["model"])


def own_part(count: int) -> tuple[slice, np.float32]:
    """The images of a batch for this process, and their share of it. If there are too few, it gets one with weight 0."""
    rank, size = dist.get_rank(), dist.get_world_size()
    first, last = count * rank // size, count * (rank + 1) // size
    share = np.float32((last - first) / count)
    return (slice(first, last) if last > first else slice(0, 1)), share


def smoothed_loss(logits: tengen.Tensor, labels: tengen.Tensor) -> tengen.Tensor:
    """The mean cross entropy (Szegedy et al., Rethinking the Inception Architecture, 2016, section 7)."""
    return F.nn.cross_entropy(logits, labels, label_smooth=LABEL_SMOOTHING)
