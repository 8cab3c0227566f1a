"""Operations with an effect: never left out, never taken for one, and in the order in which they were recorded."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
from tengen import jit
from tengen.autodiff import GradManager
from tengen.compiler.program import Host
from tengen.core import apply

SAID: list[tuple[str, float]] = []


class Say(Host):
    """Its input; whoever runs it is heard."""

    word: str

    name = "say"
    effect = True

    def infer(self, *types):
        return types

    def compute(self, inputs, outputs):
        SAID.append((self.word, float(inputs[0].sum())))
        outputs[0][...] = inputs[0]

    def grad(self, inputs, outputs, grads):
        return [grads[0] and Say(f"gradient of {self.word}")(grads[0])]


def said(call):
    SAID.clear()
    call()
    return list(SAID)


@pytest.fixture
def x():
    return tengen.tensor([1.0, 2.0])


@pytest.mark.parametrize("without_host", [False, True])
def test_nobody_wants_the_result(x, without_host):
    def function(x):
        apply(Say("first"), x * 2)
        y = x + 1
        apply(Say("second"), y)
        return y

    def silent(x):
        apply(Say("only"), x)

    traced, alone = jit.trace(function, without_host=without_host), jit.trace(silent, without_host=without_host)
    for _ in range(3):
        assert said(lambda: traced(x)) == [("first", 6.0), ("second", 5.0)]
        assert said(lambda: alone(x)) == [("only", 3.0)]


@pytest.mark.parametrize("without_host", [False, True])
def test_equal_ones_are_two(x, without_host):
    traced = jit.trace(lambda x: apply(Say("again"), x) + apply(Say("again"), x), without_host=without_host)
    for _ in range(3):
        assert said(lambda: traced(x)) == [("again", 3.0)] * 2


def test_order_is_that_of_the_program_and_not_of_what_is_ready_first(x):
    def function(x):
        long = x
        for _ in range(3):
            long = tengen.functional.matmul(long.reshape(1, 2), tengen.tensor(np.eye(2, dtype=np.float32))).reshape(2)
        return apply(Say("long"), long), apply(Say("short"), x)

    traced = jit.trace(function)
    for _ in range(3):
        assert said(lambda: traced(x)) == [("long", 3.0), ("short", 3.0)]


@pytest.mark.parametrize("without_host", [False, True])
def test_constants_do_not_keep_it_from_happening(x, without_host):
    traced = jit.trace(lambda: apply(Say("constant"), x * 2), without_host=without_host, capture_as_const=True)
    for _ in range(3):
        assert said(traced) == [("constant", 6.0)]


def test_gradients(x):
    gm = GradManager().attach(x)

    def step():
        with gm:
            gm.backward(apply(Say("a"), apply(Say("b"), x) * 2).sum())

    expected = [("b", 3.0), ("a", 6.0), ("gradient of a", 2.0), ("gradient of b", 4.0)]
    for call in (step, jit.trace(step), jit.trace(step, without_host=True)):
        for _ in range(3):
            assert said(call) == expected


def test_limits_on_memory_repeat_nothing():
    x = tengen.tensor(np.ones((64, 64), np.float32))
    gm = GradManager().attach(x)

    def step():
        with gm:
            y = x
            for i in range(6):
                y = tengen.functional.exp(apply(Say(str(i)), y * 0.1))
            gm.backward(y.sum())

    config = jit.DTRConfig(eviction_threshold=40 << 10)
    once = [word for word, _ in said(step)]
    traced = jit.trace(step, without_host=True, dtr_config=config)
    for _ in range(2):
        assert [word for word, _ in said(traced)] == once
