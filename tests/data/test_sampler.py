"""Samplers. The orders of random ones are those that MegEngine 1.13.0 gave."""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np
import pytest

from tengen.data import (
    Infinite,
    MapSampler,
    RandomSampler,
    ReplacementSampler,
    Sampler,
    SequentialSampler,
    StreamSampler,
)

TEN = range(10)
CASES = [
    (lambda: SequentialSampler(TEN, 3), [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]),
    (lambda: SequentialSampler(TEN, 3, True), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
    (lambda: SequentialSampler(TEN, 3, indices=[5, 2, 9, 1]), [[5, 2, 9], [1]]),
    (lambda: SequentialSampler(TEN, 2, world_size=3, rank=0), [[0, 3], [6, 9]]),
    (lambda: SequentialSampler(TEN, 2, world_size=3, rank=1), [[1, 4], [7, 0]]),
    (lambda: SequentialSampler(TEN, 2, world_size=3, rank=2), [[2, 5], [8, 1]]),
    (lambda: SequentialSampler(TEN, 2, indices=[5, 2, 9, 1, 7], world_size=3, rank=2), [[9, 5]]),
    (lambda: RandomSampler(TEN, 3, seed=0), [[2, 8, 4], [9, 1, 6], [7, 3, 0], [5]]),
    (lambda: RandomSampler(TEN, 3, True, indices=[3, 4, 5, 8], seed=5), [[3, 4, 5]]),
    (lambda: RandomSampler(TEN, 2, world_size=2, rank=0, seed=3), [[5, 1], [9, 7], [3]]),
    (lambda: RandomSampler(TEN, 2, world_size=2, rank=1, seed=3), [[4, 2], [6, 0], [8]]),
    (lambda: RandomSampler(TEN, 2, True, world_size=4, rank=3, seed=1), [[4, 7]]),
    (lambda: ReplacementSampler(TEN, 3, num_samples=7, seed=0), [[5, 0, 3], [3, 7, 9], [3]]),
    (lambda: ReplacementSampler(TEN, 3, num_samples=7, weights=range(1, 11), seed=0), [[7, 8, 7], [7, 6, 7], [6]]),
    (lambda: ReplacementSampler(TEN, 2, num_samples=7, world_size=2, rank=0, seed=3), [[8, 3], [8, 5]]),
    (lambda: ReplacementSampler(TEN, 2, num_samples=7, world_size=2, rank=1, seed=3), [[9, 8], [0, 3]]),
    (lambda: SequentialSampler([], 2), []),
    (lambda: SequentialSampler([7], 1, world_size=3, rank=2), [[0]]),
]


@pytest.mark.parametrize(("make", "batches"), CASES)
def test_batches_and_their_number(make, batches):
    sampler = make()
    assert list(sampler) == batches
    assert len(sampler) == len(batches)


def test_each_pass_of_a_random_sampler_has_another_order():
    sampler = RandomSampler(TEN, 3, seed=0)
    assert list(sampler) != list(sampler)
    assert list(RandomSampler(TEN, 3, seed=0)) == [[2, 8, 4], [9, 1, 6], [7, 3, 0], [5]]


def test_processes_without_a_seed_share_one_order():
    parts = [list(RandomSampler(TEN, 1, world_size=2, rank=rank)) for rank in range(2)]
    assert sorted(number for part in parts for (number,) in part) == list(TEN)


def test_infinite_goes_on_where_the_last_iteration_stopped():
    sampler = Infinite(SequentialSampler(TEN, 4))
    assert list(islice(sampler, 5)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert next(iter(sampler)) == [8, 9]
    assert len(sampler) == sys.maxsize


def test_infinite_refuses_a_sampler_without_batches():
    with pytest.raises(ValueError, match="no batch"):
        next(iter(Infinite(SequentialSampler(range(2), 3, drop_last=True))))


def test_a_sampler_of_ones_own():
    class Own(MapSampler):
        def sample(self):
            return iter([3, 1, 2])

    assert list(Own(TEN, 2)) == [[3, 1], [2]]
    with pytest.raises(NotImplementedError, match="MapSampler"):
        list(MapSampler(TEN))
    with pytest.raises(TypeError, match="abstract"):
        Sampler()


def test_stream_sampler():
    assert list(islice(StreamSampler(3), 2)) == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"drop_last": 1}, "drop_last=1"),
        ({"world_size": 2, "rank": 2}, "rank=2"),
        ({"rank": 1}, "rank=1"),
        ({"world_size": 0, "rank": 0}, "world_size=0"),
        ({"indices": 3}, "indices=3"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        RandomSampler(TEN, **options)


@pytest.mark.parametrize("weights", [[1, 2], 3, [-1.0] * 10, [0.0] * 10, [np.nan] * 10])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        ReplacementSampler(TEN, weights=weights)


def test_numpy_integers_are_integers():
    assert len(RandomSampler(TEN, np.int64(3), world_size=np.int32(2), rank=np.int64(1))) == 2
