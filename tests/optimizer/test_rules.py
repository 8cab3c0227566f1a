"""What the optimizers compute: against their formulae in float64, and against recorded results of MegEngine 1.13."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.optimizer as optim
from tengen import Parameter, Tensor

FIRST = (np.array([1.0, -2.0, 0.5]), np.array([[0.3, -0.7]]))


def gradient(index, step):
    """Gradients of the two parameters at steps 1, 2, 3 …"""
    return np.array([0.1, -0.2, 0.3]) * step if index == 0 else np.array([[1.0, -0.5]]) / step


# -- the formulae ----------------------------------------------------------------------------------------------


def sgd(w, g, t, s, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * w
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * (g + momentum * s["v"] if nesterov else s["v"])


def moments(g, t, s, betas):
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return s["m"] / (1 - betas[0] ** t), s["v"] / (1 - betas[1] ** t)


def adam(w, g, t, s, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    m, v = moments(g + weight_decay * w, t, s, betas)
    return w - lr * m / (np.sqrt(v) + eps)


def adamw(w, g, t, s, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    m, v = moments(g, t, s, betas)
    return w - lr * (m / (np.sqrt(v) + eps) + weight_decay * w)


def adagrad(w, g, t, s, lr=1e-2, lr_decay=0.0, eps=1e-10, weight_decay=0.0):
    g = g + weight_decay * w
    s["s"] = s.get("s", 0) + g**2
    return w - lr / (1 + (t - 1) * lr_decay) * g / np.sqrt(s["s"] + eps)


def adadelta(w, g, t, s, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * w
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g**2
    delta = np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["s"] + eps) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * delta**2
    return w - lr * delta


def lamb(w, g, t, s, lr, betas=(0.9, 0.999), eps=1e-8, bias_correction=True, weight_decay=0.0, always_adapt=False):
    m, v = moments(g, t, s, betas)
    if not bias_correction:
        m, v = s["m"], s["v"]
    step = m / (np.sqrt(v) + eps) + weight_decay * w
    if always_adapt or weight_decay:
        norms = np.linalg.norm(w.ravel()), np.linalg.norm(step.ravel())
        step = step * (norms[0] / norms[1] if min(norms) > 0 else 1)
    return w - lr * step


CASES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.Adam, adam, {"lr": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}),
    (optim.AdamW, adamw, {"lr": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.Adagrad, adagrad, {}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
    (optim.Adadelta, adadelta, {}),
    (optim.Adadelta, adadelta, {"lr": 0.5, "weight_decay": 0.1}),
    (optim.LAMB, lamb, {"lr": 0.1}),
    (optim.LAMB, lamb, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.LAMB, lamb, {"lr": 0.1, "always_adapt": True, "bias_correction": False}),
    (optim.LAMBFp16, lamb, {"lr": 0.1, "weight_decay": 0.1}),
]


def run(cls, options, steps):
    parameters = [Parameter(value.astype(np.float32)) for value in FIRST]
    optimizer = cls(parameters, **options)
    for step in range(1, steps + 1):
        for index, parameter in enumerate(parameters):
            parameter.grad = Tensor(gradient(index, step).astype(np.float32))
        assert optimizer.step() is optimizer
    return [parameter.numpy() for parameter in parameters]


@pytest.mark.parametrize(("cls", "formula", "options"), CASES)
def test_against_the_formula(cls, formula, options):
    results = run(cls, options, 5)
    for index, value in enumerate(FIRST):
        state = {}
        for step in range(1, 6):
            value = formula(value, gradient(index, step), step, state, **options)
        np.testing.assert_allclose(results[index], value, rtol=2e-6, atol=1e-6)


# After three steps of MegEngine 1.13 from FIRST; its 1 - β has a relative error of 1e-5, from float32.
RECORDED = [
    (optim.SGD, {"lr": 0.1}, [0.94, -1.88, 0.32, 0.1166667, -0.6083333]),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}, [0.9049, -1.8098, 0.2147, -0.0993333, -0.5003333]),
    (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        [0.84655, -1.6931, 0.0597378, -0.2439342, -0.4236135],
    ),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.1}, [0.910698, -1.821396, 0.3063465, 0.1102464, -0.5887876]),
    (optim.Adam, {"lr": 0.1, "weight_decay": 0.1}, [0.7016783, -1.7019337, 0.2058282, 0.0192208, -0.4160728]),
    (
        optim.Adam,
        {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3},
        [0.7086162, -1.7076093, 0.2072719, 0.0209717, -0.4213226],
    ),
    (optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}, [0.6809359, -1.651235, 0.1957864, 0.0134781, -0.4015977]),
    (
        optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3},
        [0.7654902, -1.7635605, 0.2551177, 0.1349579, -0.5297843],
    ),
    (optim.Adadelta, {"lr": 0.5, "weight_decay": 0.1}, [0.9943237, -1.9943229, 0.4940424, 0.2965632, -0.6963740]),
]


@pytest.mark.parametrize(("cls", "options", "want"), RECORDED)
def test_against_megengine(cls, options, want):
    got = np.concatenate([value.ravel() for value in run(cls, options, 3)])
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_lamb_with_a_zero_parameter_takes_a_plain_step():
    parameter = Parameter(np.zeros(2, np.float32))
    optimizer = optim.LAMB([parameter], lr=0.1, always_adapt=True)
    parameter.grad = Tensor([1.0, -1.0])
    optimizer.step()
    np.testing.assert_allclose(parameter.numpy(), [-0.1, 0.1], rtol=1e-5)


def test_lamb_fp16_adds_up_steps_that_float16_would_lose():
    """At 1.0 the float16 numbers are 2⁻¹¹ apart or more: steps of 1e-4 vanish unless a float32 copy holds them."""
    parameter = Parameter(np.ones(4, np.float16))
    optimizer = optim.LAMBFp16([parameter], lr=1e-4)
    for _ in range(100):
        parameter.grad = Tensor(np.ones(4, np.float16))
        optimizer.step()
    assert parameter.dtype == np.float16
    np.testing.assert_allclose(parameter.numpy().astype(float), 0.99, atol=1e-3)
    assert optimizer.state_dict()["state"][0]["param_fp32"].dtype == np.float32


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.Adadelta])
def test_parameters_of_other_dtypes_keep_them(cls):
    parameter = Parameter(np.ones((2, 2), np.float16))
    optimizer = cls([parameter], lr=0.125)
    parameter.grad = Tensor(np.ones((2, 2), np.float16))
    optimizer.step()
    assert parameter.dtype == np.float16
    assert (parameter.numpy() < 1).all()


def test_a_new_learning_rate_needs_no_new_plan():
    import tengen._rt as rt

    parameter = Parameter(np.ones(3, np.float32))
    optimizer = optim.Adam([parameter], lr=0.1)
    for _ in range(2):
        parameter.grad = Tensor(np.ones(3, np.float32))
        optimizer.step()
    before = rt.plan_cache_info()["misses"]
    for lr in (0.2, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = Tensor(np.ones(3, np.float32))
        optimizer.step()
    assert rt.plan_cache_info()["misses"] == before


def test_a_value_read_before_a_step_does_not_change():
    """A step works in place only where nobody else holds the value."""
    parameter = Parameter(np.ones(3, np.float32))
    before, twin = parameter.numpy(), parameter.detach()
    optimizer = optim.SGD([parameter], lr=1.0)
    parameter.grad = Tensor(np.ones(3, np.float32))
    optimizer.step()
    assert (before == 1).all()
    assert (twin.numpy() == 1).all()
    assert (parameter.numpy() == 0).all()
