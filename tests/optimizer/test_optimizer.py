"""Optimizer: groups, state, subclasses, errors."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen import Parameter, Tensor, UsageWarning
from tengen.autodiff import GradManager
from tengen.base.errors import StateDictError
from tengen.jit import trace


def make(*shapes):
    return [Parameter(np.full(shape, i + 1, np.float32)) for i, shape in enumerate(shapes)]


def give_gradients(parameters, value=1.0):
    for parameter in parameters:
        parameter.grad = Tensor(np.full(parameter.shape, value, np.float32))


# -- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [lambda p: p, lambda p: [p], lambda p: (p,), lambda p: iter([p]), lambda p: {"params": p}]
)
def test_ways_to_give_parameters(given):
    (parameter,) = make((3,))
    optimizer = optim.SGD(given(parameter), lr=0.1)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["params"][0] is parameter


def test_groups_with_settings_of_their_own():
    a, b = make((2,), (2,))
    optimizer = optim.SGD([{"params": a, "lr": 1.0}, {"params": [b]}], lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]
    give_gradients([a, b])
    optimizer.step()
    assert a.numpy().tolist() == [0, 0]
    assert b.numpy().tolist() == [1.5, 1.5]


def test_adding_a_group():
    a, b = make((2,), (2,))
    optimizer = optim.SGD([a], lr=0.5)
    optimizer.add_param_group({"params": [b], "lr": 2.0})
    give_gradients([a, b])
    optimizer.step()
    assert b.numpy().tolist() == [0, 0]


@pytest.mark.parametrize("cls", [optim.Adam, optim.Adagrad, optim.Adadelta, optim.LAMB])
def test_a_group_that_comes_later_counts_its_own_steps(cls):
    """After 3 and 1 steps, a parameter is where it is after as many steps alone."""
    a, b, c = make((2,), (2,), (2,))
    c._reset(b)
    optimizer, alone = cls([a], lr=0.1), cls([c], lr=0.1)
    for _ in range(2):
        give_gradients([a])
        optimizer.step()
    optimizer.add_param_group({"params": [b]})
    give_gradients([a, b, c])
    optimizer.step()
    alone.step()
    np.testing.assert_array_equal(b.numpy(), c.numpy())


def test_parameters_without_a_gradient_stay():
    a, b = make((2,), (2,))
    optimizer = optim.Adam([a, b], lr=0.1)
    give_gradients([a])
    optimizer.step()
    assert b.numpy().tolist() == [2, 2]
    assert [int(optimizer.state_dict()["state"][i]["step"]) for i in (0, 1)] == [1, 0]


@pytest.mark.parametrize(
    ("make_it", "error", "message"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "SGD got no parameters"),
        (lambda p: optim.SGD([p, 3], lr=0.1), TypeError, "updates Parameters, got int"),
        (lambda p: optim.SGD([Tensor([1.0])], lr=0.1), TypeError, "updates Parameters, got Tensor"),
        (lambda p: optim.SGD([p, p], lr=0.1), ValueError, "given twice"),
        (lambda p: optim.SGD([{"params": p}, {"params": p}], lr=0.1), ValueError, "given twice"),
        (lambda p: optim.SGD([{"parms": p}], lr=0.1), KeyError, "needs 'params', got 'parms'"),
        (
            lambda p: optim.SGD([p], lr=0.1).add_param_group([p]),
            TypeError,
            "a parameter group must be a dict, got list",
        ),
        (lambda p: optim.SGD([p], lr=-0.1), ValueError, "SGD: lr must be at least 0, got -0.1"),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "lr"),
        (lambda p: optim.SGD([p], lr=0.1, momentum=-1), ValueError, "momentum"),
        (lambda p: optim.SGD([p], lr=0.1, nesterov=True), ValueError, "nesterov=True needs a momentum"),
        (lambda p: optim.Adam([p], lr=0.1, weight_decay=-1), ValueError, "Adam: weight_decay"),
        (lambda p: optim.AdamW([p], lr=0.1, betas=(0.9, 1.0)), ValueError, r"AdamW: betas are two numbers in \[0, 1\)"),
        (lambda p: optim.Adam([p], lr=0.1, betas=0.9), ValueError, "betas"),
        (lambda p: optim.Adadelta([p], rho=1.5), ValueError, "rho"),
        (lambda p: optim.Adagrad([p], eps=-1), ValueError, "eps"),
        (lambda p: optim.LAMB([p], lr=-1), ValueError, "LAMB: lr"),
        (lambda p: optim.Optimizer([p], {}), TypeError, "is a base class: derive a class from it"),
        (lambda p: optim.SGD([p], lr=0.1).backward(p), NotImplementedError, "GradManager"),
        (lambda p: optim.SGD([p], lr=0.1).bcast_param(), NotImplementedError, "bcast_list_"),
    ],
)
def test_wrong_arguments(make_it, error, message):
    with pytest.raises(error, match=message):
        make_it(Parameter([1.0]))


# -- gradients -------------------------------------------------------------------------------------------------


def test_clear_grad_and_zero_grad():
    a, b = make((2,), (2,))
    optimizer = optim.SGD([a, b], lr=0.1)
    give_gradients([a])
    optimizer.zero_grad()
    assert a.grad.numpy().tolist() == [0, 0]
    assert b.grad is None
    assert optimizer.clear_grad() is None
    assert a.grad is None


def test_a_step_may_be_inside_the_recording():
    w = Parameter([3.0])
    optimizer, gm = optim.SGD([w], lr=0.1, momentum=0.5), GradManager().attach([w])
    for _ in range(2):
        with gm:
            gm.backward((w * w).sum())
            optimizer.step().clear_grad()
    # 3 - 0.1·6 = 2.4; v = 0.5·6 + 4.8 = 7.8; 2.4 - 0.78.
    np.testing.assert_allclose(w.numpy(), [1.62], rtol=1e-6)


def test_training_reaches_the_solution():
    tengen.random.seed(0)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 0.25
    for make_it in (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.Adam(p, lr=0.1),
        lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.0),
        lambda p: optim.Adagrad(p, lr=0.5),
        lambda p: optim.LAMB(p, lr=0.05, always_adapt=False),
    ):
        net = M.Linear(3, 1)
        optimizer, gm = make_it(net.parameters()), GradManager().attach(list(net.parameters()))
        for _ in range(150):
            with gm:
                loss = F.mean((net(Tensor(x)) - Tensor(y)) ** 2)
                gm.backward(loss)
            optimizer.step().clear_grad()
        assert loss.item() < 1e-2, optimizer


# -- subclasses ------------------------------------------------------------------------------------------------


class Counting(optim.Optimizer):
    """As a MegEngine program writes its own."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    def _create_state(self, param_group):
        for param in param_group["params"]:
            self._add_state(param, "sum")
            self._add_state(param, "steps", initializer=2.0)

    def _updates(self, param_group):
        for param in param_group["params"]:
            if param.grad is None:
                continue
            state = self._state[param]
            state["sum"] += param.grad
            state["steps"] += 1
            param -= param_group["lr"] * state["sum"]


