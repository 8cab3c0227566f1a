"""Images in one folder per class."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ....base.download import digest
from ....logger import get_logger
from .meta_vision import VisionDataset
from .utils import is_img, read_image, untar


class ImageFolder(VisionDataset):
    """Image files below `root`/class/, at any depth. Samples are (image, class as int32), in the order of their names.

    Args:
        root: the folder that holds a folder for each class.
        check_valid_func: takes a path and says whether it is a sample; by default every file with the name of an image is.
        class_name: samples have the name of the class instead of its number.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no folders.
    """

    def __init__(self, root: str, check_valid_func: Callable[[str], bool] | None = None, class_name: bool = False):
        super().__init__(root, order=("image", "image_category"))
        self.check_valid = check_valid_func or is_img
        self.class_name = class_name
        self.class_dict = self.collect_class()
        self.samples = self.collect_samples()

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        path, label = self.samples[index]
        return read_image(path), label

    def __len__(self) -> int:
        return len(self.samples)

    def collect_class(self) -> dict[str, int]:
        """The number of each class."""
        names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        if not names:
            raise ValueError(f"{self.root} has no folders; there must be one for each class")
        return {name: i for i, name in enumerate(names)}

    def collect_samples(self) -> list[tuple[str, Any]]:
        """(path, class) of all samples."""
        samples = []
        for name, number in self.class_dict.items():
            label = name if self.class_name else np.int32(number)
            for folder, _, files in sorted(os.walk(os.path.join(self.root, name), followlinks=True)):
                paths = (os.path.join(folder, file) for file in sorted(files))
                samples += [(path, label) for path in paths if self.check_valid(path)]
        return samples


class ImageNet(ImageFolder):
    """ILSVRC 2012 in `root`: train/ and val/ with a folder for each class, or the archives, which are unpacked at the first use.

    Args:
        root: the folder with train/ and val/, or with the archives, which you get from their authors:
            ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz.
        train: the training images; otherwise the validation images.
        kwargs: arguments of ImageFolder.

    Raises:
        FileNotFoundError: neither exists.
        ValueError: an archive is corrupt.
    """

    raw_file_meta: ClassVar[dict[str, tuple[str, str]]] = {
        "train": ("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"),
        "val": ("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622"),
        "devkit": ("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
    }
    default_train_dir, default_val_dir, default_devkit_dir = "train", "val", "ILSVRC2012_devkit_t12"

    def __init__(self, root: str, train: bool = True, **kwargs: Any):
        self.root_dir = os.path.expanduser(root)
        if not os.path.isdir(self.root_dir):
            raise FileNotFoundError(f"dir {root} does not exist")
        folder = os.path.join(self.root_dir, self.default_train_dir if train else self.default_val_dir)
        if not os.path.isdir(folder):
            self._unpack_train(folder) if train else self._unpack_val(folder)
        super().__init__(folder, **kwargs)

    def _archive(self, kind: str) -> str:
        """The path of an archive, after its checksum was verified."""
        name, md5 = self.raw_file_meta[kind]
        path = os.path.join(self.root_dir, name)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{self.root_dir} holds neither unpacked images nor {name}")
        get_logger(__name__).info("checking %s ...", path)
        if digest(path, "md5") != md5:
            raise ValueError(f"{path} is damaged: its MD5 sum is not {md5}")
        return path

    def _unpack_train(self, folder: str) -> None:
        archive, unfinished = self._archive("train"), f"{folder}.unfinished"
        get_logger(__name__).info("unpacking %s ...", archive)
        untar(archive, unfinished)
        for name in sorted(os.listdir(unfinished)):
            if name.endswith(".tar"):
                path = os.path.join(unfinished, name)
                untar(path, path.removesuffix(".tar"), remove=True)
        os.rename(unfinished, folder)

    def _unpack_val(self, folder: str) -> None:
        archive, unfinished = self._archive("val"), f"{folder}.unfinished"
        labels, names = self.valid_ground_truth, self.meta
        get_logger(__name__).info("unpacking %s ...", archive)
        untar(archive, unfinished)
        images = sorted(name for name in os.listdir(unfinished) if is_img(name))
        for image, label in zip(images, labels, strict=True):
            place = os.path.join(unfinished, names[label])
            os.makedirs(place, exist_ok=True)
            os.replace(os.path.join(unfinished, image), os.path.join(place, image))
        os.rename(unfinished, folder)

    def _devkit(self, *path: str) -> str:
        folder = os.path.join(self.root_dir, self.default_devkit_dir)
        if not os.path.isdir(folder):
            untar(self._archive("devkit"), self.root_dir)
        return os.path.join(folder, "data", *path)

    @property
    def valid_ground_truth(self) -> list[int]:
        """The class of each validation image, from 1."""
        with open(self._devkit("ILSVRC2012_validation_ground_truth.txt")) as file:
            return [int(line) for line in file]

    @property
    def meta(self) -> dict[int, str]:
        """The folder name of each class, by number. Needs SciPy, because a MATLAB file holds it."""
        try:
            from scipy.io import loadmat
        except ImportError as error:
            raise ImportError(
                "SciPy is needed to read the classes of ImageNet's validation images: pip install scipy"
            ) from error
        rows = loadmat(self._devkit("meta.mat"), squeeze_me=True)["synsets"]
        return {int(row[0]): str(row[1]) for row in rows if int(row[4]) == 0}
