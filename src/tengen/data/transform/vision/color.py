"""Transforms of colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import functional as F
from .functional import Image
from .transform import Compose, VisionTransform

Order = Sequence[str] | None

# Krizhevsky, Sutskever & Hinton 2012, 4.1: the principal components of the colours of ImageNet, blue first.
_EIGENVECTORS = np.array([[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]])
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])


def _colours(image: Image, change: Callable[[Image], Image]) -> Image:
    """Change the image in floating point, clip it to [0, 255], and return it in its own dtype."""
    made = change(F.check(image).astype(np.float32))
    return made.clip(0, 255).astype(image.dtype)


class Normalize(VisionTransform):
    """(image - mean) / std in float32.

    Args:
        mean, std: one number, or one for each channel.
        order: the parts of a sample; see VisionTransform.

    >>> Normalize(mean=1.0, std=2.0).apply(np.full((1, 1, 1), 5, np.uint8)).tolist()
    [[[2.0]]]
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0, *, order: Order = None):
        super().__init__(order)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def _apply_image(self, image: Image) -> Image:
        return (image.astype(np.float32) - self.mean) / self.std


class GaussianNoise(VisionTransform):
    """Adds Gaussian noise to an image in [0, 255].

    Args:
        mean, std: of the noise, for an image in [0, 1].
        order: the parts of a sample; see VisionTransform.

    >>> GaussianNoise(0.0, 0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, *, order: Order = None):
        super().__init__(order)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def _apply_image(self, image: Image) -> Image:
        noise = np.random.normal(self.mean, self.std, image.shape) * 255
        return _colours(image, lambda x: x + noise)


class _Factor(VisionTransform):
    """By a factor drawn from [max(0, 1 - value), 1 + value]."""

    name = ""

    def __init__(self, value: float, *, order: Order = None):
        super().__init__(order)
        if value < 0:
            raise ValueError(f"{self.name} value should be non-negative, but got {value}")
        self.value = value

    def _apply_image(self, image: Image) -> Image:
        if self.value == 0:
            return image
        factor = np.random.uniform(max(0, 1 - self.value), 1 + self.value)
        return _colours(image, lambda x: self._change(x, factor))

    def _change(self, x: Image, factor: float) -> Image:
        raise NotImplementedError


class BrightnessTransform(_Factor):
    """Makes images brighter or darker, by a random factor.

    Args:
        value: the factor is from [max(0, 1 - value), 1 + value].
        order: the parts of a sample; see VisionTransform.

    >>> BrightnessTransform(0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    name = "brightness"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor


class ContrastTransform(_Factor):
    """Scales the distance of pixels from the mean brightness of the image by a random factor.

    Args:
        value: the factor is from [max(0, 1 - value), 1 + value].
        order: the parts of a sample; see VisionTransform.

    >>> ContrastTransform(0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    name = "contrast"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor + F.to_gray(x).mean() * (1 - factor)


class SaturationTransform(_Factor):
    """Scales the distance of colours from the brightness of each pixel by a random factor.

    Args:
        value: the factor is from [max(0, 1 - value), 1 + value].
        order: the parts of a sample; see VisionTransform.

    >>> SaturationTransform(0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    name = "saturation"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor + F.to_gray(x) * (1 - factor)


class HueTransform(VisionTransform):
    """Rotates hues by a random part of the circle; uint8 images only.

    Args:
        value: the part is from [-value, value]; value is in [0, 0.5].
        order: the parts of a sample; see VisionTransform.

    >>> HueTransform(0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    def __init__(self, value: float, *, order: Order = None):
        super().__init__(order)
        if not 0 <= value <= 0.5:
            raise ValueError("hue value should be in [0.0, 0.5]")
        self.value = value

    def _apply_image(self, image: Image) -> Image:
        if self.value == 0:
            return image
        cv2, dtype = F.opencv(), image.dtype
        turn = int(np.random.uniform(-self.value, self.value) * 255) % 256
        hsv = cv2.cvtColor(F.check(image).astype(np.uint8), cv2.COLOR_BGR2HSV_FULL)
        hsv[..., 0] += np.uint8(turn)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL).astype(dtype)


class ColorJitter(VisionTransform):
    """Changes brightness, contrast, saturation and hue at random, in a random order.

    Args:
        brightness, contrast, saturation, hue: `value` of the transforms with these names.
        order: the parts of a sample; see VisionTransform.

    >>> ColorJitter().apply(np.zeros((2, 2, 3), np.uint8)).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        brightness: float = 0,
        contrast: float = 0,
        saturation: float = 0,
        hue: float = 0,
        *,
        order: Order = None,
    ):
        super().__init__(order)
        chosen: list[Any] = []
        if brightness != 0:
            chosen.append(BrightnessTransform(brightness))
        if contrast != 0:
            chosen.append(ContrastTransform(contrast))
        if saturation != 0:
            chosen.append(SaturationTransform(saturation))
        if hue != 0:
            chosen.append(HueTransform(hue))
        shuffled = [(1, len(chosen))] if chosen else None
        self.transforms = Compose(chosen, shuffle_indices=shuffled, order=order)

    def apply(self, input: Any) -> Any:
        """One sample, transformed."""
        return self.transforms.apply(input)


class Lighting(VisionTransform):
    """Changes the colour of the light: adds a random amount of each principal component of ImageNet's colours.

    Krizhevsky, Sutskever and Hinton 2012, section 4.1.

    Args:
        scale: the standard deviation of these amounts.
        order: the parts of a sample; see VisionTransform.

    >>> Lighting(0.0).apply(np.full((1, 1, 3), 5, np.uint8)).tolist()
    [[[5, 5, 5]]]
    """

    def __init__(self, scale: float, *, order: Order = None):
        super().__init__(order)
        if scale < 0:
            raise ValueError("lighting scale should be non-negative")
        self.scale = scale

    def _apply_image(self, image: Image) -> Image:
        if self.scale == 0:
            return image
        amounts = np.random.normal(scale=self.scale * 255, size=3)
        return _colours(image, lambda x: x + _EIGENVECTORS.dot(_EIGENVALUES * amounts))