def test_an_optimizer_of_one_s_own():
    a, b = make((2,), (1, 2))
    optimizer = Counting([a, b], lr=0.5)
    for _ in range(2):
        give_gradients([a, b])
        optimizer.step()
    assert a.numpy().tolist() == [-0.5, -0.5]
    state = optimizer.state_dict()
    assert state["param_groups"] == [{"lr": 0.5, "params": [0, 1]}]
    assert state["state"][1]["sum"].tolist() == [[2, 2]]
    assert state["state"][1]["steps"] == 4
    other = Counting(make((2,), (1, 2)), lr=0.1)
    other.load_state_dict(state)
    assert other.state_dict()["state"][0]["steps"] == 4


# -- steps without a backward ----------------------------------------------------------------------------------


@pytest.mark.parametrize("traced", [None, False, True])
def test_a_step_after_no_backward_warns(traced):
    a, b = make((2,), (2,))
    gm, optimizer = GradManager().attach([a, b]), optim.SGD([a, b], lr=0.5, momentum=0.9)

    def forgetful(x):
        with gm:
            loss = (a * x).sum()
            optimizer.step()
        return loss

    step = forgetful if traced is None else trace(forgetful, without_host=traced)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            step(Tensor([1.0, 2.0]))
    assert [w.category for w in shown] == [UsageWarning], "once"
    assert shown[0].filename == __file__
    assert shown[0].lineno == forgetful.__code__.co_firstlineno + 3
    assert "SGD.step: no parameter has a gradient" in str(shown[0].message)
    assert a.numpy().tolist() == [1, 1]


