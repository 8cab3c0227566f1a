"""Transforms that move pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from . import functional as F
from .functional import Image
from .transform import VisionTransform

Order = Sequence[str] | None


def _pair(size: int | Sequence[int], what: str) -> tuple[int, int]:
    """(height, width)."""
    numbers = (size, size) if not isinstance(size, Sequence) else tuple(size)
    if len(numbers) != 2 or min(numbers) < 1:
        raise ValueError(f"{what} should be one or two positive numbers, but got {size}")
    return int(numbers[0]), int(numbers[1])


class ToMode(VisionTransform):
    """Transposes images and masks from (height, width, channels) to (channels, height, width).

    Args:
        mode: "CHW" only.
        order: the parts of a sample; see VisionTransform.

    >>> ToMode().apply(np.zeros((4, 5, 3), np.uint8)).shape
    (3, 4, 5)
    """

    def __init__(self, mode: str = "CHW", *, order: Order = None):
        super().__init__(order)
        if mode != "CHW":
            raise ValueError(f"unsupported mode: {mode}; there is CHW")
        self.mode = mode

    def _apply_image(self, image: Image) -> Image:
        return np.ascontiguousarray(F.check(image).transpose(2, 0, 1))

    def _apply_mask(self, mask: Image) -> Image:
        return np.ascontiguousarray(mask.transpose(2, 0, 1)) if mask.ndim == 3 else mask


class _Moving(VisionTransform):
    """A transform whose geometry depends on the size of the image."""

    def apply(self, input: Any) -> Any:
        """One sample, transformed."""
        height, width = F.check(self._get_image(input)).shape[:2]
        drawn = copy(self)  # other threads may be using this one
        drawn._draw(height, width)
        return super(_Moving, drawn).apply(input)

    def _draw(self, height: int, width: int) -> None:
        raise NotImplementedError


class _Resizing(_Moving):
    """Resizes to a size that is computed for each image."""

    def __init__(self, interpolation: int, order: Order):
        super().__init__(order)
        self.interpolation = interpolation

    def _wanted(self, height: int, width: int) -> tuple[int, int]:
        raise NotImplementedError

    def _draw(self, height: int, width: int) -> None:
        self._size = self._wanted(height, width)
        self._factors = np.array([self._size[1] / width, self._size[0] / height])

    def _apply_image(self, image: Image) -> Image:
        return F.resize(image, self._size, self.interpolation)

    def _apply_coords(self, coords: Any) -> Any:
        return np.asarray(coords) * self._factors

    def _apply_mask(self, mask: Image) -> Image:
        made = F.resize(mask if mask.ndim == 3 else mask[..., None], self._size, 0)
        return made if mask.ndim == 3 else made[..., 0]


class Resize(_Resizing):
    """Resizes images.

    Args:
        output_size: (height, width), or one number for the shorter edge.
        interpolation: see `functional.resize`.
        order: the parts of a sample; see VisionTransform.

    >>> Resize(2).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(self, output_size: int | Sequence[int], interpolation: int = 1, *, order: Order = None):
        super().__init__(interpolation, order)
        self.output_size = output_size
        _pair(output_size, "output_size")

    def _wanted(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.output_size, Sequence):
            return _pair(self.output_size, "output_size")
        size = int(self.output_size)
        if height < width:
            return size, int(size / height * width)
        return int(size / width * height), size


class ShortestEdgeResize(_Resizing):
    """Resizes images by the length of their edges.

    Args:
        min_size: the length of the shorter edge in pixels, or several, of which one is drawn.
        max_size: the longest that the longer edge may be.
        sample_style: "choice"; or "range", which draws a length between the smallest and the largest min_size.
        interpolation: see `functional.resize`.
        order: the parts of a sample; see VisionTransform.

    >>> ShortestEdgeResize(2, max_size=8).apply(np.zeros((4, 8, 3), np.uint8)).shape
    (2, 4, 3)
    """

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int,
        sample_style: str = "range",
        interpolation: int = 1,
        *,
        order: Order = None,
    ):
        super().__init__(interpolation, order)
        if sample_style not in ("range", "choice"):
            raise ValueError(f'sample_style should be "range" or "choice", but got {sample_style!r}')
        self.min_size = (min_size, min_size) if isinstance(min_size, int) else tuple(min_size)
        if sample_style == "range" and len(self.min_size) != 2:
            raise ValueError(f'min_size should be (least, most) with sample_style "range", but got {min_size}')
        self.max_size, self.sample_style = max_size, sample_style

    def _wanted(self, height: int, width: int) -> tuple[int, int]:
        ranges, sizes = self.sample_style == "range", self.min_size
        size = np.random.randint(sizes[0], sizes[1] + 1) if ranges else np.random.choice(sizes)
        scale = size / min(height, width)
        scale = min(scale, self.max_size / max(height, width))
        return int(height * scale + 0.5), int(width * scale + 0.5)


