"""`trace.dump`: what can be dumped, and what cannot, is said. Networks are in test_networks.py, files in test_program_file.py."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from onnx_harness import assert_same, session_of, sound

import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.autodiff import GradManager
from tengen.base.errors import SerializationError
from tengen.base.naming import record_scope
from tengen.base.usage import UsageWarning
from tengen.compiler.program import Node
from tengen.jit import TraceError, exclude_from_trace, load, trace
from tengen.jit.program_file import load_program
from tengen.optimizer import SGD

MODES = pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])


def dumped(function: trace, **options) -> io.BytesIO:
    file = io.BytesIO()
    function.dump(file, **options)
    file.seek(0)
    return file


@MODES
def test_captured_tensors_go_into_the_file_as_a_call_would_find_them(without_host):
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
    want = function(*given)[0] if not without_host else Tensor([13.0, 28.0])  # which has kept them since its first call
    assert y.tolist() == want.tolist() == ([13, 28] if without_host else [25, 40])
    assert rest.tolist() == [[0.5, 1.5]]


def test_the_name_of_a_file_says_which_format_it_is_written_in(tmp_path):
    @trace(capture_as_const=True)
    def double(x):
        return x + x

    double(Tensor([1.0]))
    for name in ("double.onnx", "double.ONNX"):
        double.dump(str(tmp_path / name), arg_names=["x"])
        assert session_of(sound(io.BytesIO((tmp_path / name).read_bytes()))).get_inputs()[0].name == "x"
    double.dump(tmp_path / "own.onnx", arg_names=["x"], dump_format="tengen")
    assert load(tmp_path / "own.onnx")(Tensor([2.0])).tolist() == [4]


FORMATS = pytest.mark.parametrize("dump_format", ["tengen", "ONNX"])


def model_in(file: io.BytesIO, dump_format: str):
    """The function in a file, of arrays."""
    if dump_format == "tengen":
        loaded = load(file)
        return lambda x: loaded(Tensor(x)).numpy()
    run = session_of(sound(file))
    return lambda x: run.run(None, {"x": x})[0]


@FORMATS
@pytest.mark.parametrize("options", [{}, {"record_only": True}], ids=["host", "record only"])
@pytest.mark.parametrize(
    "weight",
    [lambda w: w, lambda w: w.detach(), lambda w: Parameter(w), lambda w: copy.copy(w) * 1, lambda w: w.reshape(2, 3)],
    ids=["itself", "detached", "a parameter", "copied", "a view"],
)
def test_weights_in_a_file_are_those_of_the_network_when_it_is_written(dump_format, options, weight):
    w = Parameter(np.ones((2, 3), np.float32))
    bias = Tensor(np.float32([1, 2, 3]))
    infer = trace(lambda x: F.matmul(x, weight(w)) + bias * 2, capture_as_const=True, **options)
    x = np.float32([[1, 2], [3, 4]])
    infer(Tensor(x))
    for k in range(2):
        w *= 2
        bias.set_value(np.float32([k, k, k]))
        model = model_in(dumped(infer, arg_names=["x"], dump_format=dump_format), dump_format)
        np.testing.assert_allclose(model(x), x @ w.numpy() + bias.numpy() * 2, rtol=1e-6)


@FORMATS
def test_a_trained_network_in_a_file(dump_format):
    net = M.Sequential(M.Conv2d(1, 2, 3), M.BatchNorm2d(2), M.ReLU())
    gm, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.5)
    infer = trace(lambda x: net(x), capture_as_const=True)
    x = np.random.default_rng(0).standard_normal((2, 1, 5, 5), np.float32)
    net.eval()
    first = infer(Tensor(x)).numpy()
    net.train()
    with gm:
        gm.backward((net(Tensor(x)) ** 2).sum())
    sgd.step()
    net.eval()
    model = model_in(dumped(infer, arg_names=["x"], dump_format=dump_format), dump_format)
    np.testing.assert_allclose(model(x), infer(Tensor(x)).numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(model(x) - first).max() > 0.1


@pytest.mark.parametrize("without_host", [False, True], ids=["host", "without host"])
def test_weights_of_a_model_of_any_batch_size(without_host):
    w, bias = Parameter(np.ones((2, 3), np.float32)), Tensor(np.float32([1, 2, 3]))
    infer = trace(lambda x: F.matmul(x, w.detach()) + bias, without_host=without_host, capture_as_const=True)
    x = np.float32([[1, 2], [3, 4]])
    infer(Tensor(x))
    w *= 2
    bias += 1
    file = dumped(infer, arg_names=["x"], dump_format="ONNX", dynamic_batch=True)
    model = model_in(file, "ONNX")
    for rows in (x, np.float32([[1, 2]] * 5)):
        want = rows @ np.ones((2, 3)) * (1 if without_host else 2) + [1, 2, 3] + (not without_host)
        np.testing.assert_allclose(model(rows), want, rtol=1e-6)


def test_what_python_puts_into_the_last_call_goes_into_the_file():
    state = {"factor": 1.0, "weight": Tensor([1.0]), "data": [1.0]}
    function = trace(lambda x: x * state["factor"] * state["weight"] + Tensor(state["data"]), capture_as_const=True)
    for k in (1.0, 2.0, 3.0):
        state.update(factor=k, weight=Tensor([10 * k]), data=[k])
        assert function(Tensor([1.0])).item() == 10 * k * k + k
        assert load(dumped(function))(Tensor([1.0])).item() == 10 * k * k + k


def test_what_a_function_writes_into_tensors_of_its_own_is_no_change():
    w = Parameter(np.float32([1, 2]))

    @trace(capture_as_const=True)
    def function(x):
        y = Parameter(w) * x
        y += 1
        y[0] = 5.0
        return y

    function(Tensor([3.0, 4.0]))
    w += 1
    assert load(dumped(function))(Tensor([3.0, 4.0])).tolist() == [5, 13]


@MODES
def test_a_tensor_that_is_gone_was_changed_all_the_same(without_host):
    def function(x):
        x[0] = 1.0
        return x * 2

    traced = trace(function, without_host=without_host, capture_as_const=True)
    traced(Tensor([3.0, 4.0]))  # which nobody holds any more
    with pytest.raises(TraceError, match="changes tensors that it has not computed"):
        dumped(traced)


def test_what_no_longer_says_what_a_call_would_do_cannot_be_dumped():
    w = Parameter(np.float32([1, 2]))

    @trace(capture_as_const=True)
    def function(x):
        y = x + 1
        with exclude_from_trace():
            y = y * 2
        return y + x

    function(Tensor([1.0]))
    with pytest.raises(TraceError, match="function excludes operations"):
        dumped(function)
    function = trace(lambda x: x * Tensor(w.numpy() * 2), capture_as_const=True)
    for k in (1.0, 2.0):
        w.set_value(np.float32([k]))
        function(Tensor([1.0]))
        assert load(dumped(function))(Tensor([1.0])).item() == 2 * k
    w += 1
    with pytest.raises(TraceError, match="reads the value of a tensor from outside"):
        dumped(function)
    w.set_value(np.float32([1, 2]))
    function = trace(lambda x: x * w, capture_as_const=True)
    function(Tensor([1.0]))
    w.set_value(np.ones(3, np.float32))
    with pytest.raises(TraceError, match=r"was float32\[2\] when it was called, and is float32\[3\] now"):
        dumped(function)


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
    with pytest.raises(TraceError, match="step changes tensors that it has not computed"):
        dumped(step)
    function = trace(lambda x: 3, capture_as_const=True)
    function(x)
    with pytest.raises(TraceError, match="must return tensors"):
        dumped(function)
    function = trace(F.exp, capture_as_const=True)
    function(x)
    with pytest.raises(ValueError, match="'tengen' or 'ONNX', got 'MGE'"):
        dumped(function, dump_format="MGE")
    with pytest.raises(ValueError, match="1 argument must have 1 name"):
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


def test_a_function_may_write_into_what_it_makes_itself():
    table = Tensor(np.float32([[9, 8], [7, 6], [5, 4]]))

    def function(x, i):
        z = x * 1.5
        z[0] = 1.0
        z[1:, ::-1] += x[:2]
        z[i] = table[:2]
        blank = F.zeros((3, 2))
        blank[z > 6] = 2.0
        blank[[0, 2], [1, 1]] = x[0]
        scale = Tensor(np.ones((3, 2), np.float32)) + 0  # a copy, as the message advises
        scale[1] = 3.0
        blank *= scale
        part = z[1:]
        part *= 2.0
        return z, blank, part

    x, i = np.arange(6, dtype=np.float32).reshape(3, 2), np.int32([2, 0])
    z = x * 1.5
    z[0] = 1
    z[1:, ::-1] += x[:2]
    z[i] = [[9, 8], [7, 6]]
    blank = np.where(z > 6, np.float32(2), np.float32(0))
    blank[[0, 2], [1, 1]] = x[0]
    blank[1] *= 3
    for without_host in (False, True):
        traced = trace(function, without_host=without_host, capture_as_const=True)
        traced(Tensor(np.zeros((3, 2), np.float32)), Tensor(np.int32([0, 1])))
        found = [t.numpy() for t in load(dumped(traced))(Tensor(x), Tensor(i))]
        assert_same(found, [z, blank, 2 * z[1:]])
        model = session_of(sound(dumped(traced, dump_format="ONNX")))
        assert_same(model.run(None, {"arg_0": x, "arg_1": i}), [z, blank, 2 * z[1:]])


@MODES
def test_what_there_was_before_the_call_is_not_written_into_a_file(without_host):
    held = Tensor([1.0, 2.0])

    def to_argument(x):
        x[0] = 1.0
        return x * 2

    def to_state(x):
        held[0] = 1.0
        return x * held

    def takes_over(x):
        held._reset(x * 2)
        return held + 1

    for function in (to_argument, to_state, takes_over):
        traced = trace(function, without_host=without_host, capture_as_const=True)
        traced(Tensor([3.0, 4.0]))  # which nobody holds any more
        with pytest.raises(TraceError, match="changes tensors that it has not computed"):
            dumped(traced)


class _Block(M.Module):
    def __init__(self):
        super().__init__()
        self.linear = M.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.linear(x)) + F.relu(x)


@pytest.mark.parametrize(
    "options, weights, nodes",
    [
        ({}, {"0.linear.weight", "0.linear.bias"}, set()),
        ({"keep_var_name": 0}, set(), set()),
        ({"keep_var_name": 0, "keep_param_name": True}, {"0.linear.weight", "0.linear.bias"}, set()),
        (
            {"keep_opr_name": True},
            {"0.linear.weight", "0.linear.bias"},
            {"outer.0.linear.Linear", "outer.0.RELU[0]", "outer.0.RELU[1]", "outer.0.ADD"},
        ),
    ],
)
def test_parts_are_named_by_their_places_in_modules(options, weights, nodes):
    net = M.Sequential(_Block())

    @trace(without_host=True, capture_as_const=True)
    def f(x):
        with record_scope("outer"):
            return net(x)

    f(Tensor(np.ones((2, 4), np.float32)))
    file = io.BytesIO()
    f.dump(file, **options)
    function = load_program(io.BytesIO(file.getvalue()))
    assert {name for v, name in function.names.items() if v in function.constants} == weights
    assert {name for node, name in function.names.items() if isinstance(node, Node)} == nodes


def test_options_of_the_reference_are_taken_and_others_refused():
    function = trace(F.exp, capture_as_const=True)
    function(Tensor([1.0]))
    plain = dumped(function, user_info={"a": 1}).getvalue()
    same = dumped(function, user_info={"a": 1}, optimize_for_inference=True, enable_nchw4=True, strip_info_file=None)
    assert same.getvalue() == plain
    without = dumped(function, user_info={"a": 1}, enable_metadata=False)
    assert without.getvalue() == dumped(function).getvalue() != plain
    with pytest.raises(ValueError, match="dump: unknown option 'dynamic_bach'; did you mean 'dynamic_batch'"):
        dumped(function, dynamic_bach=True)
    with pytest.raises(ValueError, match=r"unknown option 'opset'; there are .*arg_names.*silent"):
        dumped(function, opset=13)
    with pytest.raises(ValueError, match="append=True is not possible"):
        dumped(function, append=True)
    with pytest.warns(UsageWarning, match="dump: enable_ioc16 has no effect"):
        dumped(function, enable_ioc16=True)
