"""Random tensors: distributions, seeds, and independence of how the work is split."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tengen
from tengen import Tensor, random
from tengen.random import RNG

MANY = 200_000


def share_below(sample: np.ndarray, truth) -> float:
    """The Kolmogorov-Smirnov distance between a sample and a distribution function."""
    ordered = np.sort(sample.ravel())
    steps = np.arange(1, ordered.size + 1) / ordered.size
    return float(np.abs(steps - truth(ordered)).max())


def normal_distribution(x):
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_uniform():
    drawn = RNG(seed=1).uniform(-2, 5, size=(MANY,)).numpy()
    assert drawn.dtype == np.float32
    assert drawn.min() >= -2 and drawn.max() < 5
    assert share_below(drawn, lambda x: (x + 2) / 7) < 1.95 / math.sqrt(MANY)


def test_uniform_never_reaches_the_upper_end():
    assert RNG(seed=0).uniform(1, 1.0000002, size=(1000,)).numpy().max() < np.float32(1.0000002)


def test_normal():
    drawn = RNG(seed=2).normal(3, 2, size=(100, MANY // 100)).numpy()
    assert drawn.shape == (100, MANY // 100) and drawn.dtype == np.float32
    assert share_below((drawn.ravel()[:20000] - 3) / 2, normal_distribution) < 1.95 / math.sqrt(20000)
    assert abs(drawn.mean() - 3) < 5 * 2 / math.sqrt(MANY)
    assert np.isfinite(drawn).all() and np.abs(drawn - 3).max() > 2 * 4


def test_draws_are_not_correlated():
    drawn = RNG(seed=3).normal(size=(MANY,)).numpy()
    for lag in (1, 2, 7, 1000):
        assert abs(np.mean(drawn[lag:] * drawn[:-lag])) < 5 / math.sqrt(MANY)
    other = RNG(seed=4).normal(size=(MANY,)).numpy()
    assert abs(np.mean(drawn * other)) < 5 / math.sqrt(MANY)


@pytest.mark.parametrize(
    "draw, mean, std",
    [
        (lambda g: g.gamma(2.0, 3.0, size=(20000,)), 6, math.sqrt(18)),
        (lambda g: g.beta(2.0, 1.0, size=(20000,)), 2 / 3, math.sqrt(1 / 18)),
        (lambda g: g.poisson(4.0, size=(20000,)), 4, 2),
    ],
)
def test_other_distributions(draw, mean, std):
    drawn = draw(RNG(seed=5)).numpy()
    assert drawn.dtype == np.float32
    assert abs(drawn.mean() - mean) < 5 * std / math.sqrt(20000)
    assert abs(drawn.std() - std) < 0.05 * std
    np.testing.assert_array_equal(draw(RNG(seed=5)).numpy(), drawn)
    generator = RNG(seed=5)
    assert (draw(generator).numpy() != draw(generator).numpy()).any()


def test_parameters_may_be_tensors():
    generator = RNG(seed=6)
    assert generator.gamma(Tensor([1.0, 2.0]), Tensor([1.0, 2.0]), size=(3,)).shape == (3, 2)
    assert generator.gamma(Tensor([1.0, 2.0]), 2.0).shape == (2,)
    drawn = generator.poisson(Tensor([1.0, 50.0]), size=(5000,)).numpy()
    np.testing.assert_allclose(drawn.mean(0), [1, 50], rtol=0.1)


def test_sizes():
    for size, shape in [(None, (1,)), ((), ()), (3, (3,)), ([2, 2], (2, 2)), ((0,), (0,)), (Tensor([2, 3]), (2, 3))]:
        assert random.uniform(size=size).shape == shape
        assert random.normal(size=size).shape == shape


def test_seed():
    random.seed(7)
    first = [random.uniform(size=(5,)).numpy(), random.normal(size=(5,)).numpy()]
    assert (random.uniform(size=(5,)).numpy() != first[0]).any()
    random.seed(7)
    np.testing.assert_array_equal(random.uniform(size=(5,)).numpy(), first[0])
    np.testing.assert_array_equal(random.normal(size=(5,)).numpy(), first[1])
    random.seed(8)
    assert (random.uniform(size=(5,)).numpy() != first[0]).any()


def test_large_seeds_differ():
    drawn = [RNG(seed=s).uniform(size=(8,)).tolist() for s in (0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)]
    assert len({tuple(d) for d in drawn}) == len(drawn)


def test_generators_are_independent():
    random.seed(1)
    a, b = RNG(seed=1), RNG(seed=2)
    first = a.uniform(size=(4,)).numpy()
    b.uniform(size=(4,))
    assert (a.uniform(size=(4,)).numpy() != first).any()
    np.testing.assert_array_equal(random.uniform(size=(4,)).numpy(), first)
    assert (RNG().uniform(size=(8,)).numpy() != RNG().uniform(size=(8,)).numpy()).any()
    assert a.uniform(size=(2,)).device == tengen.get_default_device()
    assert RNG(seed=1, device="cpu0").uniform(size=(2,)).device == "cpu0"


def test_draws_do_not_depend_on_how_they_are_split():
    """One draw of n numbers is n draws of one, whatever the tiles and threads are."""
    whole = RNG(seed=9).uniform(size=(100_003,)).numpy()
    generator = RNG(seed=9)
    parts = [generator.uniform(size=(count,)).numpy() for count in (1, 2, 1000, 99_000)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    with tengen.base.config.override(num_threads=1):
        np.testing.assert_array_equal(RNG(seed=9).uniform(size=(100_003,)).numpy(), whole)


def philox(counter: int, key: int) -> int:
    """The first output of Philox2x32-10 (Salmon et al. 2011), in Python's integers."""
    left, right = counter & 0xFFFFFFFF, counter >> 32
    for _ in range(10):
        product = left * 0xD256D193
        left, right = (product >> 32) ^ key ^ right, product & 0xFFFFFFFF
        key = (key + 0x9E3779B9) & 0xFFFFFFFF
    return left


