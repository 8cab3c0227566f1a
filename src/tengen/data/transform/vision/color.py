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
    """The image changed in floating point, in [0, 255], in its own dtype."""
    made = change(F.check(image).astype(np.float32))
    return made.clip(0, 255).astype(image.dtype)


class Normalize(VisionTransform):
    """(image - mean) / std in float32. mean, std: numbers, or one for each channel.

    >>> Normalize(mean=1.0, std=2.0).apply(np.full((1, 1, 1), 5, np.uint8)).tolist()
    [[[2.0]]]
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0, *, order: Order = None):
        super().__init__(order)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def _apply_image(self, image: Image) -> Image:
        return (image.astype(np.float32) - self.mean) / self.std


class GaussianNoise(VisionTransform):
    """Adds noise of a normal distribution to an image in [0, 255]; mean and std are those for an image in [0, 1]."""

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
    """Brighter or darker, by a factor from [max(0, 1 - value), 1 + value]."""

    name = "brightness"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor


class ContrastTransform(_Factor):
    """Further from, or nearer to, the mean brightness of the image, by a factor from [max(0, 1 - value), 1 + value]."""

    name = "contrast"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor + F.to_gray(x).mean() * (1 - factor)


class SaturationTransform(_Factor):
    """Further from, or nearer to, the brightness of each pixel, by a factor from [max(0, 1 - value), 1 + value]."""

    name = "saturation"

    def _change(self, x: Image, factor: float) -> Image:
        return x * factor + F.to_gray(x) * (1 - factor)


class HueTransform(VisionTransform):
    """Hues turned by a part of the circle from [-value, value]; value in [0, 0.5]. Images of uint8 only."""

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
    """Brightness, contrast, saturation and hue at random, in a random order. See the transforms of these names."""

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
    """Light of another colour: a random amount of each principal component of ImageNet's colours.

    scale: the standard deviation of these amounts. Krizhevsky, Sutskever & Hinton 2012, section 4.1.
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
