"""Descriptors: interning, properties, errors."""

from __future__ import annotations

import copy
import pickle

import pytest

from tengen._rt import Descriptor


def test_equal_descriptors_are_the_same_object() -> None:
    made = Descriptor("float32", (2, 3))
    assert Descriptor("float32", [2, 3], strides=(3, 1), device="cpu0") is made
    assert Descriptor("float32", (2, 3), strides=(1, 2)) is not made
    assert Descriptor("float64", (2, 3)) is not made
    assert Descriptor("float32", (2, 3), device="cpu1") is not made
    assert Descriptor("float32", (6,)) is not made


def test_properties() -> None:
    made = Descriptor("bfloat16", (2, 3, 4), strides=(1, 2, 6))
    assert (made.dtype, made.shape, made.strides, made.device) == ("bfloat16", (2, 3, 4), (1, 2, 6), "cpu0")
    assert (made.size, made.ndim, made.itemsize, made.is_contiguous) == (24, 3, 2, False)
    assert Descriptor("int8", ()).size == 1
    assert Descriptor("int8", (0, 3)).size == 0


def test_contiguous_ignores_the_strides_of_extents_of_one() -> None:
    assert Descriptor("float32", (2, 1, 3), strides=(3, 77, 1)).is_contiguous
    assert not Descriptor("float32", (2, 3), strides=(0, 1)).is_contiguous


@pytest.mark.parametrize("operation", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_are_the_same_object(operation: object) -> None:
    made = Descriptor("int64", (4, 5), strides=(-5, 1), device="cpu1")
    assert operation(made) is made  # type: ignore[operator]


def test_repr_says_what_differs_from_the_default() -> None:
    assert repr(Descriptor("bool", (2,))) == "Descriptor('bool', (2,))"
    assert repr(Descriptor("bool", (2,), (2,), "cpu1")) == "Descriptor('bool', (2,), strides=(2,), device='cpu1')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("float31", ()), "unknown dtype 'float31'"),
        (("int8", (-1,)), "negative"),
        (("int8", (2, 3), (1,)), "length"),
        (("int8", (1 << 40, 1 << 40)), "elements"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Descriptor(*arguments)  # type: ignore[arg-type]
