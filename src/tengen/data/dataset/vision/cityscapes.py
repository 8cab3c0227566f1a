"""Cityscapes: street scenes with a class for each pixel (Cordts et al. 2016)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import names
from .meta_vision import Annotated, Array
from .utils import read_image

COUNTED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids in the files of the classes that are evaluated."""
OTHER = 255


class Cityscapes(Annotated):
    """The Cityscapes data set in the folder `root`.

    Args:
        root: the folder with leftImg8bit and gtFine or gtCoarse.
        image_set: "train", "val" or "test"; with mode "gtCoarse" also "train_extra".
        mode: "gtFine" or "gtCoarse".
        order: the parts of a sample; mask is uint8 (height, width, 1), 255 where no class that is counted is; info
            [height, width, file name].

    Raises:
        ValueError: a name is unknown.
        FileNotFoundError: the folders do not exist.
    """

    supported_order = ("image", "mask", "info")
    class_names = names.CITYSCAPES

    def __init__(self, root: str, image_set: str, mode: str, *, order: Sequence[str] | None = None):
        super().__init__(root, order)
        sets = {"gtFine": ("train", "test", "val"), "gtCoarse": ("train", "train_extra", "val")}
        if mode not in sets:
            raise ValueError(f"mode should be one of {', '.join(sets)}, but got {mode!r}")
        if image_set not in sets[mode]:
            raise ValueError(f"image_set should be one of {', '.join(sets[mode])} for {mode}, but got {image_set!r}")
        self.mode = mode
        self.images_dir = os.path.join(self.root, "leftImg8bit", image_set)
        self.masks_dir = os.path.join(self.root, mode, image_set)
        self.images: list[str] = []
        self.masks: list[str] = []
        for city in sorted(os.listdir(self.images_dir)):
            for name in sorted(os.listdir(os.path.join(self.images_dir, city))):
                mask = f"{name.split('_leftImg8bit')[0]}_{mode}_labelIds.png"
                self.images.append(os.path.join(self.images_dir, city, name))
                self.masks.append(os.path.join(self.masks_dir, city, mask))

    def __len__(self) -> int:
        return len(self.images)

    def _read_image(self, index: int) -> Array:
        return read_image(self.images[index])

    def _read_mask(self, index: int) -> Array:
        numbers = np.full(256, OTHER, np.uint8)
        numbers[list(COUNTED)] = range(len(COUNTED))
        return numbers[read_image(self.masks[index], gray=True)]

    def _read_info(self, index: int) -> list[Any]:
        path = self.masks[index].replace("labelIds.png", "polygons.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            return [found["imgHeight"], found["imgWidth"], os.path.basename(self.images[index])]
        height, width = self._read_image(index).shape[:2]
        return [height, width, os.path.basename(self.images[index])]
