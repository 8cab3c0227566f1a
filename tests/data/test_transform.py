"""Transforms of images give what the reference gave for the same seed of numpy.random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transform_cases import CASES, outcome, samples

import tengen.data.transform as T
from tengen.data import DataLoader, SequentialSampler

RECORDED = json.loads(Path(__file__).with_name("transforms_megengine_1.13.json").read_text())


@pytest.mark.parametrize(("case", "sample"), CASES)
def test_as_recorded(case, sample):
    expected, made = RECORDED[f"{case} of {sample}"], outcome(T, case, sample)
    for (shape, dtype, numbers), (want_shape, want_dtype, want) in zip(made, expected, strict=True):
        assert (shape, dtype) == (want_shape, want_dtype)
        close = 1 if dtype == "uint8" and "Resize" in case else 0  # versions of OpenCV round differently
        np.testing.assert_allclose(numbers, want, rtol=1e-5, atol=close + 1e-4)


def test_the_sample_stays_as_it_was():
    before, after = samples()["all"], samples()["all"]
    order = ("image", "boxes", "mask", "image_category", "keypoints", "polygons")
    for transform in (T.RandomHorizontalFlip(1.0), T.Pad(2), T.CenterCrop(3), T.Resize(4), T.RandomVerticalFlip(1.0)):
        transform.order = order
        transform.apply(after)
    for x, y in zip(before[:5], after[:5], strict=True):
        np.testing.assert_array_equal(x, y)


def test_threads_do_not_share_what_is_drawn():
    images = np.zeros((400, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 1
    flip = T.Compose([T.RandomCrop(5), T.RandomHorizontalFlip()], order=("image", "mask"))
    loader = DataLoader([(image, image) for image in images], SequentialSampler(images, 8), flip, num_workers=4)
    for image, mask in loader:
        np.testing.assert_array_equal(image, mask)


def test_order():
    image = samples()["image"]
    assert T.ToMode().apply((image, 2))[1] == 2  # parts without a name stay
    compose = T.Compose([T.CenterCrop(4), T.ToMode()], order=("image", "image_category"))
    assert [t.order for t in compose.transforms] == [("image", "image_category")] * 2
    with pytest.raises(NotImplementedError, match="foo is unsupported"):
        T.Resize(5, order=("foo",)).apply((image,))
    with pytest.raises(ValueError, match="2 parts"):
        T.Resize(5, order=("image", "mask", "boxes")).apply((image, image))
    with pytest.raises(ValueError, match="sequence of names"):
        T.Resize(5, order="image")


def test_a_crop_pads_masks_with_their_own_value():
    """The reference takes 0 whatever `padding_maskvalue` says."""
    mask = np.zeros((2, 2), np.uint8)
    crop = T.RandomCrop((4, 6), padding_size=1, padding_maskvalue=4, order=("image", "mask"))
    made = crop.apply((samples()["image"][:2, :2], mask))[1]
    assert made.tolist() == [[4] * 6, [4, 0, 0, 4, 4, 4], [4, 0, 0, 4, 4, 4], [4] * 6]


def test_compose_of_a_batch():
    image = samples()["image"]
    for whole in (False, True):
        made = T.Compose([T.ToMode()], batch_compose=whole).apply_batch([(image, 1), (image, 2)])
        assert [(x.shape, y) for x, y in made] == [((3, 7, 9), 1), ((3, 7, 9), 2)]


def test_transforms_of_pil_images():
    image = samples()["image"]
    seen = []

    def shrink(picture):
        seen.append(picture.getpixel((0, 0)))
        return picture.resize((4, 3))

    made = T.TorchTransformCompose([shrink]).apply(image)
    assert seen == [tuple(image[0, 0, ::-1].tolist())]
    assert (made.shape, made.dtype) == ((3, 4, 3), np.uint8)
    assert T.TorchTransformCompose([lambda picture: picture]).apply(image).tolist() == image.tolist()
    with pytest.raises(TypeError, match="int"):
        T.TorchTransformCompose([lambda picture: 3]).apply(image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda image: T.BrightnessTransform(-1.0), "non-negative"),
        (lambda image: T.HueTransform(0.7), "0.5"),
        (lambda image: T.CenterCrop(20).apply(image), "7 x 9"),
        (lambda image: T.Resize(5).apply(image[..., 0]), "2 dims"),
        (lambda image: T.ToMode("NCHW"), "NCHW"),
        (lambda image: T.RandomHorizontalFlip(2.0), "prob"),
        (lambda image: T.Pad((1, 2, 3)), "padding"),
        (lambda image: T.RandomCrop((1, 2, 3)), "output_size"),
        (lambda image: T.ShortestEdgeResize((1, 2, 3), 5), "min_size"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(samples()["image"])