def test_a_step_with_the_gradients_of_the_last_one_warns():
    a, b = make((2,), (2,))
    optimizer = optim.Adam([a, b], lr=0.5)
    give_gradients([a])
    optimizer.step()
    for again in (lambda: None, optimizer.zero_grad):
        again()
        with pytest.warns(UsageWarning, match="since the last step, so the same ones are used again") as shown:
            optimizer.step()
        assert shown[0].filename == __file__
    optimizer.clear_grad()
    with pytest.warns(UsageWarning, match="no parameter has a gradient"):
        optimizer.step()


def train(a, b, gm, optimizers, x, accumulate=1, each=True):
    for i in range(accumulate):
        with gm:
            gm.backward((a * x).sum() + (b * x).sum() if each or i else (b * x).sum())
    for optimizer in optimizers:
        optimizer.step()


@pytest.mark.parametrize("clear", ["clear_grad", "zero_grad", None])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("traced", [None, False, True])
def test_steps_with_new_gradients_do_not_warn(clear, accumulate, traced):
    """Gradients that accumulate, a parameter that gets none, two optimizers of the same parameters, one that is copied."""
    a, b, idle = make((2,), (2,), (2,))
    gm, optimizers = GradManager().attach([a, b]), [optim.SGD([idle, a, b], lr=0.1), optim.Adam([a, b], lr=0.1)]
    if clear != "clear_grad":  # so that each call adds to gradients
        give_gradients([a, b])

    def step(x):
        train(a, b, gm, optimizers, x, accumulate)
        if clear:
            getattr(optimizers[0], clear)()

    step = step if traced is None else trace(step, without_host=traced)
    for i in range(4):
        step(Tensor([1.0, 2.0 + i]))
    assert (a.numpy() < 2).all()
    if clear != "clear_grad":  # forward and backward that are traced, with steps outside
        backward = trace(lambda x: train(a, b, gm, [], x), without_host=bool(traced))
        for _ in range(4):
            backward(Tensor([1.0, 2.0]))
            optimizers[0].step()


def test_only_some_gradients_that_are_new_do_not_warn():
    a, b = make((2,), (2,))
    optimizer = optim.SGD([a, b], lr=0.5)
    for new in (a, b, a, b):
        give_gradients([new])
        optimizer.step()
    a.grad = a.grad  # set again: it is meant
    optimizer.step()
    optim.SGD([{"params": []}], lr=0.1).step()
    assert copy.deepcopy(optimizer).state_dict() == optimizer.state_dict()
    assert pickle.loads(pickle.dumps(optimizer)).state_dict() == optimizer.state_dict()


# -- state -----------------------------------------------------------------------------------------------------

ALL = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: optim.Adam(p, lr=0.1),
    lambda p: optim.AdamW(p, lr=0.1),
    lambda p: optim.Adagrad(p, lr=0.1),
    lambda p: optim.Adadelta(p),
    lambda p: optim.LAMB(p, lr=0.1, weight_decay=0.1),
]


