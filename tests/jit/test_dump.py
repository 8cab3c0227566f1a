"""`trace.dump`: what can be dumped, and what cannot, is said. Networks are in test_networks.py, files in test_program_file.py."""

from __future__ import annotations

import io

import numpy as np
import pytest

import tengen.functional as F
from tengen import Parameter, Tensor
from tengen.base.errors import SerializationError
from tengen.jit import TraceError, load, trace

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])


def dumped(function: trace, **options) -> io.BytesIO:
    file = io.BytesIO()
    function.dump(file, **options)
    file.seek(0)
    return file


@MODES
def test_captured_tensors_go_into_the_file_as_they_were(without_host):
    w = Parameter(np.float32([1, 2]))
    table = Tensor(np.float32([10, 20]))

    @trace(without_host=without_host, capture_as_const=True)
    def function(x, pair):
        return x * w + table, {"rest": pair[1] - 1.5}

    given = Tensor([3.0, 4.0]), (Tensor([0.0]), Tensor([[2, 3]], dtype="int32"))
    function(*given)
    w.set_value(np.float32([5, 5]))
    loaded = load(dumped(function, arg_names=["x", "unused", "z"], output_names=["y", "rest"]))
    assert [a.name for a in loaded.arguments] == ["x", "unused", "z"]
    y, rest = loaded(given[0], given[1][0], z=given[1][1])
    assert y.tolist() == [13, 28] and rest.tolist() == [[0.5, 1.5]]


def test_without_host_captured_tensors_stay():
    w = Parameter(np.float32([1, 2]))
    function = trace(lambda x: x * w, without_host=True, capture_as_const=True)
    assert function(Tensor([1.0, 1.0])).tolist() == [1, 2]
    w += 1
    assert function(Tensor([1.0, 1.0])).tolist() == [1, 2]


def test_record_only_runs_nothing():
    w = Parameter(np.float32([1, 2]))
    function = trace(lambda x: (x * w).sum(), record_only=True, capture_as_const=True)
    result = function(Tensor([1.0, 1.0]))
    assert result.shape == ()
    with pytest.raises(RuntimeError, match="never computed"):
        result.numpy()
    assert load(dumped(function))(Tensor([1.0, 1.0])).item() == 3


def test_default_names():
    function = trace(lambda x, y: (x + y, x), without_host=True, capture_as_const=True)
    function(Tensor([1.0]), Tensor([2.0]))
    loaded = load(dumped(function))
    assert [a.name for a in loaded.arguments] == ["arg_0", "arg_1"]
    assert [a.name for a in loaded.outputs] == ["output_0", "output_1"]


def test_random_numbers_are_those_of_the_recording():
    from tengen.random import RNG

    rng = RNG(seed=3)
    function = trace(lambda x: x + rng.uniform(size=3), capture_as_const=True)
    first = function(Tensor(np.zeros(3, np.float32)))
    np.testing.assert_array_equal(load(dumped(function))(Tensor(np.zeros(3, np.float32))).numpy(), first.numpy())


def test_what_cannot_be_dumped_says_why():
    x, w = Tensor([1.0]), Parameter(np.float32([1]))
    with pytest.raises(TraceError, match="has not been called"):
        dumped(trace(lambda x: x + w, capture_as_const=True))
    function = trace(lambda x: x + w)
    function(x)
    with pytest.raises(TraceError, match="capture_as_const=True"):
        dumped(function)

    @trace(capture_as_const=True)
    def step(x):
        nonlocal w
        w += x
        return w * 2

    step(x)
    with pytest.raises(TraceError, match="step changes tensors"):
        dumped(step)
    function = trace(lambda x: 3, capture_as_const=True)
    function(x)
    with pytest.raises(TraceError, match="must return tensors"):
        dumped(function)
    function = trace(F.exp, capture_as_const=True)
    function(x)
    with pytest.raises(ValueError, match="'tengen' or 'ONNX', got 'MGE'"):
        dumped(function, dump_format="MGE")
    with pytest.raises(ValueError, match="1 argument must have as many names"):
        dumped(function, arg_names=["a", "b"])
    with pytest.raises(ValueError, match="only ONNX"):
        dumped(function, dynamic_batch=True)


def test_a_damaged_file_is_one_clear_error(tmp_path):
    function = trace(lambda x: x * Tensor(np.arange(100.0)), capture_as_const=True)
    function(Tensor([1.0]))
    path = tmp_path / "f.tg"
    function.dump(path)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", whole[:200] + b"x" + whole[201:], b"PK" + whole):
        path.write_bytes(broken)
        with pytest.raises(SerializationError, match=r"f\.tg"):
            load(path)
