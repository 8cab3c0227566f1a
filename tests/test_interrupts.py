"""Ctrl-C, signal handlers, threads and forks that come at a bad moment."""

from __future__ import annotations

import gc
import sys

import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.autodiff import Function, GradManager
from tengen.jit import trace
from tengen.optimizer import Adam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and forks as Linux has them")


# -- Ctrl-C reaches the user -----------------------------------------------------------------------------------


class Double(Function):
    def forward(self, x):
        return x * 2

    def backward(self, grad):
        return grad * 2


def everything():
    """Objects of all kinds that refer to each other weakly, or are referred to so."""
    net = M.Sequential(M.Linear(3, 4), M.BatchNorm1d(4), M.Dropout(0.5), M.Linear(4, 2))
    manager, optimizer = GradManager().attach(net.parameters()), Adam(net.parameters(), 0.1)

    def step(x):
        with manager:
            loss = (Double()(net(x)) ** 1.25).sum() + F.pad(x, ((0, 0), (5, 7))).mean()
            manager.backward(loss)
        optimizer.step().clear_grad()
        return loss

    traced, alone = trace(step), trace(lambda x: net(x) * 3.5, without_host=True)
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    for _ in range(2):
        traced(x), alone(x), step(x)
    return [net, manager, optimizer, step, traced, alone, x]


def test_no_python_runs_where_ctrl_c_would_be_swallowed():
    """Callbacks of weak references, and destructors, are called in the middle of anything, and what they raise is only printed."""
    kept = everything()
    called = []

    def note(frame, event, _):
        if event == "call":
            called.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")

    gc.collect()
    tengen._rt.plan_cache_clear()
    gc.disable()
    sys.setprofile(note)
    try:
        kept.clear()
        gc.collect()
    finally:
        sys.setprofile(None)
        gc.enable()
    assert called == []