@pytest.mark.parametrize("make_it", ALL)
@pytest.mark.parametrize("keep_var", [False, True])
def test_training_goes_on_from_a_loaded_state(make_it, keep_var):
    one = make((3,), (2, 2))
    optimizer = make_it(one)
    for step in range(3):
        give_gradients(one, step + 0.5)
        optimizer.step()
    two = [Parameter(parameter.numpy()) for parameter in one]
    resumed = make_it(two)
    resumed.load_state_dict(optimizer.state_dict(keep_var=keep_var))
    for step in range(2):
        for parameters, o in ((one, optimizer), (two, resumed)):
            give_gradients(parameters, 1.0 - step)
            o.step()
    for a, b in zip(one, two, strict=False):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_form_of_a_state_is_megengine_s():
    a, b = make((3,), (1, 2))
    optimizer = optim.Adam([{"params": [a], "lr": 1.0}, {"params": [b]}], lr=0.1)
    state = optimizer.state_dict()
    settings = {"weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-8}
    assert state["param_groups"] == [{"lr": 1.0, **settings, "params": [0]}, {"lr": 0.1, **settings, "params": [1]}]
    assert {name: value.shape for name, value in state["state"][1].items()} == {
        "exp_avg": (1, 2),
        "exp_avg_sq": (1, 2),
        "step": (),
    }
    assert all(isinstance(value, np.ndarray) for value in state["state"][0].values())
    assert optim.SGD([Parameter([1.0])], lr=0.1).state_dict()["state"] == {}


def test_a_state_takes_over_settings():
    (a,) = make((3,))
    optimizer = optim.SGD([a], lr=0.1)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 7.0
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 7.0
    assert optimizer.param_groups[0]["params"][0] is a


def test_a_state_that_does_not_fit_changes_nothing_and_says_all():
    optimizer = optim.Adam(make((3,), (2, 2)), lr=0.1)
    state = optim.Adam(make((3,), (2, 2)), lr=0.5).state_dict()
    state["state"][0]["exp_avg"] = np.zeros(4, np.float32)
    state["state"][1] = {"momentum_buffer": np.zeros((2, 2), np.float32)}
    with pytest.raises(StateDictError) as caught:
        optimizer.load_state_dict(state)
    message = str(caught.value)
    assert "parameter 0, exp_avg: shape (4,) where the optimizer has (3,)" in message
    assert (
        "parameter 1: state ['momentum_buffer'] where the optimizer keeps ['exp_avg', 'exp_avg_sq', 'step']" in message
    )
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "it has no 'param_groups' and no 'state'"),
        ([], "not a state dict of an optimizer"),
        ({"param_groups": [], "state": {}}, r"groups of \[\] parameters where the optimizer has \[2\]"),
        ({"param_groups": [{"params": [0]}], "state": {}}, r"groups of \[1\] parameters"),
    ],
)
def test_what_is_no_state(state, message):
    with pytest.raises(StateDictError, match=message):
        optim.SGD(make((1,), (1,)), lr=0.1).load_state_dict(state)


# -- clipping --------------------------------------------------------------------------------------------------


