"""Loaded functions compute what was recorded; the truth is NumPy in float64."""

from __future__ import annotations

import io

import limited
import numpy as np
import pytest
from frozen_functions import frozen

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor, config
from tengen.amp import autocast
from tengen.autodiff import GradManager
from tengen.compiler import passes
from tengen.compiler.program import Type
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets import host
from tengen.compiler.view import contiguous
from tengen.core.ops.create import Arange
from tengen.core.ops.elemwise import SQRT, Elemwise
from tengen.core.ops.linalg import Linear
from tengen.core.ops.normalization import BatchNormInference
from tengen.core.ops.shape import Transpose
from tengen.jit import Loaded, load, trace
from tengen.jit.frozen import freeze
from tengen.jit.program_file import save_program

RNG = np.random.default_rng(3)
X = RNG.standard_normal((5, 4)).astype(np.float32)
W, B = RNG.standard_normal((3, 4)).astype(np.float32), RNG.standard_normal(3).astype(np.float32)


def loaded(function) -> Loaded:
    file = io.BytesIO()
    save_program(file, function)
    file.seek(0)
    return load(file)


def linear():
    return frozen(lambda x, w, b: Elemwise("RELU")(Linear(True)(x, w, b)), [X], [W, B], {"classes": ["a", "b", "c"]})


def test_a_layer():
    run = loaded(linear())
    truth = np.maximum(X.astype(np.float64) @ W.T.astype(np.float64) + B, 0)
    for result in (run(X), run(Tensor(X)), run(x0=X), run(X.astype(np.float64)), run(X.tolist())):
        assert result.dtype == np.float32
        np.testing.assert_allclose(result.numpy(), truth, rtol=1e-6, atol=1e-6)
    assert run.metadata == {"classes": ["a", "b", "c"]}
    assert run.arguments == (("x0", (5, 4), "float32"),)
    assert run.outputs == (("y0", (5, 3), "float32"),)


def test_what_is_known_is_computed_at_load():
    mean, variance, scale, shift = (RNG.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4))
    run = loaded(frozen(lambda x, *rest: BatchNormInference()(x, *rest, 1e-5), [X], [mean, variance, scale, shift]))
    truth = (X.astype(np.float64) - mean) / np.sqrt(variance.astype(np.float64) + 1e-5) * scale + shift
    np.testing.assert_allclose(run(X).numpy(), truth, rtol=1e-6, atol=1e-6)
    assert {n.op.name for n in run._op.program.nodes} & {"rsqrt", "sqrt"} == set()
    assert len(run._weights) == 3  # mean, shift, and the scale by the deviation


def test_views_of_weights_stay_views():
    run = loaded(frozen(lambda x, w: x * Transpose((1, 0))(SQRT(w)), [X], [np.abs(X.T.copy())]))
    assert [n.op.name for n in run._op.program.nodes] == ["Transpose", "mul"]
    np.testing.assert_allclose(run(X).numpy(), X * np.sqrt(np.abs(X.astype(np.float64))), rtol=1e-6)


