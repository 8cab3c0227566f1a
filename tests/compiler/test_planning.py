"""What planning a new shape costs, counted in calls."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen.base import config


def calls(function: Callable[[], object]) -> int:
    """How many functions it calls, of Python and of C."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def ones(*shape: int) -> tengen.Tensor:
    return tengen.tensor(np.ones(shape, np.float32))


def add(i):
    x, y = ones(3, 40 + i), ones(3, 40 + i)
    return lambda: x + y


def linear(i):
    x, w, b = ones(16 + i, 64), ones(128, 64), ones(128)
    return lambda: F.linear(x, w, b)


def conv2d(i):
    x, w = ones(2, 16, 9 + i, 9 + i), ones(16, 16, 3, 3)
    return lambda: F.conv2d(x, w, None, 1, 1)


@pytest.mark.parametrize(("make", "most"), [(add, 800), (linear, 1450), (conv2d, 2000)])
def test_a_new_shape_takes_few_calls(make, most, tmp_path):
    """A Plan takes about a quarter of a microsecond for each of them."""
    with config.override(cache_dir=str(tmp_path)):
        for i in range(16):  # now its kernels are there
            make(i)()
        assert min(calls(make(i)) for i in range(16, 24)) < most
