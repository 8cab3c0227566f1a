"""A layer says at once which of its sizes cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tengen.module as M

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: M.Linear(-2, 3), "Linear: in_features must be at least 0, got -2"),
    (lambda: M.Linear(3, -1), "Linear: out_features must be at least 0, got -1"),
    (lambda: M.LinearRelu(-1, 3), "LinearRelu: in_features must be at least 0, got -1"),
    (lambda: M.LinearBn1d(3, -1), "Linear: out_features must be at least 0, got -1"),
    (lambda: M.Conv1d(-1, 4, 3), "Conv1d: in_channels must be at least 0, got -1"),
    (lambda: M.Conv2d(-3, 4, 3), "Conv2d: in_channels must be at least 0, got -3"),
    (lambda: M.Conv2d(3, -1, 3), "Conv2d: out_channels must be at least 0, got -1"),
    (lambda: M.ConvBn2d(3, -1, 3), "Conv2d: out_channels must be at least 0, got -1"),
    (lambda: M.Conv2d(3, 4, 0), "Conv2d: kernel_size must be at least 1, got 0"),
    (lambda: M.Conv2d(3, 4, (3, -1)), "Conv2d: kernel_size must be at least 1, got (3, -1)"),
    (lambda: M.Conv2d(3, 4, np.int64(0)), "Conv2d: kernel_size must be at least 1, got "),
    (lambda: M.Conv2d(3, 4, (3, 3, 3)), "Conv2d: kernel_size must be an int or 2 of them, got (3, 3, 3)"),
    (lambda: M.Conv2d(3, 4, 3, stride=0), "Conv2d: stride must be at least 1, got 0"),
    (lambda: M.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding must be at least 0, got -1"),
    (lambda: M.Conv2d(3, 4, 3, dilation=0), "Conv2d: dilation must be at least 1, got 0"),
    (lambda: M.Conv2d(3, 4, 3, groups=0), "Conv2d: groups must be at least 1, got 0"),
    (lambda: M.Conv2d(3, 4, 3, groups=2), "Conv2d: in_channels must be divisible by groups, got 3 and 2"),
    (lambda: M.Conv2d(4, 3, 3, groups=2), "Conv2d: out_channels must be divisible by groups, got 3 and 2"),
    (
        lambda: M.ConvTranspose2d(3, 4, 3, output_padding=-1),
        "ConvTranspose2d: output_padding must be at least 0, got -1",
    ),
    (lambda: M.BatchNorm1d(-1), "BatchNorm1d: num_features must be at least 0, got -1"),
    (lambda: M.BatchNorm2d(-3), "BatchNorm2d: num_features must be at least 0, got -3"),
    (lambda: M.LayerNorm((3, -1)), "LayerNorm: normalized_shape must be at least 0, got (3, -1)"),
    (lambda: M.GeneralNorm(-4, 0), "GeneralNorm: normalized_shape must be at least 0, got -4"),
    (lambda: M.GroupNorm(0, 4), "GroupNorm: num_groups must be at least 1, got 0"),
    (lambda: M.GroupNorm(1, -1), "GroupNorm: num_channels must be at least 0, got -1"),
    (lambda: M.GroupNorm(3, 4), "GroupNorm: num_groups must divide num_channels, got 3 and 4"),
    (lambda: M.InstanceNorm(-1), "InstanceNorm: num_channels must be at least 0, got -1"),
    (lambda: M.LocalResponseNorm(0), "LocalResponseNorm: kernel_size must be at least 1, got 0"),
    (lambda: M.Embedding(-1, 3), "Embedding: num_embeddings must be at least 0, got -1"),
    (lambda: M.Embedding(3, -1), "Embedding: embedding_dim must be at least 0, got -1"),
    (lambda: M.Embedding(3, 1, padding_idx=3), "Embedding: padding_idx 3 is not one of the 3 rows"),
    (lambda: M.RNNCell(-1, 3), "RNNCell: input_size must be at least 0, got -1"),
    (lambda: M.LSTMCell(3, -3), "LSTMCell: hidden_size must be at least 1, got -3"),
    (lambda: M.PReLU(0), "PReLU: num_parameters must be at least 1, got 0"),
    (lambda: M.PixelShuffle(0), "PixelShuffle: upscale_factor must be at least 1, got 0"),
    (lambda: M.MaxPool2d(0), "MaxPool2d: kernel_size must be at least 1, got 0"),
    (lambda: M.MaxPool2d(2, stride=0), "MaxPool2d: stride must be at least 1, got 0"),
    (lambda: M.AvgPool2d(2, padding=(0, -1)), "AvgPool2d: padding must be at least 0, got (0, -1)"),
    (lambda: M.AdaptiveAvgPool2d(0), "AdaptiveAvgPool2d: oshp must be at least 1, got 0"),
    (lambda: M.AdaptiveMaxPool2d((1, 0)), "AdaptiveMaxPool2d: oshp must be at least 1, got (1, 0)"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message.partition(", got")[0] for _, message in WRONG])
def test_a_size_that_cannot_be_is_named(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)
