"""tengen.dtr: the limit of traces that have none of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import _rt, dtr
from tengen.autodiff import GradManager
from tengen.jit import DTRConfig, SublinearMemoryConfig, trace


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    dtr.disable()
    dtr.eviction_threshold, dtr.evictee_minimum_size, dtr.enable_sqrt_sampling = 0, 1 << 20, False


def step(**options):
    """A traced chain of products and activations, whose backward needs them all; and its weight."""
    w = tengen.Parameter(np.eye(64, dtype=np.float32) * 0.9)
    manager = GradManager().attach(w)

    @trace(**options)
    def run(x):
        with manager:
            for _ in range(12):
                x = F.gelu(F.matmul(x, w))
            manager.backward(F.sum(x))
        gradient, w.grad = w.grad, None
        return gradient

    return run


X = np.linspace(-1, 1, 1024 * 64).reshape(1024, 64).astype(np.float32)


def peak(run) -> int:
    """Bytes that a later call takes."""
    x = tengen.tensor(X)
    for _ in range(2):
        run(x)
    before = _rt.memory_stats()["live"]
    _rt.reset_peak()
    run(x)
    return _rt.memory_stats()["peak"] - before


@pytest.mark.parametrize("without_host", [False, True])
def test_a_trace_keeps_to_the_limit(without_host):
    free = step(without_host=without_host)
    unlimited = peak(free)
    dtr.eviction_threshold, dtr.evictee_minimum_size = unlimited // 2, 0
    assert peak(step(without_host=without_host)) == unlimited  # not enabled
    dtr.enable()
    limited = step(without_host=without_host)
    assert peak(limited) <= unlimited // 2
    x = tengen.tensor(X)
    np.testing.assert_allclose(limited(x).numpy(), free(x).numpy(), rtol=1e-5, atol=1e-4)
    dtr.disable()
    assert peak(limited) <= unlimited // 2  # it is compiled
    assert peak(step(without_host=without_host)) == unlimited


@pytest.mark.parametrize("own", [
    {"dtr_config": DTRConfig(eviction_threshold=1 << 40)}, {"dtr_config": DTRConfig()},
    {"sublinear_memory_config": SublinearMemoryConfig(lb_memory_mb=1 << 20)},
])  # fmt: skip
def test_a_limit_of_its_own_comes_first(own):
    dtr.eviction_threshold, dtr.evictee_minimum_size = 1 << 20, 0
    unlimited = peak(step())
    dtr.enable()
    assert peak(step(**own)) == unlimited


def test_small_values_are_kept():
    unlimited = peak(step())
    dtr.eviction_threshold, dtr.evictee_minimum_size = unlimited // 2, X.nbytes + 1
    dtr.enable()
    assert peak(step()) == unlimited


def test_sizes():
    assert (dtr.eviction_threshold, dtr.evictee_minimum_size, dtr.enable_sqrt_sampling) == (0, 1 << 20, False)
    for value, found in (("5GB", 5 << 30), ("10 mb", 10 << 20), ("1.5KB", 1536), ("100B", 100), (7, 7), (0, 0)):
        for name in ("eviction_threshold", "evictee_minimum_size"):
            setattr(dtr, name, value)
            assert getattr(dtr, name) == found
    for value in ("7", "x", "-1GB", "5TB", "GB", -1):
        with pytest.raises(ValueError, match=r"dtr\.eviction_threshold"):
            dtr.eviction_threshold = value
    for value in (1.5, None, True):
        with pytest.raises(TypeError, match=r"dtr\.evictee_minimum_size must be an int or text"):
            dtr.evictee_minimum_size = value
    with pytest.raises(TypeError, match="enable_sqrt_sampling must be True or False"):
        dtr.enable_sqrt_sampling = "yes"
    dtr.enable_sqrt_sampling = 1
    assert dtr.enable_sqrt_sampling is True
    assert dtr.eviction_threshold == 0
