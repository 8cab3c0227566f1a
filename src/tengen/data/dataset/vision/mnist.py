"""MNIST: handwritten digits (LeCun, Cortes & Burges)."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import Any, ClassVar

import numpy as np

from .meta_vision import Array, VisionDataset
from .utils import load_raw_data_from_url

IMAGES, LABELS = 2051, 2049


class MNIST(VisionDataset):
    """Samples are (image (28, 28, 1), digit as int32).

    Args:
        root: the folder with the four compressed files.
        train: the 60000 training images; otherwise the 10000 test images.
        download: download the files that are not there.
        timeout: seconds to wait for the server.

    Raises:
        ValueError: the files do not exist or are corrupt.
    """

    url_path = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    raw_file_name: ClassVar[list[str]] = [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    raw_file_md5: ClassVar[list[str]] = [
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ]

    def __init__(self, root: str, train: bool = True, download: bool = True, timeout: int = 500):
        super().__init__(root, order=("image", "image_category"))
        self.timeout = timeout
        if download:
            self.download()
        if not os.path.isdir(self.root):
            raise ValueError(f"dir {self.root} does not exist")
        self._meta_data: dict[str, dict[str, int]] = {}
        self.arrays = self.process(train)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def meta(self) -> dict[str, dict[str, int]]:
        """The headers of the files."""
        return self._meta_data

    def download(self) -> None:
        """Download the files that are not there."""
        for name, md5 in zip(self.raw_file_name, self.raw_file_md5, strict=True):
            if not os.path.exists(os.path.join(self.root, name)):
                load_raw_data_from_url(self.url_path + name, name, md5, self.root, self.timeout)

    def process(self, train: bool) -> tuple[Array, Array]:
        """The images and the digits."""
        images, labels = self.raw_file_name[:2] if train else self.raw_file_name[2:]
        pixels, (count, height, width) = self._read(images, IMAGES, 3)
        digits, (numbers,) = self._read(labels, LABELS, 1)
        if count != numbers:
            raise ValueError(f"{images} has {count} images, and {labels} {numbers} labels")
        self._meta_data = {
            "images": {"magic": IMAGES, "imgs": count, "height": height, "width": width},
            "labels": {"magic": LABELS, "imgs": numbers},
        }
        return pixels.reshape(count, height, width, 1), digits.astype(np.int32)

    def _read(self, name: str, magic: int, dims: int) -> tuple[Array, tuple[int, ...]]:
        path = os.path.join(self.root, name)
        if not os.path.exists(path):
            raise ValueError(f"dir does not contain target file {path}, please set download=True")
        try:
            with gzip.open(path) as file:
                data = file.read()
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        head = np.frombuffer(data[: 4 * (1 + dims)], ">i4").tolist()
        elements = np.frombuffer(data, np.uint8, offset=min(len(data), 4 * (1 + dims)))
        if len(head) != 1 + dims or head[0] != magic or np.prod(head[1:]) != elements.size:
            raise ValueError(f"{path} is damaged: its head says {head}, and {elements.size} bytes follow")
        return elements.copy(), tuple(head[1:])
