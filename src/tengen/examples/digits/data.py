"""The handwritten digits of scikit-learn: 1,797 scans of 8×8 pixels, enlarged to 32×32, split in five parts to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

# How far, in pixels of 32, the augmentation moves an image.
MAX_SHIFT = 3


@dataclass(frozen=True)
class Scans:
    """Images, float32 in [0, 1] of shape (N, 1, 32, 32), and what digits they are, int32 of shape (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def load() -> tuple[Scans, Scans]:
    """The scans for training (four fifths) and for the test (one fifth), each with the same share of every digit.

    The split is fixed: it does not depend on the seed of a run, so that accuracies of different runs compare.
    """
    digits = load_digits()
    large = zoom(digits.images / 16, (1, 4, 4), order=3, mode="nearest", grid_mode=True)
    images = np.clip(large, 0, 1).astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int32)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = parts
    return Scans(train_images, train_labels), Scans(test_images, test_labels)


def epoch_batches(
    scans: Scans, batch_size: int, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches (images, labels) of one epoch in random order, with each image shifted a little at random.

    They depend on `seed` and `epoch` only, so training that was interrupted continues with the batch numbered `first`.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(scans))
    shifts = random.integers(0, 2 * MAX_SHIFT + 1, (len(scans), 2))
    for start in range(first * batch_size, len(scans), batch_size):
        chosen = order[start : start + batch_size]
        yield shifted(scans.images[chosen], shifts[chosen]), scans.labels[chosen]


def shifted(images: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Each image moved by its row of `shifts`, down and right counted from -MAX_SHIFT; the background fills the gap."""
    size = images.shape[-1]
    framed = np.pad(images, ((0, 0), (0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, (size, size), axis=(2, 3))
    down, right = 2 * MAX_SHIFT - shifts.T
    return windows[np.arange(len(images)), :, down, right]
