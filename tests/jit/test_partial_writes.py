"""Functions that write parts of tensors, whatever else they do to the rest of them, and of what they return: eagerly, traced, from
files, and in NumPy with float64.
"""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx_harness import session_of, sound

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.autodiff import GradManager
from tengen.jit import load, trace
from tengen.module import Module
from tengen.optimizer import SGD

SHAPE = (3, 4)
LR, MOMENTUM = 0.25, 0.5

# What parts are written: integers, slices of any step, masks, arrays of indices, nothing, everything.
PARTS = {
    "row": 1,
    "last row": -1,
    "rows": slice(1, 3),
    "odd rows": slice(None, None, 2),
    "reversed": slice(None, None, -1),
    "column": (slice(None), 1),
    "every other column, backward": (slice(None), slice(None, None, -2)),
    "corner": (slice(0, 2), slice(2, 4)),
    "element": (2, 3),
    "last column": (..., -1),
    "all": ...,
    "none": slice(0, 0),
    "picked rows": np.array([2, 0]),
    "a row twice": np.array([1, 1]),
    "picked elements": (np.array([0, 2, 1]), np.array([3, 3, 0])),
    "picked columns of rows": (slice(1, None), np.array([0, 2])),
    "mask": np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool),
    "masked rows": np.array([True, False, True]),
}
INDEX = np.array([[0, 2, 1, 1], [2, 0, 1, 0]], np.int32)
"""Rows for each column that a scatter writes."""


class States(Module):
    """A parameter, which `train` updates by a loss that has parts written and read, the state of its optimizer, a buffer, and a plain
    tensor.
    """

    def __init__(self, arrays, reads):
        super().__init__()
        self.reads = reads
        self.weight = Parameter(arrays[0])
        self.running = Tensor(arrays[1])
        self.outside = Tensor(arrays[2])
        self.manager = GradManager().attach([self.weight])
        self.optimizer = SGD([self.weight], LR, MOMENTUM)
        self.velocity = self.optimizer._state[self.weight]["momentum_buffer"]

    def forward(self):
        return self.weight

    def all(self):
        return [self.weight, self.running, self.outside, self.velocity]

    def look(self, x):
        """What is read by Python ends a part of a trace; without host nothing can."""
        if self.reads:
            float(x.sum())

    def train(self, x):
        with self.manager:
            y = self.weight * x
            y[1] = 0.0
            self.manager.backward(y.sum() + self.weight[::-2, 1:3].sum())
        self.optimizer.step().clear_grad()


class Arrays:
    """The same in NumPy."""

    def __init__(self, arrays):
        self.weight, self.running, self.outside = (a.astype(np.float64) for a in arrays[:3])
        self.velocity = np.zeros(SHAPE)

    def all(self):
        return [self.weight, self.running, self.outside, self.velocity]

    def look(self, x):
        pass

    def train(self, x):
        g = x.copy()
        g[1] = 0
        g[::-2, 1:3] += 1
        self.velocity[...] = MOMENTUM * self.velocity + g
        self.weight -= LR * self.velocity


STATE = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("number"), STATE, st.sampled_from(sorted(PARTS)), st.integers(-3, 3)),
    st.tuples(st.just("copy"), STATE, st.sampled_from(sorted(PARTS)), STATE),
    st.tuples(st.just("mix"), STATE, st.sampled_from(sorted(PARTS)), STATE),
    st.tuples(
        st.sampled_from(["add", "scale", "roll", "scatter", "turn", "same", "view", "keep", "sum", "old"]), STATE, STATE
    ),
    st.tuples(st.sampled_from(["train", "read"])),
)


def run(steps, states, arguments, numpy):
    """What `steps` return, in tengen or NumPy; they change the states and arguments, all of SHAPE."""
    held = [*states.all(), *arguments]
    found = []
    concat = np.concatenate if numpy else F.concat
    for name, *places in steps:
        if name == "train":
            states.train(held[4] * 0.5)
            continue
        if name == "read":
            states.look(held[2])
            continue
        t = held[places[0]]
        if name == "number":
            t[PARTS[places[1]]] = float(places[2])
        elif name == "copy":
            t[PARTS[places[1]]] = held[places[2]][PARTS[places[1]]]
        elif name == "mix":
            part = PARTS[places[1]]
            t[part] = t[part] * 0.5 - held[places[2]][part]
        else:
            found += whole(name, t, held[places[1]], concat, numpy)
    return found


