"""Gather, scatter and their gradients, where positions repeat: against NumPy, and the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor, _rt, config
from tengen.autodiff import GradManager
from tengen.core.ops.index import ScatterAlong

RNG = np.random.default_rng(0)
SHAPES = [((300, 200), (300, 90)), ((300, 200), (100, 200)), ((12, 30, 50), (12, 30, 50)), ((2, 3, 4000), (2, 3, 4000))]


def on_threads(function):
    """What it gives on each number of threads; all must be equal."""
    found = []
    for threads in (1, 2, 3):
        with config.override(num_threads=threads):
            found.append(function())
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    return found[0]


def places(index, axis):
    return tuple(index if d == axis else along for d, along in enumerate(np.indices(index.shape, sparse=True)))


CASES = [
    (shape, index, axis)
    for shape, index in SHAPES
    for axis in range(len(shape))
    if shape[axis] >= index[axis] and all(i <= s for i, s in zip(index, shape, strict=True))
]


@pytest.mark.parametrize("shape, index_shape, axis", CASES)
def test_gather_gradient_and_scatter(shape, index_shape, axis):
    x, source = (RNG.standard_normal(s).astype(np.float32) for s in (shape, index_shape))
    index = RNG.integers(0, min(7, shape[axis]), index_shape).astype(np.int32)  # repeats
    at = places(index, axis)

    def gradient():
        handle = Tensor(x)
        gm = GradManager().attach([handle])
        with gm:
            gm.backward(F.gather(handle, axis, Tensor(index)), Tensor(source))
        return handle.grad.numpy()

    want = np.zeros(shape)
    np.add.at(want, at, source.astype(np.float64))
    np.testing.assert_allclose(on_threads(gradient), want, rtol=1e-4, atol=1e-4)

    want = x.copy()
    want[at] = source  # NumPy, too, writes in row-major order
    found = on_threads(lambda: F.scatter(Tensor(x), axis, Tensor(index), Tensor(source)).numpy())
    np.testing.assert_array_equal(found, want)

    want = x.astype(np.float64)
    np.add.at(want, at, source)
    add = ScatterAlong(axis, "add")
    found = on_threads(lambda: _rt.apply(add, Tensor(x), Tensor(index), Tensor(source)).numpy())
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_an_index_that_only_looks_like_a_running_number():
    """Each row is written where the index says, once the same row for all."""
    x, source = np.zeros((50, 40), np.float32), RNG.standard_normal((50, 40)).astype(np.float32)
    index = np.zeros((50, 40), np.int32)
    found = on_threads(lambda: F.scatter(Tensor(x), 0, Tensor(index), Tensor(source)).numpy())
    np.testing.assert_array_equal(found[0], source[-1])
    assert not found[1:].any()


ROWS = [
    ((40, 30, 20), 2000),
    ((130, 9, 8), 600),
    ((10, 7, 6), 5000),
]  # whole vectors, several chunks, a part of a vector


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape, count", ROWS)
def test_positions_that_are_the_same_along_one_dim(shape, count, last):
    """Elements at positions in a plane, of all channels: read, written, added. last: the channels lie side by side."""
    x, source = (RNG.standard_normal(s).astype(np.float32) for s in (shape, (shape[0], count)))
    at = tuple(RNG.integers(0, extent, count).astype(np.int32) for extent in shape[1:])  # some repeat
    index = tuple(map(Tensor, at))

    def tensor(array):
        return Tensor(array.transpose(1, 2, 0)).transpose(2, 0, 1) if last else Tensor(array)

    def gradient():
        handle = tensor(x)
        gm = GradManager().attach([handle])
        with gm:
            gm.backward(handle[:, index[0], index[1]], Tensor(source))
        return handle.grad.numpy()

    def assigned():
        handle = tensor(x)
        handle[:, index[0], index[1]] = Tensor(source)
        return handle.numpy()

    np.testing.assert_array_equal(on_threads(lambda: tensor(x)[:, index[0], index[1]].numpy()), x[:, at[0], at[1]])
    want = np.zeros(shape)
    np.add.at(want, (slice(None), *at), source.astype(np.float64))
    np.testing.assert_allclose(on_threads(gradient), want, rtol=1e-4, atol=1e-4)
    want = x.copy()
    want[:, at[0], at[1]] = source
    np.testing.assert_array_equal(on_threads(assigned), want)
    with pytest.raises(IndexError):
        tensor(x)[:, index[0] + shape[1], index[1]].numpy()


@pytest.mark.parametrize("mode", ["set", "add"])
def test_a_row_of_values_for_the_same_place(mode):
    """The index does not move along the lanes, so they all meet."""
    x, source = np.ones((60, 40), np.float32), RNG.integers(-9, 9, (60, 100)).astype(np.float32)
    index = RNG.integers(0, 40, (60, 1)).astype(np.int32)
    op = ScatterAlong(1, mode)
    found = on_threads(
        lambda: _rt.apply(op, Tensor(x), F.broadcast_to(Tensor(index), (60, 100)), Tensor(source)).numpy()
    )
    want = x.copy()
    for row, (place,) in enumerate(index):
        want[row, place] = source[row, -1] if mode == "set" else 1 + source[row].sum()
    np.testing.assert_array_equal(found, want)


def test_an_index_out_of_range_writes_nothing_beside_it():
    x, source = Tensor(np.zeros((3, 40), np.float32)), Tensor(np.ones((3, 37), np.float32))
    index = np.tile(np.arange(-37, 0, dtype=np.int32), (3, 1))
    assert F.scatter(x, 1, Tensor(index), source).numpy().sum() == 3 * 37
    index[1, 20] = -41
    with pytest.raises(IndexError, match="scatter"):
        F.scatter(x, 1, Tensor(index), source)
    assert not x.numpy().any()
