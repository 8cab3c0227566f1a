"""Optimizers whose states are shared out over processes: bit for bit what they are without, for 1/n of the memory."""

from __future__ import annotations

import os
import signal
import sys
from functools import cache

import numpy as np
import pytest
from ranks import nothing_left, ranks
from trained_in_parts import Net, batch

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen import _rt
from tengen.amp import GradScaler
from tengen.autodiff import GradManager
from tengen.base.errors import StateDictError
from tengen.base.usage import UsageWarning
from tengen.distributed import buckets, checkpoint
from tengen.jit import trace
from tengen.optimizer import LAMB, SGD, Adagrad, Adam, LAMBFp16, MultiStepLR, clip_grad_norm

OPTIMIZERS = {
    "plain": lambda ps: SGD(ps, lr=0.1),
    "sgd": lambda ps: SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda ps: Adam(ps, lr=0.01),
    "adagrad": lambda ps: Adagrad(ps, lr=0.01),
    "lamb": lambda ps: LAMB(ps, lr=0.01, weight_decay=0.01),
    "lamb16": lambda ps: LAMBFp16(ps, lr=0.01, weight_decay=0.01),
}


def groups(net):
    """Weights and biases with settings of their own; a layer of them is not used."""
    params = list(net.parameters())
    return [{"params": [p for p in params if p.ndim > 1]}, {"params": [p for p in params if p.ndim < 2], "lr": 0.02}]


def train(optimizer, dtype, how, shard, clip=None, steps=3, opt=None, net=None):
    """What parameters and states are after some steps, and the norms of the gradients."""
    net = net or Net(dtype)
    opt = opt or OPTIMIZERS[optimizer](groups(net))
    opt = dist.sharded(opt) if shard else opt
    rate = MultiStepLR(opt, [1], gamma=0.5)
    gm = GradManager().attach(
        net.parameters(), callbacks=opt.make_reduce_scatter_cb("mean") if shard else dist.make_allreduce_cb("mean")
    )

    def step(x, y):
        with gm:
            gm.backward(F.nn.cross_entropy(net(x).astype("float32"), y))
        norm = clip_grad_norm(net.parameters(), 0.01, ord=clip) if clip else None
        opt.step().clear_grad()
        return norm

    call, norms = step if how == "eager" else trace(step, without_host=how == "alone"), []
    for _ in range(steps):
        norms.append(call(*batch(dist.get_world_size(), dist.get_rank(), dtype)))
        rate.step()
    state = opt.state_dict()
    values = [p.astype("float32").numpy() for p in net.parameters()] + [n.numpy() for n in norms if n is not None]
    return values + [np.asarray(v) for kept in state["state"].values() for v in kept.values()], state["param_groups"]


CASES = [
    *((o, d, h, None) for o in OPTIMIZERS for d in ("float32", "bfloat16") for h in ("eager", "alone")),
    *((o, "float32", "host", None) for o in ("adam", "lamb")),
    *(("adam", d, h, o) for d in ("float32", "bfloat16") for h in ("eager", "alone") for o in (2.0, 3.0, float("inf"))),
]


@cache
def trained(size):
    def work():
        buckets.BUCKET_BYTES = 2000  # so that there are several
        return [[train(*case[:3], shard, case[3]) for shard in (False, True)] for case in CASES]

    return ranks(size, work)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_like_the_optimizer_itself(size, case):
    for found in trained(size):
        (plain, groups), (parts, same) = found[CASES.index(case)]
        assert groups == same
        assert len(plain) == len(parts)
        for p, q in zip(plain, parts, strict=True):
            np.testing.assert_array_equal(p, q)


