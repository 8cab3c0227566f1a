"""GradScaler and convert_format where the reference says nothing; its sequences are compared in tests/reference."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import jit
from tengen.amp import GradScaler, convert_module_format, convert_tensor_format
from tengen.autodiff import GradManager
from tengen.base.errors import StateDictError
from tengen.jit import TraceError
from tengen.optimizer import SGD


def with_grad(values, dtype: str = "float32") -> tengen.Parameter:
    made = tengen.Parameter(np.zeros(np.shape(values)), dtype=dtype)
    made.grad = tengen.tensor(values, dtype=dtype)
    return made


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_one_wrong_element_drops_all_gradients(dtype, bad):
    values = np.arange(2.0, 1002.0).reshape(2, 500)
    scaler = GradScaler(init_scale=2.0)
    good = [with_grad(values[:, ::5], dtype), with_grad(4.0, dtype)]
    scaler.unscale(good)
    assert [p.grad.dtype.name for p in good] == [dtype] * 2
    np.testing.assert_allclose(good[0].grad.numpy(), values[:, ::5] / 2, rtol=2.0**-8)
    assert good[1].grad.item() == 2.0
    values[1, 321] = bad
    wrong = [with_grad(values, dtype), with_grad(4.0, dtype)]
    scaler.unscale(wrong)
    assert [p.grad for p in wrong] == [None, None]


def test_what_is_too_large_once_unscaled_is_wrong_too():
    p = with_grad([3e38])
    GradScaler(init_scale=0.25).unscale([p])
    assert p.grad is None


def test_tensors_without_a_gradient_are_left_out():
    scaler, p, q = GradScaler(init_scale=4.0), with_grad([4.0]), tengen.Parameter([1.0])
    assert scaler.unscale(x for x in (p, q)) is scaler
    assert p.grad.item() == 1.0 and q.grad is None
    assert scaler.unscale([]) is scaler and scaler.unscale([q]) is scaler
    scaler.unscale(p)  # one is several
    assert p.grad.item() == 0.25


def test_a_gradient_that_two_tensors_share_is_scaled_once():
    p, q = with_grad([4.0]), tengen.Parameter([1.0])
    q.grad = p.grad
    GradScaler(init_scale=4.0).unscale([p, q, p])
    assert p.grad.item() == q.grad.item() == 1.0


def test_empty_and_transposed_gradients():
    p, q = with_grad(np.zeros((0, 3))), with_grad([[1.0, 2.0], [3.0, 4.0]])
    q.grad = q.grad.T
    GradScaler(init_scale=2.0).unscale([p, q])
    assert p.grad.shape == (0, 3) and q.grad.tolist() == [[0.5, 1.5], [1.0, 2.0]]


def test_unused_parameters_do_not_matter():
    w, u = tengen.Parameter([1.0, 2.0]), tengen.Parameter([3.0])
    gm, scaler = GradManager().attach([w, u]), GradScaler(init_scale=8.0)
    with gm:
        scaler.backward(gm, F.sum(w * w))
    assert w.grad.tolist() == [2.0, 4.0] and u.grad is None
    with gm:
        scaler.backward(gm)
    assert w.grad.tolist() == [2.0 / 8, 4.0 / 8]  # it is asked to unscale once more


def test_small_gradients_survive_in_float16():
    """Where it passes float16 the gradient is 2**-30, less than that holds; the parameter is float32."""
    w, small = tengen.Parameter([1.0]), 2.0**-30
    gm, scaler = GradManager().attach(w), GradScaler(init_scale=2.0**12)
    with gm:
        gm.backward((w.astype("float16") * small).astype("float32"))
    assert w.grad.item() == 0.0
    w.grad = None
    with gm:
        scaler.backward(gm, (w.astype("float16") * small).astype("float32"))
    assert w.grad.item() == small


def test_accumulated_gradients():
    w = tengen.Parameter([1.0, 2.0])
    gm, scaler = GradManager().attach(w), GradScaler(init_scale=8.0)
    for _ in range(3):
        with gm:
            scaler.backward(gm, F.sum(w * w), unscale_grad=False)
    scaler.unscale([w])
    assert w.grad.tolist() == [6.0, 12.0]


@pytest.mark.parametrize("options", [
    {"init_scale": 0}, {"init_scale": -1.0}, {"init_scale": float("inf")}, {"growth_factor": 0}, {"backoff_factor": float("nan")},
])  # fmt: skip
def test_factors_are_positive(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be positive and finite"):
        GradScaler(**options)
    with pytest.raises(ValueError, match="new_scale must be"):
        GradScaler().update(0)


def test_state():
    scaler = GradScaler(3.0, 4.0, 0.25, 5)
    scaler.update()
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert other.state_dict()["_growth_tracker"] == 1
    with pytest.raises(StateDictError, match="'growth_factor' and no 'backoff_factor'"):
        other.load_state_dict({"scale_factor": 1.0, "growth_interval": 1, "_growth_tracker": 0})
    assert other.state_dict() == scaler.state_dict()


def test_traced_with_the_host():
    w = tengen.Parameter([1.0, 2.0])
    gm, scaler, opt = GradManager().attach(w), GradScaler(init_scale=8.0, growth_interval=2), SGD([w], lr=0.5)

    @jit.trace(without_host=False)
    def step(x):
        with gm:
            loss = F.sum(w * x)
            scaler.backward(gm, loss)
        opt.step().clear_grad()
        return loss

    assert [step(tengen.tensor([1.0, 1.0])).item() for _ in range(3)] == [3.0, 2.0, 1.0]
    assert scaler.scale_factor == 16.0 and w.tolist() == [-0.5, 0.5]


def test_a_trace_without_host_refuses_it():
    w = with_grad([1.0])

    @jit.trace(without_host=True)
    def step():
        GradScaler().unscale([w])
        return w + 1

    with pytest.raises(TraceError, match="reads the value of a tensor"):
        step()


def test_convert_format_changes_nothing():
    x = tengen.tensor(np.arange(6.0).reshape(1, 2, 3, 1))
    assert convert_tensor_format(x) is x
    made = convert_tensor_format(x, inplace=False)
    assert made is not x and made.tolist() == x.tolist() and made.format == "default"
    net = M.Conv2d(2, 2, 1)
    assert convert_module_format(net) is net
    other = convert_module_format(net, inplace=False)
    assert other is not net and other.weight is not net.weight
    assert other(x).tolist() == net(x).tolist()
    for function in (convert_tensor_format, convert_module_format):
        with pytest.raises(TypeError, match="got int"):
            function(3)