def whole(name, t, other, concat, numpy):
    """A step that does something to all of a tensor, or returns something of it."""
    if name == "add":
        t += other * 0.5
    elif name == "scale":
        t *= -0.5
    elif name in ("roll", "scatter", "turn", "same"):
        if name == "roll":
            new = concat([t[1:], other[:1]])
        elif name == "turn":
            new = t[::-1, ::-1] * 1.5
        elif name == "same":
            new = t + 0
        elif numpy:
            new = t.copy()
            np.put_along_axis(new, INDEX[:1], other[:1], 0)
            np.put_along_axis(new, INDEX[1:], other[1:2], 0)
        else:
            new = F.scatter(t, 0, Tensor(INDEX), other[:2])
        if numpy:
            t[...] = new
        else:
            t._reset(new)
    elif name == "view":
        return [t[:1], t[::-1].reshape(-1)] if not numpy else [t[:1].copy(), t[::-1].reshape(-1)]
    elif name == "keep":
        return [t[...], t.reshape(4, 3)] if not numpy else [t.copy(), t.reshape(4, 3).copy()]
    elif name == "old":
        return [t * 1]
    elif name == "sum":
        return [(t * other).sum(1)]
    return []


MODES = {"eager": None, "trace": {}, "without host": {"without_host": True}}


def check(steps, seed, mode):
    """Three calls: the second is the first that a plan of the first one serves."""
    random = np.random.default_rng(seed)
    first = [random.uniform(-1, 1, SHAPE).astype(np.float32) for _ in range(5)]
    states, arrays = States(first, mode != "without host"), Arrays(first)
    inputs, truths = [Tensor(a) for a in first[3:]], [a.astype(np.float64) for a in first[3:]]

    def function(*inputs):
        return run(steps, states, inputs, False)

    traced = function if MODES[mode] is None else trace(function, **MODES[mode])
    for _ in range(3):
        got, wanted = traced(*inputs), run(steps, arrays, truths, True)
        named = zip((*got, *states.all(), *inputs), (*wanted, *arrays.all(), *truths), strict=True)
        for mine, truth in named:
            np.testing.assert_allclose(mine.numpy(), truth, rtol=2e-5, atol=2e-5)


@settings(max_examples=120, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, 2**20), st.sampled_from(sorted(MODES)))
@example([("number", 2, "row", 1), ("number", 2, "last row", 2)], 0, "trace")
@example([("add", 2, 4), ("copy", 2, "all", 2)], 0, "without host")
@example([("train",), ("number", 0, "row", 0)], 0, "trace")
@example([("view", 2, 0), ("scale", 2, 0)], 0, "without host")
@example([("keep", 2, 0), ("add", 2, 4), ("read",), ("view", 2, 0), ("number", 2, "row", 3)], 0, "trace")
def test_partial_writes(steps, seed, mode):
    check(steps, seed, mode)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_rest_keeps_what_was_done_to_it_before(part, mode):
    """For each kind of part: after another partial write, after arithmetic, after an update, and before arithmetic."""
    check([("number", 2, "row", 1), ("copy", 2, part, 4)], 1, mode)
    check([("add", 2, 4), ("number", 2, part, 2), ("scale", 2, 0)], 2, mode)
    check([("train",), ("number", 0, part, 0), ("mix", 3, part, 1)], 3, mode)
    check([("number", 4, "all", 0), ("copy", 4, part, 5), ("roll", 4, 5)], 4, mode)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("kind", ["view", "keep", "old", "sum"])
def test_what_is_returned_is_what_was_there(kind, mode):
    """Also where the memory that it was taken from is written after it."""
    check([(kind, 2, 4), ("scale", 2, 0)], 1, mode)
    check([(kind, 4, 5), ("number", 4, "row", 2)], 2, mode)
    check([("add", 2, 4), (kind, 2, 4), ("number", 2, "odd rows", 3)], 3, mode)
    check([(kind, 0, 4), ("train",)], 4, mode)


class Made:
    """What a function has computed itself."""

    def __init__(self, values):
        self.values = values

    def all(self):
        return self.values[:4]

    def look(self, x):
        pass


