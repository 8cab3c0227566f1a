"""How exact sums are, however many numbers they add, along whichever axes, in whatever layout: against NumPy in float64.

Numbers added to one total, one after the other, are rounded the same way again and again where they are equal, or have few values: then the error
grows with their count. That of sums of sums grows with its logarithm.
"""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen.autodiff import GradManager

NUMBERS = {
    "equal": lambda random, shape: np.full(shape, random.uniform(0.1, 1.0)),
    "two values": lambda random, shape: random.choice(random.uniform(0.1, 1.0, 2), shape),
    "any": lambda random, shape: random.uniform(0.1, 1.0, shape),
}
SHAPES = [
    ((63,), None),
    ((1000,), None),
    ((6400,), None),
    ((1 << 20,), None),
    ((6400, 3), None),
    ((6400, 3), 0),
    ((3, 6400), 1),
    ((2100, 700), 0),
    ((700, 2100), 1),
    ((33, 50, 99), (0, 2)),
    ((64, 100, 3), (0, 1)),
    ((2, 3, 50, 70, 3), (0, 2, 4)),
    ((5, 40, 1, 17, 31), (1, 3)),
]
LARGEST = 1e-6
"""Relative error that a sum, a mean or a variance may have before it is rounded to its dtype: some eight roundings of float32."""
BITS = {"float16": 10, "bfloat16": 7, "float32": 23}


def half_unit(dtype: str, values: np.ndarray) -> np.ndarray:
    """By how much rounding to a dtype may change these values."""
    return 2.0 ** (np.floor(np.log2(values)) - BITS[dtype] - 1)


def check(got: tengen.Tensor, want: np.ndarray, largest: float = LARGEST) -> None:
    off = np.abs(got.astype("float32").numpy().astype(np.float64) - want)
    allowed = largest * want + (half_unit(got.dtype.name, want) if got.dtype != np.float32 else 0.0)
    assert (off <= allowed).all(), f"{np.max(off / want):.1e}, allowed {np.max(allowed / want):.1e}"


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape, axis", SHAPES)
@pytest.mark.parametrize("dtype", BITS)
def test_sums_are_exact_to_a_few_roundings(dtype, shape, axis, numbers):
    random = np.random.default_rng(7)
    for _ in range(3):
        x = tengen.tensor(NUMBERS[numbers](random, shape).astype(np.float32)).astype(dtype)
        exact = x.astype("float32").numpy().astype(np.float64)
        check(F.mean(x, axis=axis), exact.mean(axis))
        if dtype != "float16" or exact.sum(axis).max() < 60000:
            check(F.sum(x, axis=axis), exact.sum(axis))
        if numbers != "equal":
            check(F.var(x, axis=axis), exact.var(axis))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_the_layout_does_not_matter(axis, order):
    random = np.random.default_rng(3)
    for shape in ((400, 90, 7), (7, 400, 90), (90, 7, 400)):
        x = F.transpose(tengen.tensor(np.full(shape, random.uniform(0.1, 1.0), np.float32)), order)
        check(F.sum(x, axis=axis), x.numpy().astype(np.float64).sum(axis))


def test_sums_with_what_follows_them():
    """Several passes over a row, and the gradients of weights and biases, which are sums over rows."""
    random = np.random.default_rng(1)
    x = tengen.Parameter(random.choice([0.3, 0.7], (6400, 40)).astype(np.float32))
    dy = np.full((6400, 40), np.float32(0.1))
    weight, bias = tengen.Parameter(np.ones(40, np.float32)), tengen.Parameter(np.zeros(40, np.float32))
    with (gm := GradManager().attach([weight, bias])):
        gm.backward(x * weight + bias, tengen.tensor(dy))
    check(bias.grad, dy.astype(np.float64).sum(0))
    check(weight.grad, (dy.astype(np.float64) * x.numpy()).sum(0))
    exact = np.exp(x.numpy().astype(np.float64)).sum(0)
    check(F.logsumexp(x, axis=0), np.log(exact))


LARGEST_OF_PRODUCTS = 4e-6
"""The same for sums of products: what PyTorch's products of equal numbers are off by."""
PRODUCTS = [(64, 4096, 64), (1, 4096, 64), (64, 4096, 1), (8, 100_000, 8), (64, 30_000, 64), (300, 2000, 100)]


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", PRODUCTS)
def test_products_of_matrices_are_exact_to_a_few_roundings(shape, numbers):
    random = np.random.default_rng(5)
    rows, k, columns = shape
    a, b = (NUMBERS[numbers](random, size).astype(np.float32) for size in ((rows, k), (k, columns)))
    want = a.astype(np.float64) @ b
    x, y = tengen.tensor(a), tengen.tensor(b)
    turned = F.matmul(F.transpose(tengen.tensor(a.T.copy()), (1, 0)), F.transpose(tengen.tensor(b.T.copy()), (1, 0)))
    for got in (F.matmul(x, y), F.relu(F.matmul(x, y) + 0.0), turned):
        check(got, want, LARGEST_OF_PRODUCTS)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_convolutions_over_many_channels_are_exact_to_a_few_roundings(numbers):
    random = np.random.default_rng(6)
    x = NUMBERS[numbers](random, (2, 2048, 3, 3)).astype(np.float32)
    w = NUMBERS[numbers](random, (24, 2048, 3, 3)).astype(np.float32)
    want = np.einsum("nckl,ockl->no", x.astype(np.float64), w.astype(np.float64)).reshape(2, 24, 1, 1)
    check(F.conv2d(tengen.tensor(x), tengen.tensor(w)), want, LARGEST_OF_PRODUCTS)
