"""Datasets and transforms for the tests of DataLoader, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np

from tengen.data.dataset import Dataset, StreamDataset
from tengen.data.transform import Transform


class Squares(Dataset):
    """(number, its square); `bad` fails."""

    def __init__(self, count, bad=None):
        super().__init__()
        self.count, self.bad = count, bad

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError("no such image")
        return np.float32(index), index * index

    def __len__(self):
        return self.count


class Images(Squares):
    """(an image that is large enough for shared memory, its number)."""

    def __getitem__(self, index):
        return np.full((3, 64, 64), index, np.float32), index


class Slow(Squares):
    """Sample 2 takes long."""

    def __getitem__(self, index):
        time.sleep(30 if index == 2 else 0)
        return index


class Dies(Squares):
    """Sample 2 kills its process."""

    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class Locked(Squares):
    """Counts in all processes together how often it was asked; such a number can be pickled only while a process starts."""

    def __init__(self, count):
        super().__init__(count)
        self.taken = multiprocessing.get_context("spawn").Value("i", 0)

    def __getitem__(self, index):
        with self.taken.get_lock():
            self.taken.value += 1
        return index


class Ends(Squares):
    """Sample 2 takes the next of something that is at its end."""

    def __getitem__(self, index):
        return next(iter(())) if index == 2 else index


class Count(StreamDataset):
    """0, 1, 2 …"""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class Twice(Transform):
    """Doubles the first part of a sample."""

    def apply(self, input):
        return 2 * input[0], input[1]
