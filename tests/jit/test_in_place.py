"""Results that take the memory of an operand: what a contraction adds to is read before it is overwritten."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen.jit import trace

random = np.random.default_rng(0)


@pytest.mark.parametrize("function", [lambda y: y, F.exp], ids=["sum", "exp"])
@pytest.mark.parametrize("m", [1, 12, 13, 1003])
def test_a_product_is_added_to_what_it_replaces(m, function):
    """Also where tiles of rows do not divide the product."""
    x, w = (random.standard_normal(shape, np.float32) / 8 for shape in ((m, 64), (64, 48)))
    total, inputs = tengen.tensor(np.ones((m, 48), np.float32)), [tengen.tensor(x), tengen.tensor(w)]

    @trace
    def step(x, w):
        total._reset(total + function(F.matmul(x, w)))
        return total.sum()

    for _ in range(4):
        step(*inputs)
    product = x.astype(np.float64) @ w
    expected = 1 + 4 * (np.exp(product) if function is F.exp else product)
    np.testing.assert_allclose(total.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 24])
@pytest.mark.parametrize("size", [13, 14, 9])
def test_a_convolution_is_added_to_what_it_replaces(size, groups):
    x, w = (
        random.standard_normal((2, 24, size, size), np.float32),
        random.standard_normal((24, 24 // groups, 3, 3), np.float32),
    )
    image = tengen.tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    weight = tengen.tensor(w)
    total = F.conv2d(image, weight, None, 1, 1, 1, groups)

    @trace
    def step(x, w):
        total._reset(total + F.conv2d(x, w, None, 1, 1, 1, groups))
        return total.sum()

    for _ in range(4):
        step(image, weight)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    y = np.zeros(x.shape)
    for i, r, s in np.ndindex(24, 3, 3):
        part = padded[:, i if groups > 1 else slice(None), r : r + size, s : s + size]
        y[:, i] += part * w[i, 0, r, s] if groups > 1 else np.einsum("nchw,c->nhw", part, w[i, :, r, s])
    np.testing.assert_allclose(total.numpy(), 5 * y, rtol=1e-4, atol=1e-3)
