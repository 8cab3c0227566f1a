"""Initial values: distributions, fans, gains."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tengen
from tengen import Parameter, Tensor
from tengen.module import init

SHAPE = (200, 300)


def draw(function, *args, **kwargs):
    tengen.random.seed(3)
    tensor = Parameter(np.full(SHAPE, 7, np.float32))
    assert function(tensor, *args, **kwargs) is None
    assert isinstance(tensor, Parameter)
    assert tensor.shape == SHAPE
    assert tensor.dtype == np.float32
    return tensor.numpy()


@pytest.mark.parametrize(
    ("function", "args", "value"), [(init.fill_, (3,), 3), (init.ones_, (), 1), (init.zeros_, (), 0)]
)
def test_constants(function, args, value):
    assert (draw(function, *args) == value).all()


@pytest.mark.parametrize(
    ("function", "kwargs", "bound"),
    [
        (init.xavier_uniform_, {"gain": 2.0}, 2 * math.sqrt(6 / 500)),
        (init.msra_uniform_, {}, math.sqrt(3) * math.sqrt(2 / 300)),
        (init.msra_uniform_, {"a": 1, "mode": "fan_out"}, math.sqrt(3 / 200)),
    ],
)
def test_uniform(function, kwargs, bound):
    array = draw(function, **kwargs)
    assert 0.999 * bound < np.abs(array).max() <= bound * (1 + 1e-6)
    assert abs(array.std() - bound / math.sqrt(3)) < 0.01 * bound


def test_uniform_between():
    array = draw(init.uniform_, 2, 3)
    assert 2 <= array.min() < 2.001
    assert 2.999 < array.max() <= 3


@pytest.mark.parametrize(
    ("function", "kwargs", "mean", "std"),
    [
        (init.normal_, {"mean": 1, "std": 2}, 1, 2),
        (init.xavier_normal_, {}, 0, math.sqrt(2 / 500)),
        (init.msra_normal_, {}, 0, math.sqrt(2 / 300)),
        (init.msra_normal_, {"nonlinearity": "tanh"}, 0, 5 / 3 / math.sqrt(300)),
        (init.msra_normal_, {"a": 0.2, "mode": "fan_out"}, 0, math.sqrt(2 / 1.04 / 200)),
    ],
)
def test_normal(function, kwargs, mean, std):
    array = draw(function, **kwargs)
    assert abs(array.mean() - mean) < 5 * std / math.sqrt(array.size)
    assert abs(array.std() - std) < 5 * std / math.sqrt(2 * array.size)
    assert np.abs(array - mean).max() > 3.5 * std


def test_dtype_and_device_stay():
    tensor = Tensor(np.zeros((3, 4), np.float32), dtype="float16", device="cpu1")
    init.normal_(tensor)
    assert tensor.dtype == np.float16
    assert str(tensor.device) == "cpu1:0"
    init.ones_(tensor)
    assert tensor.dtype == np.float16
    assert str(tensor.device) == "cpu1:0"


@pytest.mark.parametrize(
    ("shape", "fans"), [((50, 100), (100, 50)), ((32, 16, 3, 3), (144, 288)), ((4, 8, 4, 3, 3), (36, 72))]
)
def test_fans(shape, fans):
    tensor = Tensor(np.zeros(shape, np.float32))
    assert init.calculate_fan_in_and_fan_out(tensor) == fans
    assert init.calculate_correct_fan(tensor, "fan_in") == fans[0]
    assert init.calculate_correct_fan(tensor, "fan_out") == fans[1]


def test_fans_of_what_has_none():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        init.calculate_fan_in_and_fan_out(Tensor([1.0]))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan'"):
        init.calculate_correct_fan(Tensor([[1.0]]), "fan")


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [
        ("linear", None, 1),
        ("conv2d", None, 1),
        ("conv_transpose2d", None, 1),
        ("sigmoid", None, 1),
        ("tanh", None, 5 / 3),
        ("relu", None, 2**0.5),
        ("leaky_relu", None, 1.4141428569978354),
        ("leaky_relu", 0.2, 1.3867504905630728),
    ],
)
def test_gains(name, param, gain):
    """Values of MegEngine 1.13."""
    assert init.calculate_gain(name, param) == pytest.approx(gain, rel=1e-12)


def test_gains_that_are_not_known():
    with pytest.raises(ValueError, match="no gain is known for 'selu'"):
        init.calculate_gain("selu")
    for slope in ("x", True):
        with pytest.raises(ValueError, match="slope of leaky_relu must be a number"):
            init.calculate_gain("leaky_relu", slope)
