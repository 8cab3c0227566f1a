"""Functions of one image, an array (height, width, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

Image = np.ndarray[Any, Any]


def opencv() -> Any:
    """The module cv2. Raises ImportError that says how to install it."""
    try:
        return import_module("cv2")
    except ImportError as error:
        raise ImportError("transforms of images need OpenCV: pip install 'tengen[vision]'") from error


def check(image: Image) -> Image:
    """The image. Raises ValueError if it does not have three dims."""
    if np.ndim(image) != 3:
        raise ValueError(f"image must have 3 dims, but got {np.ndim(image)} dims")
    return image


def _as_image(made: Image, like: Image) -> Image:
    """With the dim of one channel that OpenCV drops."""
    return made[..., None] if made.ndim < like.ndim else made


def to_gray(image: Image) -> Image:
    """A colour image as a grey one, with one channel."""
    cv2 = opencv()
    return cv2.cvtColor(check(image), cv2.COLOR_BGR2GRAY)[..., None]


def to_bgr(image: Image) -> Image:
    """A grey image as a colour image, with three channels."""
    cv2 = opencv()
    made: Image = cv2.cvtColor(check(image), cv2.COLOR_GRAY2BGR)
    return made


def flip(image: Image, flipCode: int) -> Image:
    """Mirror an image: vertically (flipCode 0), horizontally (positive), or both (negative).

    >>> flip(np.array([[[1], [2]]]), 1)[..., 0].tolist()
    [[2, 1]]
    """
    check(image)
    turned = image[::-1] if flipCode == 0 else image[:, ::-1] if flipCode > 0 else image[::-1, ::-1]
    return np.ascontiguousarray(turned)


def resize(image: Image, size: tuple[int, int], interpolation: int = 1) -> Image:
    """Resize an image to `size`, (height, width). interpolation: OpenCV's number: 0 nearest, 1 linear, 2 cubic, 3 area."""
    made: Image = opencv().resize(check(image), (size[1], size[0]), interpolation=interpolation)
    return _as_image(made, image)


def pad(image: Image, size: int | Sequence[int], value: float | Sequence[float]) -> Image:
    """Pad an image with `value`: one number for each channel. Channels without a number get 0, as in OpenCV; so do all but the first
    if `value` is a single number.

    size: the same number of pixels on all sides; (bottom, right); or (top, bottom, left, right).

    >>> pad(np.ones((1, 1, 1)), (0, 2), 5.0)[..., 0].tolist()
    [[1.0, 5.0, 5.0]]
    """
    top, bottom, left, right = sides(size)
    height, width, channels = check(image).shape
    made = np.empty((height + top + bottom, width + left + right, channels), image.dtype)
    numbers = tuple(value) if isinstance(value, Sequence) else (value,)
    made[...] = (*numbers, *(0,) * channels)[:channels]
    made[top : top + height, left : left + width] = image
    return made


def sides(size: int | Sequence[int]) -> tuple[int, int, int, int]:
    """What a size of `pad` means: (top, bottom, left, right)."""
    numbers = tuple(size) if isinstance(size, Sequence) else (int(size),) * 4
    if len(numbers) == 2:
        numbers = (0, numbers[0], 0, numbers[1])
    if len(numbers) != 4 or min(numbers) < 0:
        raise ValueError(f"padding must be 1, 2 or 4 non-negative numbers, but got {size}")
    return numbers[0], numbers[1], numbers[2], numbers[3]
