"""Expressions over `T`, the module of transforms, whose results are recorded from the reference; see `record_transforms.py`.

Each is applied to a sample with numpy.random seeded: an image alone, a gray one, one of floats, or one with all that may belong to it.
"""

from __future__ import annotations

import numpy as np

ORDER = ("image", "boxes", "mask", "image_category", "keypoints", "polygons")


def samples():
    """Fresh samples by name."""
    image = np.random.RandomState(0).randint(0, 256, (7, 9, 3)).astype(np.uint8)
    image[..., 2] //= 3  # so that the mean of its brightness is not that of its numbers
    boxes = np.array([[0.0, 1, 4, 5], [2, 2, 8, 6]])
    points = np.array([[[1.0, 2, 1], [3, 4, 2]], [[0, 0, 0], [5, 6, 1]]])
    polygons = [[np.array([[1.0, 2], [3, 4], [5, 6]])]]
    return {
        "image": image,
        "gray": image[..., :1].copy(),
        "float": image.astype(np.float32),
        "all": (image, boxes, image[..., 1:2].copy(), 3, points, polygons),
    }


GEOMETRY = [
    "T.CenterCrop(4{o})",
    "T.CenterCrop((3, 6){o})",
    "T.CenterCrop((7, 9){o})",
    "T.Resize((14, 18){o})",
    "T.Resize((5, 4), interpolation=2{o})",
    "T.Resize(5{o})",
    "T.Resize(20{o})",
    "T.ShortestEdgeResize(5, 100, 'choice'{o})",
    "T.ShortestEdgeResize((4, 9), 100{o})",
    "T.ShortestEdgeResize([4, 9, 14], 12, 'choice'{o})",
    "T.RandomResize((0.5, 2.0){o})",
    "T.RandomHorizontalFlip(1.0{o})",
    "T.RandomHorizontalFlip(0.6{o})",
    "T.RandomVerticalFlip(1.0{o})",
    "T.RandomVerticalFlip(0.1{o})",
    "T.Pad(2, mask_value=5{o})",
    "T.Pad((1, 2), value=7{o})",
    "T.Pad((1, 2, 3, 4), value=[7, 8, 9], mask_value=1{o})",
    "T.RandomCrop((4, 5){o})",
    "T.RandomCrop(5, padding_size=2, padding_value=[1, 2, 3]{o})",
    "T.RandomCrop((9, 8){o})",
    "T.RandomResizedCrop((5, 6){o})",
    "T.RandomResizedCrop(4, scale_range=(4.0, 5.0){o})",
    "T.RandomResizedCrop(4, scale_range=(4.0, 5.0), ratio_range=(3.0, 4.0){o})",
    "T.RandomResizedCrop(4, scale_range=(4.0, 5.0), ratio_range=(0.2, 0.5){o})",
    "T.ToMode({n})",
]
COLOURS = [
    "T.Normalize()",
    "T.Normalize(mean=3.0, std=2.0)",
    "T.BrightnessTransform(0.4)",
    "T.BrightnessTransform(1.5)",
    "T.BrightnessTransform(0)",
    "T.GaussianNoise(0.01, 0.02)",
]
OF_THREE_CHANNELS = [
    "T.Normalize(mean=[1, 2, 3], std=[2, 3, 4])",
    "T.ContrastTransform(0.4)",
    "T.SaturationTransform(0.4)",
    "T.Lighting(0.5)",
    "T.ColorJitter(0.4, 0.4, 0.4)",
    "T.Compose([T.RandomCrop(5), T.RandomHorizontalFlip(), T.Normalize(2.0), T.ToMode()])",
    "T.Compose([T.Normalize(2.0), T.Normalize(0.0, 3.0), T.CenterCrop(4), T.Pad(1)], shuffle_indices=[(1, 3)])",
]
OF_BYTES = ["T.HueTransform(0.3)", "T.ColorJitter(0.4, 0.3, 0.2, 0.1)"]

CASES = [
    *((case.format(o="", n=""), sample) for case in GEOMETRY for sample in ("image", "gray", "float")),
    *((case.format(o=f", order={ORDER}", n=f"order={ORDER}"), "all") for case in GEOMETRY),
    *((case, sample) for case in COLOURS for sample in ("image", "gray", "float")),
    *((case, sample) for case in OF_THREE_CHANNELS for sample in ("image", "float")),
    *((case, "image") for case in OF_BYTES),
]


def outcome(T, case: str, sample: str):
    """What can be compared: each part's shape, dtype and numbers."""
    np.random.seed(3)
    made = eval(case, {"T": T}).apply(samples()[sample])
    parts = made if isinstance(made, tuple) else (made,)
    return [describe(np.asarray(part)) for part in parts]


def describe(array):
    """As lists for JSON."""
    return [list(array.shape), str(array.dtype), array.ravel().tolist()]
