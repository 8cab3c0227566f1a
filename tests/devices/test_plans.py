"""Plans on a GPU whose kernels are PTX written by hand: launches, numbers, status words, host steps, donations, waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from device_plans import ADD, FAIL, Failed, Op, added, guarded, launch, like, on, plans_of_ops

import tengen
from tengen import _rt, device
from tengen.base.device import canonical

__all__ = ["plans_of_ops"]  # a fixture

PLUS = Op("plus", added)


@pytest.mark.parametrize("place", ["gpu0", "gpu1", "gpux"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000])
def test_a_launch(place, size):
    x = on(place, np.arange(size))
    y = _rt.apply(PLUS, x, 2.5)
    assert str(y.device) == canonical(place)
    np.testing.assert_array_equal(y.numpy(), np.arange(size, dtype=np.float32) + np.float32(2.5))


def test_launches_follow_one_another(double):
    x = on("gpu0", np.zeros(100))
    waits = double.count("waits")
    for i in range(20):
        x = _rt.apply(PLUS, x, float(i))
    assert double.count("waits") == waits
    assert x.numpy().tolist() == [190.0] * 100


def test_a_number_that_is_a_tensor():
    number = _rt.apply(Op("same", lambda descs: _rt.Plan(1, (), [], [(0, 0, descs[0])])), 2.0)
    assert number.desc.dtype == "weak_float"
    assert _rt.apply(PLUS, on("gpu0", [1, 2]), number).tolist() == [3, 4]


def test_a_number_that_lies_on_the_device():
    def sent(descs):
        weak = _rt.Descriptor("weak_float", (), None, "gpu0")
        return _rt.Plan(1, (8,), [_rt.Transfer((0, 0, weak), (1, 0, weak))], [(1, 0, weak)])

    number = _rt.apply(Op("sent", sent), 2.0)
    assert number.item() == 2.0
    assert _rt.apply(PLUS, on("gpu0", [1, 2]), number).tolist() == [3, 4]


def test_the_memory_of_an_input_that_is_given_away():
    in_place = Op("in place", lambda descs: added(descs, donations=((2, 0),)))
    x = on("gpu0", [1, 2])
    place = x._data_ptr()
    _rt.update(in_place, 1, x, 1.0)
    assert (x.tolist(), x._data_ptr()) == ([2, 3], place)
    other = x.detach()
    _rt.update(in_place, 1, x, 1.0)
    assert (x.tolist(), other.tolist()) == ([3, 4], [2, 3])
    assert x._data_ptr() != place


def failing(status=7, before=(), after=(), commit=-1, donations=()):
    def error(word, inputs):
        raise Failed(word, [x.tolist() for x in inputs])

    def plan(descs):
        x = descs[0]
        steps = [*before, launch(FAIL, ((2, 0),), (status,)), *after]
        return _rt.Plan(1, (4 * x.size,), steps, [like(x, 1)], donations, error=error, commit=commit, device=x.device)

    return Op("failing", plan)


def test_a_failure_is_raised_at_the_next_wait():
    x = on("gpu0", [1, 2])
    y = _rt.apply(failing(), x)
    z = _rt.apply(PLUS, x, 1.0)
    with pytest.raises(Failed) as caught:
        z.numpy()
    assert caught.value.args == (7, [[1, 2]])
    assert z.tolist() == [2, 3]  # it is raised once
    y.numpy()
    _rt.apply(failing(3), x)
    with pytest.raises(Failed):
        device.synchronize("gpu0")
    device.synchronize("gpu0")


def test_a_failure_is_raised_at_once_if_that_is_asked_for():
    x = on("gpu0", [1, 2])
    with tengen.base.config.override(sync=True):
        with pytest.raises(Failed):
            _rt.apply(failing(), x)
        assert _rt.apply(PLUS, x, 1.0).tolist() == [2, 3]


def test_the_first_of_several_failures_is_raised():
    x = on("gpu0", [1])
    for status in (0, 4, 5):
        _rt.apply(failing(status), x)
    with pytest.raises(Failed, match=r"\(4, "):
        x.numpy()
    assert x.tolist() == [1]


def test_no_failures_of_many(double):
    x = on("gpu0", [1])
    for _ in range(600):
        _rt.apply(failing(0), x)
    assert x.tolist() == [1]


def test_a_failure_of_another_thread_is_not_raised_here():
    x = on("gpu0", [1])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_rt.apply, failing(), x).result()
        assert x.tolist() == [1]
        with pytest.raises(Failed):
            pool.submit(x.numpy).result()


@pytest.mark.parametrize("status", [0, 5])
def test_what_was_given_away_is_not_overwritten_after_a_failure(double, status):
    def error(word, inputs):
        raise Failed(word)

    def plan(descs):
        x = descs[0]
        steps = [launch(FAIL, ((3, 0),), (status,)), guarded(1, 2, 3, x.size)]
        out = [like(x, 2)]
        return _rt.Plan(2, (4 * x.size,), steps, out, ((2, 0),), error=error, commit=1, device=x.device)

    x = on("gpu0", [1, 2])
    before, waits = x.detach().numpy(), double.count("waits")
    place = x._data_ptr()
    _rt.update(Op("given", plan), 1, x, 1.0)
    assert double.count("waits") == waits
    assert x._data_ptr() == place
    if status:
        with pytest.raises(Failed):
            x.numpy()
    np.testing.assert_array_equal(x.numpy(), before if status else before + 1)


def test_no_host_step_is_called_after_a_failure():
    called = []
    host = _rt.Host(lambda *_: called.append(1), [], [])
    with pytest.raises(Failed):
        _rt.apply(failing(after=[host]), on("gpu0", [1]))
    assert not called
    _rt.apply(failing(0, after=[host]), on("gpu0", [1]))
    assert called


def test_a_host_step():
    seen = []

    def double_it(given, made):
        seen.append(given[0].copy())
        assert not given[0].flags.writeable
        made[0][...] = 2 * given[0]

    def plan(descs):
        x = descs[0]
        first = launch(ADD, ((0, 0), (1, 0), (2, 0)), (x.size,), 1, 64)
        last = launch(ADD, ((3, 0), (1, 0), (4, 0)), (x.size,), 1, 64)
        host = _rt.Host(double_it, [like(x, 2)], [like(x, 3)])
        return _rt.Plan(2, (4 * x.size,) * 3, [first, host, last], [like(x, 4)], device=x.device)

    x = on("gpu0", [1, 2, 3])
    assert _rt.apply(Op("host", plan), x, 10.0).tolist() == [32, 34, 36]
    assert seen[0].tolist() == [11, 12, 13]


def test_the_error_of_a_host_step_is_raised():
    def plan(descs):
        x = descs[0]
        return _rt.Plan(
            1, (4 * x.size,), [_rt.Host(lambda *_: 1 / 0, [like(x, 0)], [like(x, 1)])], [like(x, 1)], device=x.device
        )

    with pytest.raises(ZeroDivisionError):
        _rt.apply(Op("host", plan), on("gpu0", [1]))


def test_the_seconds_of_steps():
    seconds = _rt.profile(PLUS, on("gpu0", np.zeros(1000)), 1.0)
    assert len(seconds) == 1
    assert seconds[0] > 0


def test_what_does_not_fit_the_device():
    x, kernel = _rt.Descriptor("float32", (2,), None, "gpu0"), _rt.load_kernel("gpu0", ADD)
    with pytest.raises(ValueError, match="a Launch on gpu0"):
        _rt.Plan(1, (8,), [_rt.Launch(1, (), (), 1, 1)], [like(x, 1)], device="gpu0")
    with pytest.raises(ValueError, match="a DeviceLaunch on the host"):
        _rt.Plan(1, (8,), [_rt.DeviceLaunch(kernel, (), (), (1, 1, 1), (1, 1, 1))], [like(x, 1)])
    with pytest.raises(ValueError, match="no driver for device 'gpu5'"):
        _rt.Plan(1, (8,), [], [like(x, 1)], device="gpu5")
    with pytest.raises(ValueError, match="the function is 0"):
        _rt.DeviceLaunch(0, (), (), (1, 1, 1), (1, 1, 1))


def test_a_kernel_that_the_driver_refuses(double):
    with pytest.raises(
        RuntimeError, match=r"(?s)gpu0: cuModuleLoadDataEx failed with CUDA_ERROR_INVALID_PTX.*nonsense"
    ):
        _rt.load_kernel("gpu0", ADD.replace("add.rn.f32", "nonsense.f32"))
    with pytest.raises(RuntimeError, match="cuModuleGetFunction failed with CUDA_ERROR_NOT_FOUND"):
        _rt.load_kernel("gpu0", ADD, "other")
    double.forget()


def test_a_fault_of_the_device_has_the_name_of_the_driver(double):
    x = on("gpu1", [1])
    double.fail("kernel", 1, 719)
    y = _rt.apply(PLUS, x, 1.0)
    with pytest.raises(RuntimeError, match="gpu1: cuStreamSynchronize failed with CUDA_ERROR_LAUNCH_FAILED"):
        y.numpy()
    double.forget()
    assert x.tolist() == [1]
