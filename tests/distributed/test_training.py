"""Data-parallel training is bit for bit that of one process which adds the gradients of the same parts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ranks import ranks
from trained_in_parts import Net, batch

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.distributed import buckets
from tengen.jit import trace
from tengen.optimizer import LAMB, SGD, Adam

OPTIMIZERS = {
    "sgd": lambda ps: SGD(ps, lr=0.1, momentum=0.9),
    "adam": lambda ps: Adam(ps, lr=0.01),
    "lamb": lambda ps: LAMB(ps, lr=0.01),
}


def parameters(optimizer, dtype, how, parts):
    """What the parameters are after some steps, of this process in its world, or of one alone that adds the gradients of all parts."""
    net, together, sums = Net(dtype), dist.is_distributed(), {}

    def add(param, grad):
        """The sum of parts in float32, rounded once, as a bucket has it: sums of bfloat16 would be rounded each time."""
        wide = grad.astype("float32")
        sums[param] = sums[param] + wide if param in sums else wide
        param.grad = None
        return sums[param].astype(dtype)

    alone = [add] if dtype == "bfloat16" and parts > 2 else []
    gm = GradManager().attach(net.parameters(), callbacks=[dist.make_allreduce_cb("sum")] if together else alone)
    opt = OPTIMIZERS[optimizer](list(net.parameters()))

    def step(*batches):
        for x, y in zip(batches[::2], batches[1::2], strict=True):
            with gm:
                gm.backward(F.nn.cross_entropy(net(x).astype("float32"), y) / parts)
        opt.step().clear_grad()
        sums.clear()

    call = step if how == "eager" else trace(step, without_host=how == "alone")
    mine = [dist.get_rank()] if together else range(parts)
    for _ in range(3):
        call(*[tensor for r in mine for tensor in batch(parts, r, dtype)])
    return [p.astype("float32").numpy() for p in net.parameters()]


CASES = [(o, d, h) for o in OPTIMIZERS for d in ("float32", "bfloat16") for h in ("eager", "host", "alone")]


@cache
def trained(size):
    def work():
        buckets.BUCKET_BYTES = 2000  # so that there are several
        return {case: parameters(*case, size) for case in CASES}

    return ranks(size, work)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_like_one_process(size, case):
    alone = parameters(*case, size)
    for found in trained(size):
        for p, q in zip(found[case], alone, strict=True):
            np.testing.assert_array_equal(p, q)


def whole_step(method, traced):
    """The gradient of one process's part, in a step that is traced with its optimizer."""
    w = tengen.Parameter(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    gm = GradManager().attach(w, callbacks=dist.make_allreduce_cb(method))
    opt = SGD([w], lr=1.0)

    def step(x):
        with gm:
            gm.backward((w * x).sum())
        opt.step().clear_grad()

    call = trace(step, without_host=True) if traced else step
    for _ in range(2):
        call(tengen.tensor([1.0, 2.0, 4.0]) * (1 + dist.get_rank()))
    return w.numpy()


@pytest.mark.parametrize("size", [2, 3])
def test_sum_and_mean(size):
    def work():
        return [whole_step(method, traced) for method in ("sum", "mean") for traced in (False, True)]

    total = sum(range(1, size + 1)) * np.array([1.0, 2.0, 4.0])
    w = np.arange(6.0).reshape(2, 3)
    for found in ranks(size, work):
        for w2, g in zip(found, [total, total, total / size, total / size], strict=True):
            np.testing.assert_allclose(w2, w - 2 * g, rtol=1e-6)


def test_gradients_are_sent_while_others_are_computed():
    """In a trace each bucket starts as soon as it is full, and nothing waits for one before the end of the backward."""

    def work():
        buckets.BUCKET_BYTES = 40000
        net = M.Sequential(*[M.Linear(100, 100) for _ in range(4)])
        gm = GradManager().attach(net.parameters(), callbacks=dist.make_allreduce_cb("mean"))
        opt = SGD(net.parameters(), lr=0.1)

        def step(x):
            with gm:
                gm.backward((net(x) ** 2).sum())
            opt.step().clear_grad()

        traced = trace(step, without_host=True, profiling=True)
        for _ in range(2):
            traced(tengen.tensor(np.ones((32, 100), np.float32)))
        return [step["name"] for step in traced.get_profile()["plans"][-1]["steps"]]

    for names in ranks(2, work):
        starts = [i for i, name in enumerate(names) if name == "all_reduce_sum"]
        waits = [i for i, name in enumerate(names) if name == "wait"]
        products = [i for i, name in enumerate(names) if name == "matmul"]
        assert len(starts) == len(waits) == 4
        assert starts[1] < products[-1] < starts[3] < waits[0]


def test_other_callbacks_get_the_sum():
    def work():
        w, seen = tengen.Parameter([1.0]), []

        def see(param, grad):
            seen.append(grad.item())
            return grad * 2

        gm = GradManager().attach(w, callbacks=[lambda p, g: g + 1, dist.make_allreduce_cb("sum"), see])
        for _ in range(2):  # gradients add up
            with gm:
                gm.backward(w * (3.0 + dist.get_rank()))
        return seen, w.grad.item()

    assert ranks(2, work) == [([9.0, 9.0], 36.0)] * 2


def test_gradients_of_gradients():
    def work():
        w = tengen.Parameter([3.0])
        first = GradManager().attach(w, callbacks=dist.make_allreduce_cb("sum"))
        second = GradManager().attach(w)
        with second:
            with first:
                first.backward(w * w * w * (1 + dist.get_rank()))
            g, w.grad = w.grad, None
            second.backward(g)
        return g.item(), w.grad.item()

    # Each process differentiates (1 + 2) · 3 w², and the gradient of that goes to both.
    assert ranks(2, work) == [(81.0, 2 * 18.0 * 1), (81.0, 2 * 18.0 * 2)]


def test_a_backward_that_fails_leaves_nothing_behind():
    def work():
        w = tengen.Parameter([1.0])
        sync, fails = dist.make_allreduce_cb("sum"), [True]

        def fail(param, grad):
            if fails.pop() if fails else False:
                raise ValueError("once")
            return grad

        other = tengen.Parameter([1.0])
        gm = GradManager().attach([w], callbacks=sync).attach([other], callbacks=fail)
        with pytest.raises(ValueError, match="once"), gm:
            gm.backward(other * 2 * (w * 3))
        w.grad = other.grad = None
        with gm:
            gm.backward(other * 2 * (w * 3))
        return w.grad.item()

    assert ranks(2, work) == [12.0] * 2