def test_memory():
    """What an optimizer keeps after steps is 1/n of what it keeps by itself, and its part of the parameters."""

    def work():
        def kept(shard):
            net, before = M.Linear(1024, 512), _rt.memory_stats()["live"]
            opt = Adam(net.parameters(), lr=0.1)
            opt = dist.sharded(opt) if shard else opt
            callback = opt.make_reduce_scatter_cb("mean") if shard else dist.make_allreduce_cb("mean")
            gm = GradManager().attach(net.parameters(), callbacks=callback)
            for _ in range(2):
                with gm:
                    gm.backward(net(tengen.tensor(np.ones((4, 1024), np.float32))).sum())
                grads = sum(p.grad.size for p in net.parameters())
                opt.step().clear_grad()
            return _rt.memory_stats()["live"] - before, grads, opt

        kept(False)  # what is made once
        (whole, all_grads, _), (part, grads, _) = kept(False), kept(True)
        return whole, all_grads, part, grads

    count = 1024 * 512 + 512
    for size in (2, 3):
        for whole, all_grads, part, grads in ranks(size, work):
            assert all_grads == count
            assert grads == -(-1024 * 512 // size) + -(-512 // size)
            assert whole >= 2 * 4 * count
            assert part <= 1.5 * whole / size * 1.1  # its part of two states, and of the parameters


def test_state_dicts_fit_any_number_of_processes(tmp_path):
    """Two processes, then two, three, one, and one without parts: the first of them alone has a batch, so all train alike."""

    def work(shard, source, target, dtype):
        net, found = Net(dtype), checkpoint.load(tmp_path / source)
        opt = LAMB(groups(net), lr=0.01, weight_decay=0.01)
        opt = dist.sharded(opt) if shard else opt
        if found:
            net.load_state_dict(found.state["net"])
            opt.load_state_dict(found.state["opt"])
        gm = GradManager().attach(net.parameters(), callbacks=opt.make_reduce_scatter_cb("sum") if shard else [])
        x, y = batch(1, 0, dtype)
        for _ in range(2):
            with gm:
                gm.backward(F.nn.cross_entropy(net(x).astype("float32"), y) * (dist.get_rank() == 0))
            opt.step().clear_grad()
        state = opt.state_dict()
        checkpoint.save(tmp_path / target, (found.step if found else 0) + 2, {"net": net.state_dict(), "opt": state})
        kept = [np.asarray(v) for one in state["state"].values() for v in one.values()]
        return [*(p.astype("float32").numpy() for p in net.parameters()), *kept]

    for dtype in ("float32", "bfloat16"):
        work(False, "none", f"alone {dtype}", dtype)
        alone = work(False, f"alone {dtype}", "end", dtype)
        parts = f"parts {dtype}"
        ranks(2, work, True, "none", parts, dtype)
        ends = [ranks(size, work, True, parts, f"{size} {dtype}", dtype)[-1] for size in (1, 2, 3)]
        for found in [*ends, work(False, parts, "end", dtype)]:
            for p, q in zip(found, alone, strict=True):
                np.testing.assert_array_equal(p, q)


def test_states_that_are_there_stay():
    def work():
        net, other = Net("float32"), Net("float32")
        first, second = Adam(net.parameters(), lr=0.01), Adam(other.parameters(), lr=0.01)
        return [
            (train("adam", "float32", "eager", False, opt=o, net=n), train("adam", "float32", "eager", s, opt=o, net=n))
            for n, o, s in ((net, first, False), (other, second, True))
        ]

    for (_, plain), (_, parts) in ranks(2, work):
        for p, q in zip(plain[0], parts[0], strict=True):
            np.testing.assert_array_equal(p, q)


def test_scaled_gradients():
    """One process alone sees that its part is not finite, and all leave out the step."""

    def work():
        w, scaler = tengen.Parameter(np.ones(4, np.float32)), GradScaler(init_scale=4.0, growth_interval=100)
        opt = dist.sharded(SGD([w], lr=1.0))
        gm = GradManager().attach([w], callbacks=opt.make_reduce_scatter_cb("sum"))
        seen = []
        for factor in ([1.0, 2.0, 3.0, float("inf")], [1.0, 2.0, 3.0, 4.0]):
            with gm:
                scaler.backward(gm, (w * tengen.tensor(factor)).sum())
            seen.append(w.grad is None)
            if w.grad is not None:
                opt.step()
            opt.clear_grad()
        return seen, scaler.scale_factor, w.tolist()

    assert ranks(2, work) == [([True, False], 2.0, [-1.0, -3.0, -5.0, -7.0])] * 2


def test_what_is_refused():
    def work():
        w = tengen.Parameter(np.ones((2, 3), np.float32))
        opt = dist.sharded(Adam([w], lr=0.1))
        gm = GradManager().attach([w], callbacks=dist.make_allreduce_cb("sum"))
        with gm:
            gm.backward((w * w).sum())
        with pytest.raises(
            ValueError, match=r"sharded Adam: .*\(2, 3\).* not the part of 3 elements .* make_reduce_scatter_cb"
        ):
            opt.step()
        assert (w.numpy() == 1).all()
        for wrong in (opt, [w]):
            with pytest.raises(TypeError, match="sharded takes an optimizer that is not sharded yet"):
                dist.sharded(wrong)
        with pytest.raises(
            StateDictError, match=r"sharded Adam.*\n.*exp_avg: shape \(3,\) where the optimizer has \(2, 3\)"
        ):
            state = opt.state_dict()
            state["state"][0]["exp_avg"] = np.zeros(3)
            opt.load_state_dict(state)

    ranks(2, work)
    with pytest.raises(RuntimeError, match="please call init_process_group first"):
        dist.sharded(SGD([tengen.Parameter([1.0])], lr=1.0))


def training(folder, fault, stop):
    """Steps with a sharded optimizer from the last checkpoint on; rank 1 does the fourth otherwise, the first time."""
    net, found = Net("float32"), checkpoint.load(folder)
    opt = dist.sharded(Adam(groups(net), lr=0.01))
    if found:
        net.load_state_dict(found.state["net"])
        opt.load_state_dict(found.state["opt"])
    gm = GradManager().attach(net.parameters(), callbacks=opt.make_reduce_scatter_cb("mean"))
    first = found.step if found else 0
    for step in range(first, stop):
        x, y = batch(dist.get_world_size(), dist.get_rank(), "float32")
        with gm:
            gm.backward(F.nn.cross_entropy(net(x), y))
        clip_grad_norm(net.parameters(), 1.0)
        if step == 3 and dist.get_rank() == 1 and os.environ["TENGEN_RESTART_COUNT"] == "0":
            fault(net, opt)
        opt.step().clear_grad()
        checkpoint.save(folder, step + 1, {"net": net.state_dict(), "opt": opt.state_dict()})
    return first, [p.numpy() for p in net.parameters()]


def kill(net, opt):
    os.kill(os.getpid(), signal.SIGKILL)


def boom(net, opt):
    raise ValueError("boom")


def leave(net, opt):
    sys.exit(0)


def fewer(net, opt):
    net.first.weight.grad = None


def other_operation(net, opt):
    dist.functional.all_reduce_sum(tengen.tensor([1.0]))


FAULTS = [
    (kill, "^rank 1 was killed by SIGKILL"),
    (boom, r"^rank 1 raised\n(?s:.)*ValueError: boom$"),
    (
        leave,
        r"DistributedError: #\d+ all_gather of float32\[\d+\] of parameters .*: rank 1 has ended by sys\.exit\(0\)",
    ),
    (
        fewer,
        r"do different things: rank 0: #(\d+) all_gather of float32\[\d+\] of parameters .*; rank 1: #\1 all_gather",
    ),
    (
        other_operation,
        r"do different things: rank 0: #(\d+) all_gather of .*; rank 1: #\1 all_reduce_sum of float32\[1\]",
    ),
]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_faults(tmp_path, size, fault, says):
    with nothing_left(), pytest.raises(dist.WorkerError, match=says):
        ranks(size, training, tmp_path, fault, 6)
    assert checkpoint.load(tmp_path).step == 3


@pytest.mark.parametrize("fault", [kill, boom, fewer], ids=lambda f: f.__name__)
def test_it_goes_on_where_it_was(tmp_path, fault):
    whole = ranks(2, training, tmp_path / "a", lambda net, opt: None, 5)
    with pytest.warns(UsageWarning, match=r"rank [01] (was killed|raised)"):
        again = ranks(2, training, tmp_path / "b", fault, 5, max_restarts=1)
    assert [first for first, _ in again] == [3, 3]
    for (_, wanted), (_, found) in zip(whole, again, strict=True):
        for p, q in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(p, q)
