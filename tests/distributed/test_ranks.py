"""Collective operations of real processes, two and three, next to NumPy: values, gradients, traces, groups, and sending."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ranks import ranks

import tengen
import tengen.distributed as dist
import tengen.functional as F
from tengen.autodiff import GradManager
from tengen.jit import trace

D = F.distributed
SIZES = pytest.mark.parametrize("size", [2, 3])


def nothing(value, rank):
    return value if rank == 0 else None


# The function, its axes, and what each process gets of what they all have.
OPS = {
    "all_reduce_sum": ({}, lambda xs, r: sum(xs)),
    "all_reduce_max": ({}, lambda xs, r: np.max(xs, axis=0)),
    "all_reduce_min": ({}, lambda xs, r: np.min(xs, axis=0)),
    "reduce_sum": ({}, lambda xs, r: nothing(sum(xs), r)),
    "broadcast": ({}, lambda xs, r: xs[0]),
    "all_gather": ({"axis": 1}, lambda xs, r: np.concatenate(xs, 1)),
    "gather": ({"axis": 0}, lambda xs, r: nothing(np.concatenate(xs, 0), r)),
    "scatter": ({"axis": 1}, lambda xs, r: np.split(xs[0], len(xs), 1)[r]),
    "reduce_scatter_sum": ({"axis": 0}, lambda xs, r: np.split(sum(xs), len(xs), 0)[r]),
    "all_to_all": (
        {"split_axis": 0, "concat_axis": 1},
        lambda xs, r: np.concatenate([np.split(x, len(xs), 0)[r] for x in xs], 1),
    ),
}
DTYPES = "float32 float64 float16 bfloat16 int32 int8 uint8 uint16 int64 bool".split()
SHAPES = ((6, 12), (6, 0), (60, 54))  # the last one is cut and sent in parts


def data(size, shape, dtype):
    rng = np.random.default_rng(len(dtype) + sum(shape))
    xs = [rng.integers(0, 2 if dtype == "bool" else 9, shape) for _ in range(size)]
    return [x / 2 if "float" in dtype else x for x in xs]  # sums of halves are exact in all of them


def expected(name, xs, rank, dtype):
    if dtype == "bool":
        xs = [x.astype(bool) for x in xs]
        if "sum" in name:  # or
            xs = [np.any(xs, 0), *[np.zeros_like(xs[0])] * (len(xs) - 1)]
            return OPS[name[:-3] + "sum"][1]([x.astype(int) for x in xs], rank)
    return OPS[name][1](xs, rank)


@cache
def values(size):
    """Of each process, what each function gives for each dtype and shape: eager, and traced."""

    def work():
        found, rank = {}, dist.get_rank()
        for name, (axes, _) in OPS.items():
            function = getattr(D, name)
            traced = trace(lambda x, f=function, axes=axes: (f(x, **axes), x + x))
            for dtype in DTYPES:
                for shape in SHAPES if dtype == "float32" else SHAPES[:1]:
                    x = tengen.tensor(data(size, shape, dtype)[rank], dtype=dtype)
                    made = [function(x, **axes), *(traced(x)[0] for _ in range(2))]
                    assert all(y is None or y.dtype == x.dtype for y in made)
                    found[name, dtype, shape] = [y if y is None else y.numpy() for y in made]
        return found

    return ranks(size, work)


@SIZES
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values(size, name, dtype):
    for rank, found in enumerate(values(size)):
        for shape in SHAPES if dtype == "float32" else SHAPES[:1]:
            wanted = expected(name, data(size, shape, dtype), rank, dtype)
            for y in found[name, dtype, shape]:
                if wanted is None:
                    assert y is None
                else:
                    np.testing.assert_array_equal(y, wanted)


def forward(name, xs, weights):
    """The sum over all processes of what they weigh their results with."""
    made = [OPS[name][1]([x * x for x in xs], r) for r in range(len(xs))]
    return sum(float((w * y).sum()) for w, y in zip(weights, made, strict=True) if y is not None)


def differences(name, xs, weights, step=1e-4):
    """The gradients of `forward` by finite differences."""
    grads = [np.zeros_like(x) for x in xs]
    for x, g in zip(xs, grads, strict=True):
        for i in np.ndindex(x.shape):
            before = x[i]
            x[i] = before + step
            more = forward(name, xs, weights)
            x[i] = before - step
            g[i] = (more - forward(name, xs, weights)) / (2 * step)
            x[i] = before
    return grads


def operands(size):
    rng = np.random.default_rng(7)
    return [rng.permutation(6 * 6).reshape(6, 6) / 10 + 0.01 * r for r in range(size)]


def weights_of(name, size):
    made = [OPS[name][1](operands(size), r) for r in range(size)]
    return [None if y is None else np.cos(np.arange(y.size).reshape(y.shape) + r) for r, y in enumerate(made)]


@cache
def gradients(size):
    """Of each process, the gradient of each function: eager, and traced without host."""

    def work():
        found, rank = {}, dist.get_rank()
        for name, (axes, _) in OPS.items():
            w = weights_of(name, size)[rank]
            weight = None if w is None else tengen.tensor(w, dtype="float64")
            x = tengen.Parameter(operands(size)[rank], dtype="float64")
            gm = GradManager().attach(x)

            def step(gm=gm, name=name, axes=axes, weight=weight, x=x):
                with gm:
                    y = getattr(D, name)(x * x, **axes)
                    gm.backward([] if y is None else (y * weight).sum())

            found[name] = []
            for call in (step, trace(step, without_host=True)):
                for _ in range(2):
                    x.grad = None
                    call()
                    found[name].append(x.grad.numpy())
        return found

    return ranks(size, work)


@SIZES
@pytest.mark.parametrize("name", OPS)
def test_gradients(size, name):
    xs, weights = operands(size), weights_of(name, size)
    for found, g in zip(gradients(size), differences(name, xs, weights), strict=True):
        for value in found[name]:
            np.testing.assert_allclose(value, g, rtol=1e-6, atol=1e-7)


@SIZES
def test_sums_are_taken_in_the_order_of_ranks(size):
    """So that the result is bit for bit that of one process that adds the same parts, for arrays small and large."""
    for count in (5, 50001):
        xs = [np.random.default_rng(r).standard_normal(count).astype(np.float32) * 10**r for r in range(size)]
        wanted = sum(xs[1:], xs[0])
        for found in ranks(size, lambda xs=xs: D.all_reduce_sum(tengen.tensor(xs[dist.get_rank()])).numpy()):
            assert (found == wanted).all()


def test_results_that_nobody_wants():
    """A collective of which one process ignores the result takes place all the same, in the order in which all call it."""

    def work():
        rank = dist.get_rank()

        def function(x):
            first, second = D.all_reduce_sum(x), D.all_reduce_max(x * 3)
            D.all_gather(x)
            return (first, second) if rank == 0 else x * 2 if rank == 1 else None

        x, found = tengen.tensor([1.0 + rank]), []
        for without_host in (False, True):
            traced = trace(function, without_host=without_host)
            found += [traced(x) for _ in range(3)]
        return rank, [y and [v.item() for v in (y if isinstance(y, tuple) else (y,))] for y in found]

    assert ranks(3, work) == [(0, [[6.0, 9.0]] * 6), (1, [[4.0]] * 6), (2, [None] * 6)]


def test_equal_collectives_are_not_taken_for_one():
    def work():
        def function(x):
            a = D.all_reduce_sum(x)
            b = D.all_reduce_sum(x) if dist.get_rank() == 0 else D.all_reduce_sum(x + 1 - 1)
            return a + b

        return [trace(function)(tengen.tensor([1.0])).item(), function(tengen.tensor([2.0])).item()]

    assert ranks(2, work) == [[4.0, 8.0]] * 2


def test_groups():
    """Ranks have the order of the group, and each group its own operations."""

    def work():
        rank = dist.get_rank()
        group, pair = dist.new_group([2, 0]), dist.new_group([0, 1])
        x, found = tengen.tensor([float(rank)]), []
        if rank != 1:
            found += [group.rank, D.all_gather(x, group).tolist(), D.broadcast(x, group).tolist()]
            dist.group_barrier(group)
        if rank != 2:
            found += [D.all_reduce_sum(x + 5, pair).tolist()]
        with pytest.raises(ValueError, match=rf"the process of rank {rank} is not in the group"):
            D.all_reduce_sum(x, dist.new_group([(rank + 1) % 3]))
        return [*found, D.all_reduce_sum(x).item()]

    assert ranks(3, work) == [
        [1, [2.0, 0.0], [2.0], [11.0], 3.0], [[11.0], 3.0], [0, [2.0, 0.0], [2.0], 3.0],
    ]  # fmt: skip


def test_sending():
    def work():
        rank = dist.get_rank()
        x = tengen.Parameter([[1.0, 2.0], [3.0, 4.0]])
        gm = GradManager().attach(x)
        for _ in range(2):
            x.grad = None
            with gm:
                if rank == 0:
                    D.remote_send(x * 2, 1)
                    gm.backward([])
                else:
                    y = D.remote_recv(0)
                    gm.backward((y * y * x).sum())
        D.remote_send(tengen.tensor([rank, 7], dtype="int32"), 1 - rank)  # both, as nobody waits
        return x.grad.tolist(), D.remote_recv(1 - rank).tolist()

    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert ranks(2, work) == [((2 * 2 * (2 * x) * x).tolist(), [1, 7]), ((4 * x * x).tolist(), [0, 7])]


def test_barrier_and_values_of_programs():
    def work():
        rank, client = dist.get_rank(), dist.get_client()
        client.user_set(f"rank {rank}", rank)
        dist.group_barrier()
        net = tengen.module.Linear(3, 2)
        net.weight[...] = float(rank)
        dist.bcast_list_(net.parameters())
        named = dist.synchronized(lambda: client.bcast_val("one" if rank == 1 else None, "key", 2))()
        return client.user_get(f"rank {1 - rank}"), named, net.weight.numpy().max(), tengen.get_default_device()

    assert ranks(2, work) == [(1, "one", 0.0, "xpu0"), (0, "one", 0.0, "xpu1")]


def test_who_gets_a_result():
    """The examples of MegEngine's documentation; the first process of a group is its root, and where a result is for it the others get None."""

    def work():
        x, group = tengen.tensor([dist.get_rank()]), dist.new_group([1, 0])
        pair = tengen.tensor([0, 1]) + 2 * dist.get_rank()
        made = [D.reduce_sum(x), D.reduce_sum(x, group), D.gather(x), D.gather(x, group), D.scatter(pair)]
        made += [D.scatter(pair, group), D.broadcast(x), D.broadcast(x, group), D.all_gather(x, group)]
        made.append(D.remote_send(x, 1) if dist.get_rank() == 0 else D.remote_recv(0))
        return [y if y is None else y.tolist() for y in made]

    first, second = ranks(2, work)
    assert first == [[1], None, [0, 1], None, [0], [3], [0], [1], [1, 0], None]
    assert second == [None, [1], None, [1, 0], [1], [2], [0], [1], [1, 0], [0]]