def with_gradients(*values):
    parameters = [Parameter(np.zeros_like(np.float32(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=False):
        parameter.grad = Tensor(np.float32(value))
    return parameters


@pytest.mark.parametrize("ord", [1, 2, 3, float("inf")])
def test_clip_grad_norm(ord):
    values = [[3.0, -4.0, 0.0], [[1.0, 2.0]]]
    flat = np.concatenate([np.ravel(value) for value in values])
    norm = np.linalg.norm(flat, ord)
    parameters = with_gradients(*values)
    before = optim.clip_grad_norm(parameters, 1.0, ord=ord)
    assert isinstance(before, Tensor)
    assert before.shape == ()
    assert before.item() == pytest.approx(norm, rel=1e-6)
    for parameter, value in zip(parameters, values, strict=False):
        np.testing.assert_allclose(parameter.grad.numpy(), np.float32(value) / norm, rtol=1e-5)


def test_clip_grad_norm_leaves_small_gradients_alone():
    (parameter,) = with_gradients([0.3, 0.4])
    assert optim.clip_grad_norm(parameter, 1.0).item() == pytest.approx(0.5)
    assert parameter.grad.numpy().tolist() == np.float32([0.3, 0.4]).tolist()


def test_clip_grad_value():
    parameters = with_gradients([3.0, -4.0, 0.25], [[1.0, 0.0]])
    assert optim.clip_grad_value(parameters, -0.5, 0.5) is None
    assert parameters[0].grad.numpy().tolist() == [0.5, -0.5, 0.25]
    assert parameters[1].grad.numpy().tolist() == [[0.5, 0.0]]


def test_clipping_without_gradients():
    (parameter,) = make((2,))
    assert optim.clip_grad_norm([parameter], 1.0).item() == 0
    assert optim.clip_grad_norm([], 1.0).item() == 0
    optim.clip_grad_value([parameter], -1, 1)
    assert parameter.grad is None


# -- schedules -------------------------------------------------------------------------------------------------


def test_multi_step_lr():
    a, b = make((1,), (1,))
    optimizer = optim.SGD([{"params": a, "lr": 1.0}, {"params": b}], lr=0.1)
    schedule = optim.MultiStepLR(optimizer, [2, 4], gamma=0.1)
    seen = []
    for _ in range(6):
        seen.append([group["lr"] for group in optimizer.param_groups])
        schedule.step()
    factors = [1, 1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(seen, [[factor, 0.1 * factor] for factor in factors])
    schedule.step(1)
    assert schedule.current_epoch == 1
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert schedule.state_dict() == {"milestones": [2, 4], "gamma": 0.1, "current_epoch": 1}


def test_a_schedule_of_one_s_own_and_taking_training_up_again():
    class Half(optim.LRScheduler):
        def get_lr(self):
            return [lr * 0.5**self.current_epoch for lr in self.base_lrs]

    optimizer = optim.SGD(make((1,)), lr=1.0)
    schedule = Half(optimizer)
    schedule.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.25

    again = optim.SGD(make((1,)), lr=1.0)
    with pytest.raises(KeyError, match="needs 'initial_lr'"):
        Half(again, current_epoch=2)
    again.load_state_dict(optimizer.state_dict())
    resumed = Half(again, current_epoch=1)
    assert resumed.current_epoch == 2
    assert again.param_groups[0]["lr"] == 0.25
    resumed.load_state_dict({"current_epoch": 5})
    resumed.step()
    assert again.param_groups[0]["lr"] == 0.5**6


@pytest.mark.parametrize(
    ("make_it", "error", "message"),
    [
        (lambda o: optim.MultiStepLR(o, [4, 2]), ValueError, "integers in order, got"),
        (lambda o: optim.MultiStepLR(o, [2, 2.5]), ValueError, "integers in order"),
        (lambda o: optim.MultiStepLR(3, [2]), TypeError, "takes an Optimizer, got int"),
        (lambda o: optim.LRScheduler(o), TypeError, "is a base class: derive a class from it"),
        (
            lambda o: optim.MultiStepLR(o, [2]).load_state_dict({"gamma": 1}),
            KeyError,
            "missing milestones, current_epoch",
        ),
    ],
)
def test_wrong_schedules(make_it, error, message):
    with pytest.raises(error, match=message):
        make_it(optim.SGD(make((1,)), lr=0.1))


def test_a_module_is_no_list_of_parameters():
    with pytest.raises(TypeError, match=r"SGD takes parameters, got a Linear; give its parameters\(\)"):
        optim.SGD(M.Linear(2, 3), lr=0.1)
