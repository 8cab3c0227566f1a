"""Tracebacks of errors: the lines of the program, and next to none of tengen."""

from __future__ import annotations

import io
import logging
import os
import pdb
import subprocess
import sys
import textwrap
import traceback

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Parameter
from tengen.autodiff import Function, GradManager
from tengen.base import config
from tengen.base.usage import is_ours
from tengen.core import build
from tengen.data import DataLoader
from tengen.data.dataset import ArrayDataset
from tengen.jit import trace
from tengen.optimizer import SGD


def ones(*shape):
    return F.ones(shape)


class Block(M.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = M.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv1(x)


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.layer2 = M.Sequential(Block(), Block())

    def forward(self, x):
        return self.layer2(x)


class Calls(M.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Wrong(Function):
    def forward(self, x):
        return x

    def backward(self, grad):
        return grad + ones(7)


def differentiate(function, callback=None):
    p = Parameter([1.0, 2.0])
    gm = GradManager().attach([p], callbacks=callback)
    with gm:
        gm.backward(function(p))


def step():
    p = Parameter([1.0, 2.0])
    optimizer = SGD([p], lr=0.1)
    p.grad = ones(7)
    optimizer.step()


def add_in_place():
    x = ones(3)
    x += ones(4)


def assign():
    ones(3)[:2] = ones(7)


def wrong_callback(tensor, grad):
    return grad + ones(7)


def traced(**options):
    def add(x, y):
        return F.relu(x + y)

    return lambda: trace(add, **options)(ones(3), ones(4))


class Producer:
    def __dlpack__(self):
        raise ValueError("no memory")


def loaded():
    function = trace(lambda x: x + 1, without_host=True, capture_as_const=True)
    function(ones(3))
    file = io.BytesIO()
    function.dump(file)
    file.seek(0)
    return tengen.jit.load(file)


# What is wrong, the functions of this file that stand in the traceback below the call, how many frames of tengen may.
CASES = {
    "an operator": (lambda: ones(2, 3) + ones(4), [], 0),
    "an operator in place": (add_in_place, ["add_in_place"], 0),
    "a convolution": (lambda: F.conv2d(ones(1, 3, 8, 8), ones(4, 5, 3, 3)), [], 2),
    "a function": (lambda: F.concat([ones(2, 3), ones(2, 4)], 0), [], 2),
    "a method": (lambda: ones(6).reshape(4, 2), [], 2),
    "an axis": (lambda: ones(2).sum(axis=3), [], 2),
    "an axis of a function": (lambda: F.argmax(ones(2), (0, 3)), [], 2),
    "an axis of a variance": (lambda: F.std(ones(2), 3), [], 2),
    "a parameter": (lambda: F.conv2d(ones(1, 3, 8, 8), ones(4, 3, 3, 3), stride=[1, 0]), [], 1),
    "a loaded function": (lambda: loaded()(ones(4)), [], 1),
    "a file": (lambda: tengen.load(io.BytesIO(b"no such thing")), [], 1),
    "a dumped function": (lambda: tengen.jit.load(io.BytesIO(b"no such thing")), [], 1),
    "memory of an old producer": (lambda: tengen.utils.dlpack.from_dlpack(Producer()), ["__dlpack__"], 2),
    "a fused function": (lambda: tengen.jit.fuse(lambda x, y: x + y)(ones(3), ones(4)), ["<lambda>"], 1),
    "a dump": (lambda: trace(ones).dump("never"), [], 1),
    "an index": (lambda: ones(3)[7], [], 1),
    "an index tensor": (lambda: ones(3)[tengen.tensor([9])], [], 1),
    "an assignment": (assign, ["assign"], 1),
    "an argument": (lambda: F.exp("x"), [], 1),
    "a module": (lambda: Net()(ones(1, 5, 8, 8)), ["forward", "forward"], 1),
    "a traced function": (traced(), ["add"], 1),
    "a traced function without host": (traced(without_host=True), ["add"], 1),
    "a loss": (lambda: differentiate(lambda p: p[5]), ["differentiate", "<lambda>"], 1),
    "the backward of a Function": (lambda: differentiate(lambda p: Wrong()(p).sum()), ["differentiate", "backward"], 1),
    "a callback": (lambda: differentiate(lambda p: p.sum(), wrong_callback), ["differentiate", "wrong_callback"], 1),
    "an optimizer": (step, ["step"], 1),
    "a data loader": (lambda: DataLoader(ArrayDataset(np.ones(3)), num_workers=-2), [], 1),
}


def frames(error):
    """(whether it is tengen's, function) of each frame below the one that caught the error and the lambda it called."""
    found = traceback.walk_tb(error.__traceback__)
    return [(is_ours(frame.f_code.co_filename), frame.f_code.co_name) for frame, _ in found][1:]


@pytest.fixture(autouse=True)
def short():
    with config.override(traceback="short"):
        yield


@pytest.fixture
def full():
    with config.override(traceback="full"):
        yield


def caught(function):
    with pytest.raises(Exception) as error:
        function()
    return error.value


def theirs(error):
    found = [name for ours, name in frames(error) if not ours]
    return found[1:] if found and found[0] == "<lambda>" else found


@pytest.mark.parametrize("case", CASES)
def test_tracebacks_show_the_program(case):
    function, names, most = CASES[case]
    error = caught(function)
    assert theirs(error) == names
    assert sum(ours for ours, _ in frames(error)) <= most
    assert error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize("case", ["an operator", "a convolution", "a module", "an optimizer", "a traced function"])
def test_full_tracebacks_show_tengen_too(case, full):
    function, names, _ = CASES[case]
    error = caught(function)
    assert theirs(error) == names
    assert sum(ours for ours, _ in frames(error)) >= 5


@pytest.mark.parametrize(
    "source",
    [
        *(f"def f(*_): raise {kind}" for kind in ("AssertionError", "KeyError", "AttributeError", "NameError")),
        "def f(*_): max([])",
        "import json\ndef f(*_): json.loads('{')",
        "def f(*_): f()",
    ],
)
def test_faults_of_tengen_are_shown_in_full(source, monkeypatch):
    names, x = {}, ones(3, 1, 7)
    exec(compile(source, build.__file__, "exec"), names)  # as if it stood in tengen
    monkeypatch.setattr(build, "number_limits", names["f"])
    error = caught(lambda: M.Sequential(Calls(lambda x: F.exp(x)))(x))
    found = [name for ours, name in frames(error) if ours]
    assert found[-1] == "f"
    assert {"__call__", "exp", "compile_op"} < set(found)


def test_errors_of_the_program_lose_no_frame_of_it():
    def inner(x):
        return {}[x.size]

    def outer(x):
        return Calls(inner)(x)

    error = caught(lambda: M.Sequential(Calls(outer))(ones(3)))
    assert type(error) is KeyError
    assert theirs(error) == ["forward", "outer", "forward", "inner"]
    assert sum(ours for ours, _ in frames(error)) == 1


def test_chained_errors_stay():
    def chained(x):
        try:
            x + ones(4)
        except ValueError as error:
            raise RuntimeError("no sum") from error

    error = caught(lambda: Calls(chained)(ones(3)))
    cause = error.__cause__
    assert error.args[0].startswith("no sum\n") and isinstance(cause, ValueError) and error.__context__ is cause
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(cause.__traceback__)] == ["chained"]


def test_an_error_that_is_caught_and_raised_again_shows_both_lines():
    def again(x):
        try:
            return x + ones(4)
        except ValueError as error:
            raise error

    error = caught(lambda: Calls(again)(ones(3)))
    assert theirs(error) == ["forward", "again", "again"]
    assert error.__context__ is None and error.__cause__ is None


def test_what_reads_tracebacks_finds_the_line(caplog):
    def line(x):
        wanted = ones(4)
        return x + wanted

    error = caught(lambda: Calls(line)(ones(3)))
    assert "return x + wanted" in "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        Calls(line)(ones(3))
    except ValueError:
        logging.exception("no sum")
    assert "return x + wanted" in caplog.text
    output = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO("p tuple(wanted.shape)\nq\n"), stdout=output, nosigint=True, readrc=False)
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
    assert "(4,)" in output.getvalue()


def test_an_exception_in_the_middle_of_an_exception():
    """What the runtime asks about a traceback may be interrupted itself."""

    def interrupted(error, traceback):
        raise KeyboardInterrupt

    before = tengen._rt.set_hooks(traceback=interrupted)
    try:
        with pytest.raises(KeyboardInterrupt) as stopped:
            ones(3) + ones(4)
    finally:
        tengen._rt.set_hooks(traceback=before["traceback"])
    assert isinstance(stopped.value.__context__, ValueError)


def test_references_to_errors_are_given_back():
    def fails():
        with pytest.raises(ValueError):
            ones(3) + ones(4)

    fails()
    before = sys.getrefcount(ValueError), sys.getrefcount(KeyboardInterrupt)
    for _ in range(100):
        fails()
    after = sys.getrefcount(ValueError), sys.getrefcount(KeyboardInterrupt)
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


def test_the_environment_asks_for_full_tracebacks():
    program = textwrap.dedent("""
        import tengen.functional as F
        F.ones((2, 3)) + F.ones((4,))
    """)
    lines = []
    for mode in ("short", "full"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TENGEN_TRACEBACK": mode},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        lines.append(run.stderr.count('  File "'))
    assert lines[0] == 1
    assert lines[1] == 7
