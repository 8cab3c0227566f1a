"""Python ints that a tensor's dtype does not hold: an OverflowError as in NumPy 2, exact comparisons, never another number."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.jit import trace

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "int32": (-(2**31), 2**31 - 1)}


def tensor(dtype):
    return Tensor(np.array([100, 3, 0]), dtype=dtype)


def assign(index, list_of=False):
    def call(x, n):
        y = x + 0
        y[index(y)] = [n] if list_of else n
        return y

    return call


def in_place(x, n):
    x += n
    return x


# name: what fails for a number outside of the dtype
VALUES = {
    "add": lambda x, n: x + n,
    "radd": lambda x, n: n + x,
    "iadd": in_place,
    "sub": lambda x, n: x - n,
    "mul": lambda x, n: x * n,
    "floor_div": lambda x, n: x // n,
    "mod": lambda x, n: x % n,
    "and": lambda x, n: x & n,
    "where": lambda x, n: F.where(x > 2, x, n),
    "full_like": F.full_like,
    "full": lambda x, n: F.full((2,), n, dtype=x.dtype),
    "pad": lambda x, n: F.nn.pad(x, ((1, 0),), constant_value=n),
    "x[0] = n": assign(lambda x: 0),
    "x[:2] = [n]": assign(lambda x: slice(2), list_of=True),
    "x[indices] = n": assign(lambda x: Tensor([0, 2])),
    "x[mask] = n": assign(lambda x: x > 2),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", RANGES)
def test_values(name, dtype):
    call, (low, high) = VALUES[name], RANGES[dtype]
    for number in (low - 1, high + 1, 2**40, -(2**40)):
        with pytest.raises(OverflowError, match=rf"{number} does not fit {dtype}, which holds {low} to {high}"):
            call(tensor(dtype), number)
    for number in (high, low or 1):
        assert call(tensor(dtype), number).desc.dtype == dtype


@pytest.mark.parametrize("dtype", RANGES)
def test_limits_that_are_never_reached_do_no_harm(dtype):
    low, high = RANGES[dtype]
    x = tensor(dtype)
    if dtype != "int32":
        for found in (F.minimum(x, high + 1000), F.maximum(x, low - 1000), F.clip(x, low - 1000, high + 1000)):
            np.testing.assert_array_equal(found.numpy(), x.numpy())
            assert found.desc.dtype == dtype
    for call in (lambda: F.maximum(x, high + 1), lambda: F.minimum(x, low - 1), lambda: F.clip(x, high + 1, high + 9)):
        with pytest.raises(OverflowError, match=f"does not fit {dtype}"):
            call()


COMPARISONS = {
    "<": lambda x, n: x < n,
    "<=": lambda x, n: x <= n,
    ">": lambda x, n: x > n,
    ">=": lambda x, n: x >= n,
    "==": lambda x, n: x == n,
    "!=": lambda x, n: x != n,
    "reversed <": lambda x, n: n < x,
}


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("dtype", [*RANGES, "int64"])
def test_comparisons_are_exact(name, dtype):
    limits = np.iinfo(dtype)
    numbers = [limits.min, limits.max, 0, 7]
    x = Tensor(np.array(numbers, dtype), dtype=dtype)
    compare = COMPARISONS[name]
    traced = trace(compare)
    for n in (0, 7, 255, -1, 300, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**32 + 7, 2**40, -(2**63), 2**63 - 1):
        truth = [compare(int(v), n) for v in numbers]
        assert compare(x, n).tolist() == truth, n
        assert traced(x, n).tolist() == truth, n


@pytest.mark.parametrize("options", [{}, {"without_host": True}])
def test_in_a_trace(options):
    function = trace(lambda x, n: F.maximum(x, n) + 1, **options)
    x = Tensor([100, 3], dtype="int8")
    assert function(x, 5).tolist() == [101, 6]
    with pytest.raises(OverflowError, match="max: 1000 does not fit int8"):
        trace(lambda x: F.maximum(x, 1000), **options)(x)


def test_a_traced_function_looks_at_each_number():
    limit = [5]
    function = trace(lambda x: F.maximum(x, limit[0]))
    x = Tensor([100, 3], dtype="int8")
    assert function(x).tolist() == [100, 5]
    limit[0] = 1000
    with pytest.raises(OverflowError, match="1000 does not fit int8"):
        function(x).numpy()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_labels_of_narrow_integers(dtype):
    """The number of classes need not fit the dtype of the labels."""
    scores = F.arange(3 * 1000).reshape(3, 1000)
    labels = Tensor(np.array([0, 5, 127]), dtype=dtype)
    np.testing.assert_array_equal(F.indexing_one_hot(scores, labels).numpy(), [0, 1005, 2127])
    assert F.one_hot(labels, 1000).numpy().argmax(1).tolist() == [0, 5, 127]
    if dtype == "int8":
        with pytest.raises(IndexError):
            F.indexing_one_hot(scores, Tensor([0, -24, 0], dtype="int8")).numpy()


def test_arange():
    assert F.arange(120, 128, dtype="int8").tolist() == [*range(120, 128)]
    for arguments in ((1000, 1002), (120, 130), (-127, -130, -1)):
        with pytest.raises(OverflowError, match=r"arange: a number .* does not fit int8, which holds -128 to 127"):
            F.arange(*arguments, dtype="int8")


def test_two_python_numbers():
    assert F.add(2**31 - 2, 1).tolist() == 2**31 - 1
    with pytest.raises(OverflowError, match="add: 1099511627776 does not fit int32"):
        F.add(2**40, 1)


def test_a_probability_of_0_has_an_infinite_loss_with_smoothing_too():
    x, label = Tensor([[0.0, 1.0]]), Tensor([0])
    assert F.nn.cross_entropy(x, label, with_logits=False, label_smooth=0.25).item() == np.inf