def test_several_outputs_arguments_and_weights_as_outputs():
    run = loaded(frozen(lambda x, w: (x, x + w, w, SQRT(w)), [X], [np.abs(X)]))
    results = run(X)
    for got, want in zip(results, (X, X + np.abs(X), np.abs(X), np.sqrt(np.abs(X))), strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_without_arguments():
    run = loaded(frozen(lambda w: w + 1.0, [], [X]))
    np.testing.assert_allclose(run().numpy(), X + 1)


def test_without_inputs():
    function = frozen(lambda x: Arange(4, "float32", "")(x.builder.constant(1.0), x.builder.constant(2.0)), [X])
    assert loaded(function)(X).tolist() == [1.0, 3.0, 5.0, 7.0]
    bare = function._replace(arguments=())
    bare.program.inputs = ()
    assert loaded(bare)().tolist() == [1.0, 3.0, 5.0, 7.0]


def test_bfloat16_weights():
    bits = (np.float32([1.5, -2.0, 0.25, 3.0]).view(np.uint32) >> 16).astype(np.uint16)
    function = frozen(lambda x, w: x * w, [Type("bfloat16", (5, 4)), Type("bfloat16", (4,))])
    function = function._replace(arguments=("x0",), constants={function.program.inputs[1]: bits})
    result = loaded(function)(Tensor(np.ones((5, 4)), dtype="bfloat16"))
    assert result.desc.dtype == "bfloat16"
    np.testing.assert_array_equal(result.numpy(), np.broadcast_to(np.float32([1.5, -2.0, 0.25, 3.0]), (5, 4)))


def test_numbers_are_arguments():
    run = loaded(frozen(lambda x, s: x * s, [X, Type("weak_float", ())]))
    np.testing.assert_allclose(run(X, 3).numpy(), X * 3)
    with pytest.raises(TypeError, match="x1 must be a float, got str"):
        run(X, "3")


def test_gradients_reach_the_arguments():
    run, x = loaded(linear()), Tensor(X)
    manager = GradManager().attach([x])
    with manager:
        manager.backward(run(x).sum())
    truth = ((X @ W.T + B) > 0).astype(np.float64) @ W
    np.testing.assert_allclose(x.grad.numpy(), truth, rtol=1e-5, atol=1e-6)


WRONG = {
    "shape": (lambda run: run(X[:2]), ValueError, r"x0 must have the shape \(5, 4\), got \(2, 4\)"),
    "dtype": (lambda run: run(Tensor(X, dtype="float16")), TypeError, "x0 must be of float32, got float16"),
    "kind": (lambda run: run(X.astype(np.int32).astype(complex)), TypeError, "complex"),
    "missing": (lambda run: run(), TypeError, "needs x0"),
    "too many": (lambda run: run(X, X), TypeError, "takes 1 arguments, x0, got 2"),
    "unknown": (lambda run: run(X, y=X), TypeError, "'y' is not one of its arguments, x0"),
    "twice": (lambda run: run(X, x0=X), TypeError, "'x0' is given twice"),
}


@pytest.mark.parametrize("call, error, message", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call(loaded(linear()))


def test_a_path(tmp_path):
    path = tmp_path / "layer.tengen"
    save_program(path, linear())
    assert repr(load(path)) == "Loaded(layer.tengen: (x0: float32[5, 4]) -> (y0: float32[5, 3]))"
    with pytest.raises(tengen.base.errors.SerializationError):
        load(__file__)


UNFIT = {
    "too few names": (lambda v: (["x"], ["y"], {}), "2 arguments must have 2 names, got 1"),
    "too many names": (lambda v: (["x", "w"], ["y", "z"], {}), "1 output must have 1 name, got 2"),
    "a name twice": (lambda v: (["x", "x"], ["y"], {}), "the names of all arguments must be different non-empty strings"),
    "a name that is none": (lambda v: (["x", ""], ["y"], {}), "must be different non-empty strings"),
    "another shape": (lambda v: (["x"], ["y"], {v.inputs[1]: W}), r"shape \(3, 4\) is given for an input of float32\[5,4\]"),
    "another dtype": (lambda v: (["x"], ["y"], {v.inputs[1]: X.astype("int32")}), "a constant of int32"),
    "no input": (lambda v: (["x", "w"], ["y"], {v.outputs[0]: X}), "a value that is not an input"),
}  # fmt: skip


@pytest.mark.parametrize("parts, message", UNFIT.values(), ids=UNFIT.keys())
def test_parts_that_do_not_fit_the_program(parts, message):
    program = frozen(lambda x, w: x + w, [X, X]).program
    with pytest.raises(ValueError, match=message):
        freeze(program, *parts(program))


def test_weights_may_be_tensors():
    program = frozen(lambda x, w: x + w, [Type("bfloat16", (5, 4))] * 2).program
    weight = Tensor(np.ones((5, 4)), dtype="bfloat16")
    function = freeze(program, ["x"], ["y"], {program.inputs[1]: weight})
    assert function.constants[program.inputs[1]].dtype == np.uint16
    assert loaded(function)(weight).tolist() == np.full((5, 4), 2.0).tolist()


def test_a_small_file_that_asks_for_a_huge_table_takes_no_memory_to_load():
    code = """
import io, zlib
from tengen.jit import load, trace
from tengen.jit.program_file import _PREFIX

def crafted(function, small, large):
    traced, file = trace(function, capture_as_const=True), io.BytesIO()
    traced(tengen.tensor([1.0, 2.0]))
    traced.dump(file)
    prefix, content = _PREFIX.unpack(file.getvalue()[: _PREFIX.size]), file.getvalue()[_PREFIX.size :]
    header = content[: prefix[3]].rstrip().replace(b"%d" % small, b"%d" % large)
    header += b" " * (-(len(header) + _PREFIX.size) % 64)
    start = _PREFIX.pack(*prefix[:2], zlib.crc32(header), len(header), *prefix[4:])
    return io.BytesIO(start + header + content[prefix[3] :])

functions = [
    lambda x: x * F.cumsum(F.full((7919,), 2.0), 0)[:2],
    lambda x: x * F.cumsum(F.arange(7919), 0).sum(),
    lambda x: (x + 1, F.cumsum(F.ones((7919,)), 0)),
]
files = [crafted(function, 7919, 1 << 30) for function in functions]
same = crafted(functions[0], 7919, 7919)
limit(1500)
for file in files:
    made = load(file)
    try:
        made(tengen.tensor([1.0, 2.0]))
        print("nothing was raised")
    except MemoryError as error:
        assert "out of memory" in str(error)
print(load(same)(tengen.tensor([1.0, 2.0])).tolist())
"""
    assert limited.run(code) == "[2.0, 8.0]\n"


# -- in another precision ------------------------------------------------------------------------------------------------


class Layers(M.Module):
    """Products with what stands between them: normalisation, a residual, a softmax."""

    def __init__(self):
        super().__init__()
        self.first, self.bn, self.second = (
            M.Conv2d(3, 16, 3, padding=1),
            M.BatchNorm2d(16),
            M.Conv2d(16, 16, 3, padding=1),
        )
        self.head = M.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.bn(self.first(x)))
        x = F.relu(self.second(x) + x)
        return F.softmax(self.head(F.mean(x, (2, 3))), axis=1)


def dumped(function, *inputs) -> io.BytesIO:
    run, file = trace(capture_as_const=True)(function), io.BytesIO()
    run(*inputs)
    run.dump(file)
    file.seek(0)
    return file


def test_in_bfloat16_weights_are_converted_once_and_layers_hand_it_on():
    tengen.random.seed(0)
    net, x = Layers(), Tensor(RNG.standard_normal((2, 3, 9, 9)).astype(np.float32))
    net.eval()
    file, exact = dumped(net, x), net(x).numpy()
    run = load(file, precision="bfloat16")
    assert run.outputs[0].dtype == "float32"
    large = [w for w in run._weights if w.ndim > 1 and w.size > 16]
    assert len(large) == 3 and {w.dtype.name for w in large} == {"bfloat16"}
    program = passes.run(run._op.program)
    made = Scheduler(program, [contiguous(v.shape) for v in program.inputs], host.host_target())
    made.lower()
    ends = {*program.inputs, *program.outputs}
    inside = [v for v in made.where if v not in ends and v.shape[-2:] == (9, 9)]
    assert inside and {v.dtype for v in inside} == {"bfloat16"}, [(v.op, v.type) for v in inside]
    found = run(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.numpy(), exact, atol=0.01)
    assert np.abs(found.numpy() - exact).max() > 0
    with config.override(autocast="bfloat16"), autocast(low_prec_dtype="bfloat16"):
        np.testing.assert_allclose(found.numpy(), net(x).numpy(), atol=2e-3)


def test_precisions():
    x = Tensor(X)
    for precision in ("bfloat16", "float16"):
        rnn = M.LSTM(4, 3)
        found = load(dumped(lambda x, rnn=rnn: rnn(x.reshape(5, 1, 4))[0], x), precision=precision)(x)
        np.testing.assert_allclose(found.numpy(), rnn(x.reshape(5, 1, 4))[0].numpy(), atol=0.02)
        twice = load(dumped(lambda x: F.matmul(x.astype("float64"), x.astype("float64").T), x), precision=precision)
        np.testing.assert_allclose(twice(x).numpy(), X.astype(np.float64) @ X.T, rtol=1e-9)
    with pytest.raises(ValueError, match=r"load: precision must be None, 'float16' or 'bfloat16', got 'int8'"):
        load(dumped(lambda x: x + 1, x), precision="int8")
