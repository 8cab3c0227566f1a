"""Checkpoints: whole or not at all, the same step in all processes, and training that goes on as if nothing had been."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from ranks import ranks

import tengen
import tengen.distributed as dist
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.base import files
from tengen.base.usage import UsageWarning
from tengen.distributed import checkpoint
from tengen.optimizer import Adam


def train(folder, stop, fail=None):
    """Some steps of training, from the last checkpoint on. fail: the step in which rank 1 is killed the first time."""
    rank, rng = dist.get_rank(), np.random.default_rng(dist.get_rank())
    net = M.Linear(4, 3)
    net.weight[...] = np.arange(12, dtype=np.float32).reshape(net.weight.shape) / 10
    gm = GradManager().attach(net.parameters(), callbacks=dist.make_allreduce_cb("mean"))
    opt = Adam(net.parameters(), lr=0.01)
    first, found = 0, checkpoint.load(folder)
    if found:
        first = found.step
        net.load_state_dict(found.state["net"])
        opt.load_state_dict(found.state["opt"])
        rng.bit_generator.state = found.own["rng"]
    for step in range(first, stop):
        x = tengen.tensor(rng.standard_normal((5, 4)).astype(np.float32))
        if fail == step and rank == 1 and os.environ["TENGEN_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        with gm:
            gm.backward(F.sum(F.tanh(net(x))))
        opt.step().clear_grad()
        state = {"net": net.state_dict(), "opt": opt.state_dict()}
        checkpoint.save(folder, step + 1, state, own={"rng": rng.bit_generator.state})
    return first, net.weight.numpy()


def test_it_goes_on_where_it_was(tmp_path):
    whole = ranks(2, train, tmp_path / "a", 6)
    with pytest.warns(UsageWarning, match=r"rank 1 was killed by SIGKILL"):
        again = ranks(2, train, tmp_path / "b", 6, 4, max_restarts=1)
    assert [first for first, _ in again] == [4, 4]
    for (_, w), (_, v) in zip(whole, again, strict=True):
        assert (w == v).all()
    names = [f"step-00000000{step}.{name}" for step in (5, 6) for name in ("rank-0.tengen", "rank-1.tengen", "tengen")]
    assert sorted(os.listdir(tmp_path / "b")) == names


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    def work():
        checkpoint.save(tmp_path, 1, {"x": 1}, own=dist.get_rank())
        if dist.get_rank() == 0:  # killed when all has been written, and the file has not got its name yet
            files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.save(tmp_path, 2, {"x": 2}, own=dist.get_rank() if dist.get_rank() else None)

    with pytest.raises(dist.WorkerError, match=r"rank 0 was killed"):
        ranks(2, work)
    assert ranks(2, lambda: checkpoint.load(tmp_path)) == [(1, {"x": 1}, 0), (1, {"x": 1}, 1)]


def test_other_numbers_of_processes(tmp_path):
    assert checkpoint.load(tmp_path / "none") is None
    checkpoint.save(tmp_path, 7, {"x": 1}, own="alone")
    found = ranks(2, lambda: checkpoint.load(tmp_path))
    assert found == [(7, {"x": 1}, "alone"), (7, {"x": 1}, None)]
    checkpoint.save(tmp_path, 8, {"x": 2}, keep=1)
    assert os.listdir(tmp_path) == ["step-000000008.tengen"] and checkpoint.load(tmp_path) == (8, {"x": 2}, None)
    for wrong in ({"step": -1}, {"keep": 0}):
        with pytest.raises(ValueError, match=r"step must be at least 0 and keep at least 1"):
            checkpoint.save(tmp_path, **{"step": 1, "state": {}, **wrong})


def test_tensors_go_to_the_device_of_the_process_that_reads(tmp_path):
    def work():
        if checkpoint.load(tmp_path) is None:
            checkpoint.save(tmp_path, 1, {"w": tengen.tensor([1.0])}, own=tengen.tensor([2.0 + dist.get_rank()]))
        _, state, own = checkpoint.load(tmp_path)
        return (state["w"] + own + tengen.tensor([0.5])).item()

    assert ranks(2, work) == [3.5, 4.5]
    assert ranks(1, work) == [3.5]


def test_all_need_one_folder(tmp_path):
    def work():
        place = tmp_path / str(dist.get_rank())
        if dist.get_rank() == 0:
            place.mkdir()
            tengen.save({"step": 3, "state": {}}, place / "step-000000003.tengen")
            return checkpoint.load(place).step
        with pytest.raises(FileNotFoundError, match=r"rank 0 resumes from .*, which rank 1 does not see"):
            checkpoint.load(place)
        return None

    assert ranks(2, work) == [3, None]