@pytest.mark.parametrize("seed", [0, 12345, 2**32 - 1, 2**40 + 3, 2**64 - 1])
def test_the_stream_of_a_seed(seed):
    """It is part of the interface: who repeats an experiment relies on it."""
    assert philox(0, 0) == 0xFF1DAE59  # the authors' known answer
    truth = [(philox((seed >> 32 << 32) + i, seed & 0xFFFFFFFF) >> 8) * 2.0**-24 for i in range(5)]
    np.testing.assert_array_equal(RNG(seed=seed).uniform(size=(5,)).numpy(), truth)


def test_permutation():
    generator = RNG(seed=10)
    order = generator.permutation(1000)
    assert order.desc.dtype == "int32"
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != generator.permutation(1000).tolist()
    assert generator.permutation(5, dtype="float32").desc.dtype == "float32"
    assert generator.permutation(0).shape == (0,)
    firsts = np.array([generator.permutation(4).tolist() for _ in range(800)])
    counts = np.stack([np.bincount(column, minlength=4) for column in firsts.T])
    assert np.abs(counts - 200).max() < 5 * math.sqrt(200 * 0.75)


def test_permutation_of_rows():
    a = np.arange(60.0).reshape(20, 3)
    mixed = RNG(seed=11).permutation(Tensor(a)).numpy()
    assert (mixed != a).any()
    np.testing.assert_array_equal(mixed[np.argsort(mixed[:, 0])], a)


def test_shuffle():
    a = np.arange(60.0).reshape(20, 3)
    x = Tensor(a)
    other = x.detach()
    assert RNG(seed=11).shuffle(x) is None
    np.testing.assert_array_equal(x.numpy(), RNG(seed=11).permutation(Tensor(a)).numpy())
    np.testing.assert_array_equal(other.numpy(), a)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: random.uniform(1, 1, size=(2,)), ValueError, "low must be less than high"),
        (lambda: random.normal(0, -1, size=(2,)), ValueError, "std must be at least 0"),
        (lambda: random.gamma(-1.0, size=(2,)), ValueError, "gamma: shape must be positive"),
        (lambda: random.beta(1.0, 0.0), ValueError, "beta: beta must be positive"),
        (lambda: random.poisson(-1.0), ValueError, "poisson: lam must be positive"),
        (lambda: random.permutation(-1), ValueError, "n must be at least 0"),
        (lambda: random.permutation(Tensor(1.5)), TypeError, "permutation: n takes an integer"),
        (lambda: random.shuffle([1, 2]), TypeError, "shuffle takes a tensor, got list"),
        (lambda: random.uniform(size=(-1,)), ValueError, "extents are at least 0"),
        (lambda: random.seed(1.5), TypeError, "a seed must be an integer, got float"),
        (lambda: random.seed(-1), ValueError, "a seed must be at least 0"),
        (lambda: RNG(seed=2**64), ValueError, "a seed must be at least 0"),
        (lambda: RNG(device="gpu7"), RuntimeError, "gpu7"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("distribution", ["gamma", "poisson"])
def test_what_is_drawn_does_not_depend_on_draws_before(distribution: str) -> None:
    """Each draw is that of a generator of NumPy with the seed as key and the place as counter, whatever state another draw has left."""
    ours, place = RNG(seed=2**32 + 7), 1 << 32
    for count in (1, 3, 1000, 2):
        RNG(seed=5).beta(0.5, 0.5, size=(count,))
        got = getattr(ours, distribution)(2.5, size=(count,)).numpy()
        fresh = np.random.Generator(np.random.Philox(key=7, counter=place))
        np.testing.assert_array_equal(got, getattr(fresh, distribution)(2.5, size=count).astype(np.float32))
        place += count
