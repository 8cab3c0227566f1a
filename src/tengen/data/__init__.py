"""Data for training: datasets hold samples, samplers pick them, transforms change them, and a DataLoader makes batches.

>>> import numpy as np
>>> from tengen.data import DataLoader, RandomSampler
>>> from tengen.data.dataset import ArrayDataset
>>> images, labels = np.zeros((10, 3, 8, 8), np.float32), np.arange(10)
>>> dataset = ArrayDataset(images, labels)
>>> loader = DataLoader(dataset, RandomSampler(dataset, batch_size=4, seed=0))
>>> [labels.tolist() for images, labels in loader]
[[2, 8, 4, 9], [1, 6, 7, 3], [0, 5]]
"""

from ..base.missing import explain_module
from . import collator, dataloader, dataset, sampler, transform
from .collator import Collator
from .dataloader import DataLoader
from .sampler import (
    Infinite,
    MapSampler,
    RandomSampler,
    ReplacementSampler,
    Sampler,
    SequentialSampler,
    StreamSampler,
)

__all__ = [
    "Collator",
    "DataLoader",
    "Infinite",
    "MapSampler",
    "RandomSampler",
    "ReplacementSampler",
    "Sampler",
    "SequentialSampler",
    "StreamSampler",
    "collator",
    "dataloader",
    "dataset",
    "sampler",
    "transform",
]

explain_module(__name__, dataset)
explain_module(f"{__name__}.dataset")
explain_module(f"{__name__}.transform")