def check_files(steps, seed, formats):
    random = np.random.default_rng(seed)

    def function(*inputs, numpy=False):
        made = [x * 1.5 for x in inputs]
        return [*run(steps, Made(made), made[4:], numpy), *made]

    first, second = ([random.uniform(-1, 1, SHAPE).astype(np.float32) for _ in range(6)] for _ in range(2))
    traced = trace(function, without_host=True, capture_as_const=True)
    traced(*map(Tensor, first))
    wanted = function(*(a.astype(np.float64) for a in second), numpy=True)
    for kind in formats:
        file = io.BytesIO()
        traced.dump(file, dump_format=kind)
        if kind == "ONNX":
            found = session_of(sound(file)).run(None, {f"arg_{i}": a for i, a in enumerate(second)})
        else:
            file.seek(0)
            found = [t.numpy() for t in load(file)(*map(Tensor, second))]
        for mine, truth in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine, truth, rtol=2e-5, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP.filter(lambda step: step != ("train",)), min_size=1, max_size=8), st.integers(0, 2**20))
@example([("number", 2, "none", 1)], 0)
def test_partial_writes_of_what_a_file_computes(steps, seed):
    check_files(steps, seed, ["tengen"])


@pytest.mark.parametrize("part", sorted(PARTS))
def test_each_kind_of_part_in_files(part):
    steps = [
        ("number", 0, part, 1),
        ("add", 0, 1),
        ("copy", 0, part, 2),
        ("mix", 3, part, 0),
        ("view", 0, 0),
        ("scale", 0, 0),
    ]
    check_files(steps, 1, ["tengen", "ONNX"])


def two_elements(a, e):
    a[0] = 5.0
    a[1] = 6.0


def padding(a, e):
    a += e
    a[1:3] = 5.0


def cleared(a, e):
    a[...] = 0.0
    a[0] = e[0]


def every_other(a, e):
    a += e
    a[::2] = 0.0


def itself(a, e):
    a += e
    a[...] = a


def clamped(a, e):
    a += e
    a[a > 103] = 103.0


def queue(a, e):
    """The newest first: everything moves on by one place, then the first is written."""
    a[1:] = a[:-1]
    a[0] = e[3] * 2.0


def cache(a, e):
    """Of keys: what is written at a place that a tensor says, before and after what is there is read."""
    total = a.sum()
    a[Tensor([2, 3])] = e[:2]
    return total, a.sum()


WRITES = [
    (two_elements, [5, 6, 100, 100], [5, 6, 100, 100]),
    (padding, [101, 5, 5, 104], [102, 5, 5, 108]),
    (cleared, [1, 0, 0, 0], [1, 0, 0, 0]),
    (every_other, [0, 102, 0, 104], [0, 104, 0, 108]),
    (itself, [101, 102, 103, 104], [102, 104, 106, 108]),
    (clamped, [101, 102, 103, 103], [102, 103, 103, 103]),
    (queue, [8, 100, 100, 100], [8, 8, 100, 100]),
    (cache, [100, 100, 1, 2], [100, 100, 1, 2]),
]


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize(("function", "first", "second"), WRITES, ids=[row[0].__name__ for row in WRITES])
def test_what_programs_do(function, first, second, mode):
    """With an outside tensor and with an argument; `e` is 1, 2, 3, 4."""
    e = Tensor([1.0, 2.0, 3.0, 4.0])
    for argument in (False, True):
        a = Tensor([100.0] * 4)
        call = partial(function, e=e) if argument else partial(function, a, e)
        traced = call if MODES[mode] is None else trace(call, **MODES[mode])
        for wanted in (first, second):
            traced(*([a] if argument else []))
            assert a.tolist() == wanted


@pytest.mark.parametrize("mode", sorted(MODES))
def test_a_step_of_an_optimizer_and_then_a_row(mode):
    """The padding row of an embedding stays 0, the others learn."""
    weight = Parameter(np.ones((3, 2), np.float32))
    manager, optimizer = GradManager().attach([weight]), SGD([weight], 0.5)

    def step(x):
        with manager:
            manager.backward((weight * x).sum())
        optimizer.step().clear_grad()
        weight[0] = 0.0

    traced = step if MODES[mode] is None else trace(step, **MODES[mode])
    for number in (1, 2, 3):
        traced(Tensor([[1.0, 2.0]]))
        assert weight.tolist() == [[0, 0], *[[1 - 0.5 * number, 1 - number]] * 2]


@pytest.mark.parametrize("without_host", [False, True])
def test_a_tensor_without_elements_is_changed_and_returned(without_host):
    """Nothing is written, so nothing takes over the memory that an output lies in."""
    state = Tensor(np.zeros(0), dtype="float32")

    def function():
        nonlocal state
        seen = state.reshape(1, 0)
        state += 1
        return seen, state * 2

    traced = trace(function, without_host=without_host)
    for _ in range(3):
        assert [y.shape for y in traced()] == [(1, 0), (0,)]
    assert state.shape == (0,)