class RandomResize(_Resizing):
    """Resizes by a random factor.

    Args:
        scale_range: the smallest and the largest factor.
        interpolation: see `functional.resize`.
        order: the parts of a sample; see VisionTransform.

    >>> RandomResize((0.5, 0.5)).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(self, scale_range: Sequence[float], interpolation: int = 1, *, order: Order = None):
        super().__init__(interpolation, order)
        self.scale_range = tuple(scale_range)

    def _wanted(self, height: int, width: int) -> tuple[int, int]:
        scale = np.random.uniform(self.scale_range[0], self.scale_range[1])
        return max(1, round(height * scale)), max(1, round(width * scale))


class CenterCrop(_Moving):
    """Crops the centre of images.

    Args:
        output_size: (height, width), or one number for both.
        order: the parts of a sample; see VisionTransform.

    Raises:
        ValueError: an image is smaller.

    >>> CenterCrop(2).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(self, output_size: int | Sequence[int], *, order: Order = None):
        super().__init__(order)
        self.output_size = _pair(output_size, "output_size")

    def _draw(self, height: int, width: int) -> None:
        high, wide = self.output_size
        if high > height or wide > width:
            raise ValueError(f"output size {high} x {wide} is bigger than image size {height} x {width}")
        self._corner = round((height - high) / 2.0), round((width - wide) / 2.0)

    def _apply_image(self, image: Image) -> Image:
        (y, x), (high, wide) = self._corner, self.output_size
        return image[y : y + high, x : x + wide]

    def _apply_coords(self, coords: Any) -> Any:
        return np.asarray(coords) - np.array(self._corner[::-1])

    def _apply_mask(self, mask: Image) -> Image:
        return self._apply_image(mask)


class Pad(VisionTransform):
    """Pads images and masks.

    Args:
        size: how many pixels on each side; see `functional.pad`.
        value: the padding of images.
        mask_value: the padding of masks.
        order: the parts of a sample; see VisionTransform.

    >>> Pad(1).apply(np.zeros((2, 2, 3), np.uint8)).shape
    (4, 4, 3)
    """

    def __init__(
        self,
        size: int | Sequence[int] = 0,
        value: float | Sequence[float] = 0,
        mask_value: float = 0,
        *,
        order: Order = None,
    ):
        super().__init__(order)
        self.size, self.value, self.mask_value = F.sides(size), value, mask_value

    def _apply_image(self, image: Image) -> Image:
        return F.pad(image, self.size, self.value)

    def _apply_coords(self, coords: Any) -> Any:
        return np.asarray(coords) + np.array([self.size[2], self.size[0]])

    def _apply_mask(self, mask: Image) -> Image:
        made = F.pad(mask if mask.ndim == 3 else mask[..., None], self.size, self.mask_value)
        return made if mask.ndim == 3 else made[..., 0]


