"""Datasets in the format of COCO (Lin et al. 2014): a folder of images, and one JSON file of annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from . import names
from .meta_vision import Annotated, Array
from .utils import read_image


class _Boxes(Annotated):
    """Images with boxes.

    root: the folder of the images. ann_file: the JSON file. remove_images_without_annotations: leave out images without a box of at least one
    pixel that is not of a crowd. order: the parts of a sample: see `supported_order`. boxes are float32 (n, 4): left, top, right, bottom;
    boxes_category int32 (n,), from 1 on; info [height, width, file name].
    """

    def __init__(
        self,
        root: str,
        ann_file: str,
        remove_images_without_annotations: bool = False,
        *,
        order: Sequence[str] | None = None,
    ):
        super().__init__(root, order)
        with open(ann_file, encoding="utf-8") as file:
            dataset = json.load(file)
        self.imgs = {image["id"]: image for image in dataset["images"]}
        self.cats = {category["id"]: category for category in dataset.get("categories", ())}
        self.img_to_anns: dict[Any, list[dict[str, Any]]] = {number: [] for number in self.imgs}
        for annotation in dataset.get("annotations", ()):
            if annotation["image_id"] in self.imgs:
                self.img_to_anns[annotation["image_id"]].append(annotation)
        self.ids = sorted(self.imgs)
        if remove_images_without_annotations:
            self.ids = [number for number in self.ids if any(map(self._counts, self.img_to_anns[number]))]
        self.json_category_id_to_contiguous_id = {number: i + 1 for i, number in enumerate(sorted(self.cats))}
        self.contiguous_category_id_to_json_id = {i: n for n, i in self.json_category_id_to_contiguous_id.items()}

    def _counts(self, annotation: dict[str, Any]) -> bool:
        return not annotation.get("iscrowd") and all(extent > 1 for extent in annotation["bbox"][2:])

    def __len__(self) -> int:
        return len(self.ids)

    def get_img_info(self, index: int) -> dict[str, Any]:
        """The entry of an image in the JSON file."""
        info: dict[str, Any] = self.imgs[self.ids[index]]
        return info

    def _annotations(self, index: int) -> list[dict[str, Any]]:
        return self.img_to_anns[self.ids[index]]

    def _read_image(self, index: int) -> Array:
        return read_image(os.path.join(self.root, self.get_img_info(index)["file_name"]))

    def _read_boxes(self, index: int) -> Array:
        boxes = np.array([a["bbox"] for a in self._annotations(index)], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    def _read_boxes_category(self, index: int) -> Array:
        numbers = self.json_category_id_to_contiguous_id
        return np.array([numbers[a["category_id"]] for a in self._annotations(index)], np.int32)

    def _read_info(self, index: int) -> list[Any]:
        info = self.get_img_info(index)
        return [info["height"], info["width"], info["file_name"]]


class COCO(_Boxes):
    """The COCO data set in the folder `root`: images with boxes, masks and keypoints.

    keypoints are float32 (n, 17, 3): x, y, visible.

    Args:
        root, ann_file, remove_images_without_annotations: see Objects365.
        order: the parts of a sample: those of Objects365, and "keypoints".
    """

    supported_order = ("image", "boxes", "boxes_category", "keypoints", "info")
    class_names = names.COCO
    keypoint_names = names.COCO_KEYPOINTS
    classes_originID: ClassVar[dict[str, int]] = dict(zip(names.COCO, names.COCO_IDS, strict=True))

    def _read_keypoints(self, index: int) -> Array:
        points = [a["keypoints"] for a in self._annotations(index)]
        return np.array(points, np.float32).reshape(-1, len(self.keypoint_names), 3)


class Objects365(_Boxes):
    """The Objects365 data set in the folder `root`: images with boxes.

    Shao et al. 2019.

    Args:
        root: the folder of the images.
        ann_file: the JSON file.
        remove_images_without_annotations: leave out images without a box of at least one pixel that is not of a crowd.
        order: the parts of a sample: "image", "boxes" (float32 (n, 4): left, top, right, bottom), "boxes_category"
            (int32 (n,), from 1 on), "info" ([height, width, file name]).
    """

    supported_order = ("image", "boxes", "boxes_category", "info")
    class_names = names.OBJECTS365
