"""What image transforms have in common, and how they are composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..meta_transform import Transform
from .functional import Image


class VisionTransform(Transform):
    """A transform of images and their annotations. A subclass defines `_apply_image`, and the other `_apply_…` methods that it needs.

    A sample that is not a tuple is an image. Random parameters, which `_draw` returns, are the same for all parts of a sample.

    Args:
        order: the parts of a sample: "image", "coords" (points, (n, 2)), "boxes" ((n, 4): left, top, right,
            bottom), "mask", "keypoints" ((n, k, 3): x, y, visible), "polygons" (lists of arrays (n, 2)); and
            "category", "image_category", "boxes_category" and "info", which stay as they are, as do parts that `order` does
            not name. By default the image alone.

    >>> class Dark(VisionTransform):
    ...     def _apply_image(self, image):
    ...         return image // 2
    >>> image, label = Dark().apply((np.full((2, 2, 3), 8, np.uint8), 1))
    >>> int(image.max()), label
    (4, 1)
    """

    UNCHANGED = ("category", "image_category", "boxes_category", "info")

    def __init__(self, order: Sequence[str] | None = None):
        super().__init__()
        if isinstance(order, str) or not (order is None or isinstance(order, Sequence)):
            raise ValueError(f"order should be a sequence of names, but got order={order!r}")
        self.order = ("image",) if order is None else tuple(order)

    def apply_batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Transform each sample of a batch."""
        return tuple(self.apply(input) for input in inputs)

    def apply(self, input: Any) -> Any:
        """Transform one sample: a tuple of parts as `order` says, or an image."""
        parts = self._parts(input)
        made = [self._get_apply(key)(part) for key, part in zip(self.order, parts, strict=False)]
        result = (*made, *parts[len(made) :])
        return result if isinstance(input, tuple) else result[0]

    def _parts(self, input: Any) -> tuple[Any, ...]:
        """The parts of a sample. Raises ValueError if there are fewer than `order` names, NotImplementedError for names without a method."""
        parts = input if isinstance(input, tuple) else (input,)
        if len(parts) < len(self.order):
            raise ValueError(f"a sample of {len(parts)} parts for a transform of {', '.join(self.order)}")
        for key in self.order:
            self._get_apply(key)
        return parts

    def _get_apply(self, key: str) -> Callable[[Any], Any]:
        if key in self.UNCHANGED:
            return lambda part: part
        method: Callable[[Any], Any] | None = getattr(self, f"_apply_{key}", None)
        if method is None:
            raise NotImplementedError(f"{key} is unsupported data type of {type(self).__name__}")
        return method

    def _get_image(self, input: Any) -> Image:
        """The image of a sample, or its mask if it has no image."""
        parts = self._parts(input)
        for kind in ("image", "mask"):
            if kind in self.order:
                return parts[self.order.index(kind)]
        raise ValueError(
            f"{type(self).__name__} needs the size of an image or a mask, and order={self.order} has neither"
        )

    def _apply_image(self, image: Image) -> Image:
        raise NotImplementedError(f"{type(self).__name__} does not transform images")

    def _apply_coords(self, coords: Any) -> Any:
        return coords

    def _apply_boxes(self, boxes: Any) -> Any:
        """The smallest boxes around the four corners."""
        boxes = np.asarray(boxes)
        corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 2)
        moved = np.asarray(self._apply_coords(corners)).reshape(-1, 4, 2)
        return np.concatenate((moved.min(axis=1), moved.max(axis=1)), axis=1)

    def _apply_mask(self, mask: Any) -> Any:
        return mask

    def _apply_keypoints(self, keypoints: Any) -> Any:
        keypoints = np.asarray(keypoints)
        points, visible = keypoints[..., :2], keypoints[..., 2:]
        moved = np.asarray(self._apply_coords(points.reshape(-1, 2))).reshape(points.shape)
        return np.concatenate((moved, visible), axis=-1)

    def _apply_polygons(self, polygons: Any) -> Any:
        return [[self._apply_coords(np.asarray(p)) for p in instance] for instance in polygons]


class Compose(VisionTransform):
    """Applies several transforms, one after the other.

    Args:
        transforms: they get the `order` of this one, if it is given.
        batch_compose: apply each transform to the whole batch before the next one; otherwise all of them to one sample after the other.
        shuffle_indices: positions (first, last), from 1, between which the transforms are shuffled.
        order: the parts of a sample; see VisionTransform.

    >>> from tengen.data.transform import CenterCrop, ToMode
    >>> Compose([CenterCrop(2), ToMode()]).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (3, 2, 2)
    """

    def __init__(
        self,
        transforms: Sequence[Any] = (),
        batch_compose: bool = False,
        shuffle_indices: Sequence[tuple[int, int]] | None = None,
        *,
        order: Sequence[str] | None = None,
    ):
        super().__init__(order)
        self.transforms, self.batch_compose, self.shuffle_indices = list(transforms), batch_compose, shuffle_indices
        if order is not None:
            for transform in self.transforms:
                if isinstance(transform, VisionTransform):
                    transform.order = self.order

    def apply_batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The samples of a batch, transformed."""
        if not self.batch_compose:
            return tuple(self.apply(input) for input in inputs)
        for transform in self._in_order():
            inputs = transform.apply_batch(inputs)
        return inputs

    def apply(self, input: Any) -> Any:
        """One sample, transformed."""
        for transform in self._in_order():
            input = transform.apply(input)
        return input

    def _in_order(self) -> list[Any]:
        order = list(self.transforms)
        for first, last in self.shuffle_indices or ():
            places = range(first - 1, last)
            moved = np.random.permutation([*places])
            order[first - 1 : last] = [self.transforms[i] for i in moved]
        return order


class TorchTransformCompose(VisionTransform):
    """Applies transforms of torchvision, or any functions, to a PIL image in RGB; the result is an array as elsewhere here.

    Args:
        transforms: functions of a PIL image.
        order: the parts of a sample; see VisionTransform.

    Raises:
        ImportError: Pillow is not installed.
        TypeError: the last one returns neither a PIL image nor an array.

    >>> TorchTransformCompose([lambda image: image.convert("L").convert("RGB")]).apply(np.zeros((2, 2, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], *, order: Sequence[str] | None = None):
        super().__init__(order)
        self.transforms = list(transforms)

    def _apply_image(self, image: Image) -> Image:
        try:
            from PIL import Image as pillow
        except ImportError as error:
            raise ImportError("TorchTransformCompose needs Pillow: pip install 'tengen[vision]'") from error
        made: Any = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image[..., ::-1])
        for transform in self.transforms:
            made = transform(made)
        if not isinstance(made, (np.ndarray, pillow.Image)):
            raise TypeError(f"the last transform returned {type(made).__name__}, neither a PIL image nor an array")
        array = np.asarray(made)
        array = array[..., None] if array.ndim == 2 else array
        return np.ascontiguousarray(array[..., ::-1])
