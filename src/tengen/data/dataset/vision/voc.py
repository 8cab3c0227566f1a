"""PASCAL VOC: boxes or masks (Everingham et al. 2010)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np

from . import names
from .meta_vision import Annotated, Array
from .utils import read_image

BOUNDARY = 255  # in a mask


class PascalVOC(Annotated):
    """The PASCAL VOC data set in the folder `root`, such as VOC2012.

    Boxes and masks are listed for different images, so a sample cannot have both.

    Args:
        root: the folder with JPEGImages, Annotations and ImageSets.
        image_set: the name of a list of images below ImageSets: "train", "trainval", "val" ….
        order: the parts of a sample: "image", "boxes" (float32 (n, 4): left, top, right, bottom), "boxes_category"
            (int32 (n,), from 1 on), "mask" (uint8 (height, width, 1), where 0 is the background, 255 a boundary, and a
            class its number), "info" ([height, width, name]).

    Raises:
        ValueError: `order` asks for both boxes and masks.
    """

    supported_order = ("image", "boxes", "boxes_category", "mask", "info")
    class_names = names.VOC
    # One bit of each colour for every three bits of the number, the highest bits first: blue, green, red.
    class_colors: ClassVar[list[list[int]]] = [
        [sum((n >> (3 * i + c) & 1) << (7 - i) for i in range(3)) for c in (2, 1, 0)] for n in range(21)
    ]

    def __init__(self, root: str, image_set: str, *, order: Sequence[str] | None = None):
        super().__init__(root, order)
        boxes = "boxes" in self.order or "boxes_category" in self.order
        if boxes and "mask" in self.order:
            raise ValueError("PascalVOC only supports boxes & boxes_category or mask, not both.")
        self.image_set = image_set
        kind = "Segmentation" if "mask" in self.order else "Main"
        with open(os.path.join(self.root, "ImageSets", kind, f"{image_set}.txt"), encoding="utf-8") as file:
            self.file_names = [line.split()[0] for line in file if line.strip()]

        def paths(folder: str, ending: str) -> list[str]:
            return [os.path.join(self.root, folder, name + ending) for name in self.file_names]

        self.images, self.annotations = paths("JPEGImages", ".jpg"), paths("Annotations", ".xml")
        self.masks = paths("SegmentationClass_aug" if image_set == "trainaug" else "SegmentationClass", ".png")
        self.img_infos: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def get_img_info(self, index: int, image: Array | None = None) -> dict[str, Any]:
        """Height, width and name of an image."""
        if index not in self.img_infos:
            height, width = (self._read_image(index) if image is None else image).shape[:2]
            self.img_infos[index] = {"height": height, "width": width, "file_name": self.file_names[index]}
        return self.img_infos[index]

    def parse_voc_xml(self, node: ElementTree.Element) -> dict[str, Any]:
        """Convert an XML element to dicts; "object" is a list of them.

        >>> from xml.etree.ElementTree import fromstring
        >>> PascalVOC.parse_voc_xml(None, fromstring("<a><object><name>dog</name></object></a>"))
        {'a': {'object': [{'name': 'dog'}]}}
        """
        if not len(node):
            return {node.tag: (node.text or "").strip()}
        parts: dict[str, Any] = {}
        for child in node:
            made = PascalVOC.parse_voc_xml(self, child)[child.tag]
            parts[child.tag] = [*parts.get(child.tag, ()), made] if child.tag == "object" else made
        return {node.tag: parts}

    def _objects(self, index: int) -> list[dict[str, Any]]:
        tree = ElementTree.parse(self.annotations[index])
        objects: list[dict[str, Any]] = self.parse_voc_xml(tree.getroot())["annotation"].get("object", [])
        return objects

    def _read_image(self, index: int) -> Array:
        return read_image(self.images[index])

    def _read_boxes(self, index: int) -> Array:
        sides = ("xmin", "ymin", "xmax", "ymax")
        boxes = [[float(each["bndbox"][side]) for side in sides] for each in self._objects(index)]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def _read_boxes_category(self, index: int) -> Array:
        return np.array([self.class_names.index(each["name"]) + 1 for each in self._objects(index)], np.int32)

    def _read_mask(self, index: int) -> Array:
        if self.image_set == "trainaug":  # these have numbers in place of colours
            return read_image(self.masks[index], gray=True)
        colours = read_image(self.masks[index])
        mask = np.full((*colours.shape[:2], 1), BOUNDARY, np.uint8)
        for number, colour in enumerate(self.class_colors):
            mask[(colours == colour).all(axis=2)] = number
        return mask

    def _read_info(self, index: int) -> list[Any]:
        info = self.get_img_info(index)
        return [info["height"], info["width"], info["file_name"]]
