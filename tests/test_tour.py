"""docs/tour.py, tengen in miniature, runs, is short, and computes what NumPy and finite differences do."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parent.parent / "docs" / "tour.py"
TOUR = runpy.run_path(str(PATH))
Tape, Tensor, apply, record = (TOUR[name] for name in ("Tape", "Tensor", "apply", "record"))
add, mul, relu, total = TOUR["add"], TOUR["mul"], TOUR["relu"], TOUR["call"]("sum", "k")

RNG = np.random.default_rng(0)


def layer(x, w, b):
    return relu(add(total(mul(x, w)), b))


def numpy_layer(x, w, b):
    return np.maximum(x @ w.T + b, 0)


def arrays():
    return [RNG.standard_normal(shape) for shape in ((5, 3), (4, 3), (4,))]


def tensors(values):
    return [Tensor(value, dims) for value, dims in zip(values, ("nk", "mk", "m"), strict=True)]


def differences(values, which, step=1e-6):
    """The gradient of the sum of the layer by one of its arguments, by central differences in NumPy."""
    found = np.empty_like(values[which])
    for place in np.ndindex(found.shape):
        sums = []
        for sign in (1, -1):
            moved = [value.copy() for value in values]
            moved[which][place] += sign * step
            sums.append(numpy_layer(*moved).sum())
        found[place] = (sums[0] - sums[1]) / (2 * step)
    return found


def test_it_is_read_in_half_an_hour():
    assert PATH.read_text(encoding="utf-8").count("\n") <= 300


def test_it_runs(capsys):
    runpy.run_path(str(PATH), run_name="__main__")
    assert "backward program" in capsys.readouterr().out


@pytest.mark.parametrize("fused", [False, True])
def test_the_layer_and_its_gradients(fused):
    values = arrays()
    xs = tensors(values)
    tape = Tape(*xs)
    y = apply(record(layer, "nk", "mk", "m"), *xs)[0] if fused else layer(*xs)
    gradients = tape.backward(y, *xs)
    np.testing.assert_allclose(y.array, numpy_layer(*values), rtol=1e-12, atol=1e-12)
    assert len(tape.entries) == (1 if fused else 4)
    for which, gradient in enumerate(gradients):
        np.testing.assert_allclose(gradient.array, differences(values, which), rtol=1e-7, atol=1e-7)
        assert gradient.dims == xs[which].dims


def test_strides_and_values_that_meet_twice():
    turned = RNG.standard_normal((3, 5)).T
    x = Tensor(turned, "nk")
    tape = Tape(x)
    y = add(mul(x, x), mul(x, 3.0))
    (gradient,) = tape.backward(y, x)
    np.testing.assert_allclose(y.array, turned * turned + 3 * turned, rtol=1e-12)
    np.testing.assert_allclose(gradient.array, 2 * turned + 3, rtol=1e-12)


def test_a_gradient_is_differentiated_again():
    values = RNG.standard_normal(4)
    x = Tensor(values, "n")
    outer, inner = Tape(x), Tape(x)
    (cube,) = apply(record(lambda x: mul(mul(x, x), x), "n"), x)
    (once,) = inner.backward(cube, x)
    (twice,) = outer.backward(once, x)
    np.testing.assert_allclose(once.array, 3 * values**2, rtol=1e-12)
    np.testing.assert_allclose(twice.array, 6 * values, rtol=1e-12)


def test_the_pass_leaves_out_what_does_nothing():
    program = record(lambda x: add(mul(x, 1.0), 0.0), "n").parameter
    assert len(program.nodes) == 4
    after = TOUR["simplify"](program)
    assert after.outputs == after.inputs