class RandomCrop(_Moving):
    """Crops a random part of the image.

    Images that are smaller than the crop are padded at the bottom and on the right.

    Args:
        output_size: (height, width), or one number for both.
        padding_size, padding_value, padding_maskvalue: padding that is added first; see `Pad`.
        order: the parts of a sample; see VisionTransform.

    >>> RandomCrop(2).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        padding_size: int | Sequence[int] = 0,
        padding_value: float | Sequence[float] = (0, 0, 0),
        padding_maskvalue: float = 0,
        *,
        order: Order = None,
    ):
        super().__init__(order)
        self.output_size = _pair(output_size, "output_size")
        self.padding_size, self.padding_value = F.sides(padding_size), padding_value
        self.padding_maskvalue = padding_maskvalue

    def _draw(self, height: int, width: int) -> None:
        (top, bottom, left, right), (high, wide) = self.padding_size, self.output_size
        height, width = height + top + bottom, width + left + right
        more = max(high - height, 0), max(wide - width, 0)
        self._pad = Pad((top, bottom + more[0], left, right + more[1]), self.padding_value, self.padding_maskvalue)
        self._x = np.random.randint(0, max(width - wide, 0) + 1)
        self._y = np.random.randint(0, max(height - high, 0) + 1)

    def _cut(self, image: Image) -> Image:
        return image[self._y : self._y + self.output_size[0], self._x : self._x + self.output_size[1]]

    def _apply_image(self, image: Image) -> Image:
        return self._cut(self._pad._apply_image(image))

    def _apply_coords(self, coords: Any) -> Any:
        return self._pad._apply_coords(coords) - np.array([self._x, self._y])

    def _apply_mask(self, mask: Image) -> Image:
        return self._cut(self._pad._apply_mask(mask))


class RandomResizedCrop(_Moving):
    """Crops a part of random area and aspect ratio, and resizes it.

    If ten tries in a row do not fit, the centre of the image is used.

    Args:
        output_size: (height, width), or one number for both.
        scale_range: the area of the crop, relative to that of the image.
        ratio_range: width / height; its logarithm is uniformly distributed.
        interpolation: see `functional.resize`.
        order: the parts of a sample; see VisionTransform.

    >>> RandomResizedCrop(2).apply(np.zeros((4, 4, 3), np.uint8)).shape
    (2, 2, 3)
    """

    TRIES = 10

    def __init__(
        self,
        output_size: int | Sequence[int],
        scale_range: Sequence[float] = (0.08, 1.0),
        ratio_range: Sequence[float] = (3.0 / 4, 4.0 / 3),
        interpolation: int = 1,
        *,
        order: Order = None,
    ):
        super().__init__(order)
        self.output_size = _pair(output_size, "output_size")
        self.scale_range, self.ratio_range = tuple(scale_range), tuple(ratio_range)
        self.interpolation = interpolation

    def _draw(self, height: int, width: int) -> None:
        self._x, self._y, self._wide, self._high = self._part(height, width)
        factors = self.output_size[1] / self._wide, self.output_size[0] / self._high
        self._factors = np.array(factors)

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        for _ in range(self.TRIES):
            area = np.random.uniform(self.scale_range[0], self.scale_range[1]) * height * width
            ratio = math.exp(np.random.uniform(math.log(self.ratio_range[0]), math.log(self.ratio_range[1])))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return np.random.randint(0, width - wide + 1), np.random.randint(0, height - high + 1), wide, high
        least, most = min(self.ratio_range), max(self.ratio_range)
        wide, high = width, height
        if width / height < least:
            high = round(width / least)
        elif width / height > most:
            wide = round(height * most)
        return (width - wide) // 2, (height - high) // 2, wide, high

    def _cut(self, image: Image) -> Image:
        return np.ascontiguousarray(image[self._y : self._y + self._high, self._x : self._x + self._wide])

    def _apply_image(self, image: Image) -> Image:
        return F.resize(self._cut(image), self.output_size, self.interpolation)

    def _apply_coords(self, coords: Any) -> Any:
        return (np.asarray(coords) - np.array([self._x, self._y])) * self._factors

    def _apply_mask(self, mask: Image) -> Image:
        made = F.resize(self._cut(mask if mask.ndim == 3 else mask[..., None]), self.output_size, 0)
        return made if mask.ndim == 3 else made[..., 0]


class _RandomFlip(_Moving):
    """Mirrors with probability `prob`."""

    axis: int  # of an image

    def __init__(self, prob: float = 0.5, *, order: Order = None):
        super().__init__(order)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob should be in [0, 1], but got prob={prob}")
        self.prob = prob

    def _draw(self, height: int, width: int) -> None:
        self._flips = np.random.random() < self.prob
        self._extent = (height, width)[self.axis]

    def _apply_image(self, image: Image) -> Image:
        return np.ascontiguousarray(np.flip(image, self.axis)) if self._flips else image

    def _apply_coords(self, coords: Any) -> Any:
        moved = np.array(coords)
        if self._flips:
            moved[:, 1 - self.axis] = self._extent - moved[:, 1 - self.axis]
        return moved

    def _apply_mask(self, mask: Image) -> Image:
        return self._apply_image(mask)


class RandomHorizontalFlip(_RandomFlip):
    """Mirrors images horizontally at random.

    Args:
        prob: how probably.
        order: the parts of a sample; see VisionTransform.

    >>> RandomHorizontalFlip(1.0).apply(np.array([[[1], [2]]]))[..., 0].tolist()
    [[2, 1]]
    """

    axis = 1


class RandomVerticalFlip(_RandomFlip):
    """Mirrors images vertically at random.

    Args:
        prob: how probably.
        order: the parts of a sample; see VisionTransform.

    >>> RandomVerticalFlip(1.0).apply(np.array([[[1]], [[2]]]))[..., 0].tolist()
    [[2], [1]]
    """

    axis = 0
