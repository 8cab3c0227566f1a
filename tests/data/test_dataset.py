"""Datasets that hold what they are given, and Collator."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
from samples import Count

from tengen import Tensor
from tengen.data import Collator
from tengen.data.dataset import ArrayDataset, ConcatDataset, Dataset, StreamDataset

Pair = namedtuple("Pair", "a b")


def test_array_dataset():
    dataset = ArrayDataset(np.arange(4), np.arange(8).reshape(4, 2), "abcd")
    assert len(dataset) == 4
    number, row, letter = dataset[1]
    assert (number, row.tolist(), letter) == (1, [2, 3], "b")
    assert ArrayDataset([1, 2], [3, 4])[0] == (1, 3)


@pytest.mark.parametrize(
    ("arrays", "error"), [((np.arange(3), np.arange(4)), ValueError), ((), TypeError), ((3,), TypeError)]
)
def test_array_dataset_refuses(arrays, error):
    with pytest.raises(error):
        ArrayDataset(*arrays)


def test_concat_dataset():
    dataset = ConcatDataset([ArrayDataset(np.arange(3)), ArrayDataset(np.arange(0)), ArrayDataset(np.arange(5) + 10)])
    assert [dataset[i][0] for i in range(len(dataset))] == [0, 1, 2, 10, 11, 12, 13, 14]
    assert [dataset[-i][0] for i in (1, 5, 6, 8)] == [14, 10, 2, 0]
    for index in (8, -9):
        with pytest.raises(IndexError, match="of 8 samples"):
            dataset[index]
    with pytest.raises(TypeError, match="Count"):
        ConcatDataset([Count(3)])


def test_a_dataset_needs_no_init_of_its_own():
    class Squares(Dataset):
        def __getitem__(self, index):
            return index**2

        def __len__(self):
            return 4

    assert Squares()[3] == 9


def test_datasets_are_abstract():
    for cls in (Dataset, StreamDataset):
        with pytest.raises(TypeError, match="abstract"):
            cls()
    with pytest.raises(TypeError, match="no indices"):
        Count(3)[0]


@pytest.mark.parametrize(
    ("samples", "batch"),
    [
        ([1, 2], np.array([1, 2])),
        ([1.0, 2.0], np.array([1.0, 2.0])),
        ([True, False], np.array([True, False])),
        ([np.float32(1), np.float32(2)], np.array([1, 2], np.float32)),
        ([np.int8(3)], np.array([3], np.int8)),
        ([np.arange(3), np.arange(3)], np.array([[0, 1, 2], [0, 1, 2]])),
        (["a", "b"], ["a", "b"]),
        ([b"a", b"b"], [b"a", b"b"]),
        ([(1, 2.0), (3, 4.0)], [np.array([1, 3]), np.array([2.0, 4.0])]),
        ([[1, 2], [3, 4]], [np.array([1, 3]), np.array([2, 4])]),
        ([{"a": (1, "x")}, {"a": (2, "y")}], {"a": [np.array([1, 2]), ["x", "y"]]}),
        ([Pair(1, 2), Pair(3, 4)], Pair(np.array([1, 3]), np.array([2, 4]))),
    ],
)
def test_collator(samples, batch):
    made = Collator().apply(samples)
    assert type(made) is type(batch)
    assert repr(made) == repr(batch)
    assert getattr(made, "dtype", None) == getattr(batch, "dtype", None)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([None, None], TypeError, "NoneType'>$"),
        ([(Tensor([1.0]), 0)] * 2, TypeError, r"Tensor'>; a dataset gives arrays, x.numpy\(\) for a tensor x"),
        ([np.arange(3), np.arange(2)], ValueError, r"\(2,\), \(3,\)"),
        ([(1, 2), (3,)], ValueError, r"\[1, 2\]"),
    ],
)
def test_collator_refuses(samples, error, message):
    with pytest.raises(error, match=message):
        Collator().apply(samples)
