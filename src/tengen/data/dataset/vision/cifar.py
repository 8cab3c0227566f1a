"""CIFAR: small images of ten or a hundred classes (Krizhevsky 2009)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .meta_vision import Array, VisionDataset
from .utils import load_batch, load_raw_data_from_url, untar


class CIFAR10(VisionDataset):
    """Samples are (image (32, 32, 3), class as int32).

    Args:
        root: the folder that holds the folder of the unpacked archive.
        train: the 50000 training images; otherwise the 10000 test images.
        download: download the archive if it is not there.
        timeout: seconds to wait for its server.

    Raises:
        ValueError: it does not exist.
        SerializationError: a file is damaged.
    """

    url_path = "http://www.cs.utoronto.ca/~kriz/"
    raw_file_name = "cifar-10-python.tar.gz"
    raw_file_md5 = "c58f30108f718f92721af3b95e74349a"
    raw_file_dir = "cifar-10-batches-py"
    train_batch: ClassVar[Sequence[str]] = [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
    ]
    test_batch: ClassVar[Sequence[str]] = ["test_batch"]
    meta_info: ClassVar[dict[str, str]] = {"name": "batches.meta"}
    labels: tuple[bytes, ...] = (b"labels",)

    def __init__(self, root: str, train: bool = True, download: bool = True, timeout: int = 500):
        super().__init__(root, order=("image", "image_category"))
        self.timeout = timeout
        folder = os.path.join(self.root, self.raw_file_dir)
        if not os.path.isdir(folder) and download:
            self.download()
        if not os.path.isdir(self.root):
            raise ValueError(f"dir {self.root} does not exist")
        if not os.path.isdir(folder):
            raise ValueError(f"dir does not contain target file {folder}, please set download=True")
        self.target_file = [os.path.join(folder, name) for name in (self.train_batch if train else self.test_batch)]
        self.arrays = self.bytes2array(self.target_file)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def meta(self) -> dict[Any, Any]:
        """The metadata that its authors give: the names of the classes."""
        return dict(load_batch(os.path.join(self.root, self.raw_file_dir, self.meta_info["name"])))

    def download(self) -> None:
        """Download the archive and unpack it."""
        load_raw_data_from_url(
            self.url_path + self.raw_file_name, self.raw_file_name, self.raw_file_md5, self.root, self.timeout
        )
        untar(os.path.join(self.root, self.raw_file_name), self.root)

    def bytes2array(self, filenames: Sequence[str]) -> tuple[Array, ...]:
        """The images and the labels of some files."""
        batches = [load_batch(name) for name in filenames]
        pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
        images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[..., ::-1])
        return images, *(np.array([n for batch in batches for n in batch[kind]], np.int32) for kind in self.labels)


class CIFAR100(CIFAR10):
    """Samples are (image (32, 32, 3), class, superclass), the last two as int32.

    Args:
        root, train, download, timeout: see CIFAR10.
    """

    raw_file_name = "cifar-100-python.tar.gz"
    raw_file_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    raw_file_dir = "cifar-100-python"
    train_batch: ClassVar[Sequence[str]] = ["train"]
    test_batch: ClassVar[Sequence[str]] = ["test"]
    meta_info: ClassVar[dict[str, str]] = {"name": "meta"}
    labels = (b"fine_labels", b"coarse_labels")
