"""Mixed precision in bfloat16 against NumPy, and where it holds; tests/reference compares which function has which dtype."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import _rt, amp, config, jit
from tengen._rt import apply
from tengen.amp import autocast
from tengen.autodiff import GradManager
from tengen.base.usage import UsageWarning
from tengen.compiler.targets import host
from tengen.core.ops import builtin
from tengen.optimizer import SGD

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def bfloat16() -> Iterator[None]:
    """Whatever the machine, autocast computes in bfloat16."""
    with config.override(autocast="bfloat16"):
        yield
    assert not amp.enabled


def rounded(array: np.ndarray) -> np.ndarray:
    """The values that bfloat16 has for these, as float64: 8 bits of mantissa, to nearest even."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return kept.astype(np.uint32).view(np.float32).astype(np.float64)


def close(found: tengen.Tensor, expected: np.ndarray, tolerance: float = 2.0**-8) -> None:
    """As a sum in float32 that is rounded to bfloat16 once."""
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance * scale / 4)


def data(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


# -- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (17, 33, 65), (0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_products_of_bfloat16(shape):
    m, k, n = shape
    a, b = data(m, k), data(k, n)
    x, y = tengen.tensor(a), tengen.tensor(b)
    expected = rounded(a) @ rounded(b)
    with autocast():
        for z in (F.matmul(x, y), x @ y, F.matmul(x.T, y.T, transpose_a=True, transpose_b=True), F.linear(x, y.T)):
            assert z.dtype.name == "bfloat16"
            close(z, expected)
        z = F.matmul(x[:, ::-1], y[::-1])
    close(z, expected)


def test_convolutions_of_bfloat16():
    x, w, b = data(2, 4, 6, 6), data(4, 2, 3, 3), data(1, 4, 1, 1)
    with config.override(autocast="off"), autocast():
        expected = F.conv2d(*(tengen.tensor(rounded(v), dtype="float64") for v in (x, w, b)), padding=1, groups=2)
    assert expected.dtype.name == "float64"
    with autocast():
        y = F.conv2d(*map(tengen.tensor, (x, w, b)), padding=1, groups=2)
        z = M.Conv2d(4, 4, 3, padding=1, groups=2)(tengen.tensor(x))
    assert y.dtype.name == z.dtype.name == "bfloat16"
    close(y, expected.numpy())


def test_a_recurrent_cell_rounds_what_its_products_take_and_keeps_its_state():
    x, h = data(5, 3), data(5, 4)
    cell = M.RNNCell(3, 4)
    w, u, b, d = (v.numpy() for v in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh))
    with autocast():
        y = cell(tengen.tensor(x), tengen.tensor(h))
    assert y.dtype.name == "float32"
    exact = np.tanh(rounded(x) @ rounded(w).T + b + rounded(h) @ rounded(u).T + d)
    assert 0 < np.abs(y.numpy() - exact).max() < 2**-6  # each product is rounded once more
    wide = cell(tengen.tensor(x), tengen.tensor(h))
    assert not np.array_equal(wide.numpy(), y.numpy())


@pytest.mark.parametrize(
    "make",
    [
        lambda: M.LSTM(6, 8, num_layers=2, bidirectional=True),
        lambda: M.RNN(6, 8, nonlinearity="relu"),
        lambda: M.LSTMCell(6, 8),
    ],
    ids=["LSTM", "RNN", "LSTMCell"],
)
def test_recurrent_layers_and_their_gradients(make):
    # relu has a kink: where weights drawn by chance leave a sum beside 0, rounding may take its gradient away.
    tengen.random.seed(3)
    net = make()
    x = tengen.Parameter(data(7, 6) if isinstance(net, M.LSTMCell) else data(5, 7, 6))
    gm = GradManager().attach([x, *net.parameters()])
    found = []
    for auto in (False, True):
        with gm:
            with autocast(enabled=auto):
                outputs = net(x)
            y = outputs[0]
            gm.backward(F.sum(y * y))
        assert y.dtype.name == "float32"
        found.append([y.numpy(), *(p.grad.numpy() for p in (x, *net.parameters()) if p.grad is not None)])
        for p in (x, *net.parameters()):
            p.grad = None
    assert len(found[0]) == len(found[1]) > 2
    np.testing.assert_array_equal(found[0][0] == 0, found[1][0] == 0)  # no sum has crossed the kink
    for wide, narrow in zip(*found, strict=True):
        assert narrow.dtype == np.float32
        assert not (wide.any() and np.array_equal(narrow, wide))  # no state, no gradient of its weight
        np.testing.assert_allclose(narrow, wide, rtol=0.1, atol=0.03 * np.abs(wide).max())


def test_recurrent_layers_leave_float64_alone():
    cell, x = M.LSTMCell(3, 4), tengen.tensor(data(5, 3), dtype="float64")
    cell_of_float64 = [
        tengen.tensor(p, dtype="float64") for p in (cell.weight_ih, cell.bias_ih, cell.weight_hh, cell.bias_hh)
    ]
    w, b, u, d = cell_of_float64
    state = tengen.tensor(data(5, 4), dtype="float64")
    wide = apply(builtin.LSTMCell(), x, w, b, state, u, d, state)
    with autocast():
        narrow = apply(builtin.LSTMCell(), x, w, b, state, u, d, state)
    for one, other in zip(wide, narrow, strict=True):
        assert other.dtype.name == "float64"
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_gradients_are_those_of_the_converted_operands():
    a, b, g = data(3, 4), data(4, 5), data(3, 5)
    x, w = tengen.tensor(a), tengen.Parameter(b)
    gm = GradManager().attach([x, w])
    with gm:
        with autocast():
            y = F.matmul(x, w)
        gm.backward(y, tengen.tensor(g).astype("bfloat16"))  # outside: the backward follows its forward
    assert x.grad.dtype.name == w.grad.dtype.name == "float32"
    close(x.grad, rounded(g) @ rounded(b).T)
    close(w.grad, rounded(a).T @ rounded(g))


def test_second_derivatives():
    x = tengen.tensor(3.0).reshape(1, 1)
    outer, inner = GradManager().attach(x), GradManager().attach(x)
    with autocast(), outer:
        with inner:
            y = F.matmul(F.matmul(x, x), x)
            inner.backward(y)
        first = x.grad
        x.grad = None
        outer.backward(first)
    assert first.item() == 27.0 and x.grad.item() == 18.0
    assert x.grad.dtype.name == "float32"


def test_float64_integers_and_numbers_stay():
    wide, whole = tengen.tensor([[1.5]], dtype="float64"), tengen.tensor([[3]])
    with autocast():
        assert F.matmul(wide, wide).dtype.name == F.exp(wide).dtype.name == "float64"
        assert F.matmul(wide, wide.astype("float32")).dtype.name == "float64"
        assert F.matmul(whole, whole).tolist() == [[9]] and F.matmul(whole, whole).dtype.name == "int32"
        assert F.exp(1.0).dtype.name == "float32"
        assert (tengen.tensor([2.0]).astype("bfloat16") / 3).dtype.name == "float32"


def test_arrays_are_operands_too():
    with autocast():
        assert F.matmul(np.ones((1, 2), np.float32), tengen.tensor([[1.0], [2.0]])).dtype.name == "bfloat16"
        assert F.matmul([[1.0]], tengen.tensor([[2.0]])).dtype.name == "bfloat16"


def test_errors_name_the_function():
    x = tengen.tensor([[1.0, 2.0]])
    with autocast(), pytest.raises(ValueError, match="matmul: shapes"):
        F.matmul(x, x)


# -- where it holds --------------------------------------------------------------------------------------------


def low() -> bool:
    """Whether products are low."""
    return bool(F.matmul(tengen.tensor([[1.0]]), tengen.tensor([[1.0]])).dtype.name == "bfloat16")


def test_it_ends_with_the_block():
    again = autocast()
    with again:
        with again:
            assert low()
        assert low()
        with autocast(enabled=False):
            assert not low() and not amp.enabled
        assert low() and amp.enabled
    assert not low() and not amp.enabled
    with pytest.raises(KeyError), autocast():
        raise KeyError
    assert not low() and _rt.substitutes() is None


def test_as_an_attribute():
    try:
        amp.enabled = True
        assert low()
        with autocast(enabled=False):
            assert not low()
        assert low()
        amp.low_prec_dtype = "float32"
        assert not low() and amp.low_prec_dtype == "float32"
    finally:
        amp.enabled, amp.low_prec_dtype = False, "float16"
    assert not low()


def test_as_a_decorator():
    @autocast()
    def product(depth: int) -> list[bool]:
        """What it is."""
        return [low(), *(product(depth - 1) if depth else [])]

    assert product(2) == [True] * 3 and not low()
    assert (product.__name__, product.__doc__) == ("product", "What it is.")


def test_each_thread_has_its_own():
    seen: list[bool] = []

    def work() -> None:
        seen.append(low())
        with autocast():
            seen.append(low())
        seen.append(low())

    with autocast():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert low()
    assert seen == [False, True, False]


@pytest.mark.parametrize("argument", ["low_prec_dtype", "high_prec_dtype"])
def test_other_dtypes_are_refused(argument):
    for bad in ("int8", "float64", np.int32):
        with pytest.raises(ValueError, match=f"{argument} must be 'float16'"):
            autocast(**{argument: bad})
        with pytest.raises(ValueError, match=argument):
            setattr(amp, argument, bad)
    for bad in ("foo", None, 3):
        with pytest.raises(TypeError, match="dtype"):
            autocast(**{argument: bad})
    assert autocast(**{argument: np.float16}).enabled


@pytest.mark.parametrize(("setting", "asked", "found"), [
    ("asked", "float16", "float16"), ("asked", "bfloat16", "bfloat16"), ("bfloat16", "float16", "bfloat16"), ("off", "bfloat16", "float32"),
])  # fmt: skip
def test_the_setting_says_what_is_done(setting, asked, found):
    x = tengen.tensor([[1.0]])
    with config.override(autocast=setting), autocast(low_prec_dtype=asked):
        assert F.matmul(x, x).dtype.name == found
        assert amp.low_prec_dtype == asked


@pytest.mark.parametrize("dots", [True, False])
def test_machines_with_and_without_products_of_bfloat16(monkeypatch, dots):
    target = host.host_target()._replace(dots=dots)
    monkeypatch.setattr(host, "host_target", lambda: target)
    amp.precision._say_that_nothing_changes.cache_clear()
    with config.override(autocast="auto"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = []
        for _ in range(2):
            with autocast():
                substitutes = _rt.substitutes()
                names.append(substitutes and substitutes[F.math._MATMUL[False, False]].dtype)
    assert names == ([None, None], ["bfloat16", "bfloat16"])[dots]
    assert [w.category for w in caught] == [UsageWarning] * (not dots)
    if not dots:
        assert caught[0].filename == __file__ and "changes nothing on this machine" in str(caught[0].message)


def test_the_environment_sets_it():
    program = (
        "import tengen as t; c = t.amp.autocast(); c.__enter__(); x = t.tensor([[1.0]]); print((x @ x).dtype.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"TENGEN_AUTOCAST": "asked"}, timeout=120
    )
    assert done.stdout == "float16\n", done.stderr


# -- traces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without_host", [False, True])
def test_a_trace_knows_under_what_it_is_called(without_host):
    traced = jit.trace(lambda x: F.matmul(x, x), without_host=without_host)
    x = tengen.tensor([[1.0, 2.0], [3.0, 4.0]])
    for _ in range(3):
        assert traced(x).dtype.name == "float32"
        with autocast():
            assert traced(x).dtype.name == "bfloat16"


@pytest.mark.parametrize("without_host", [False, True])
def test_autocast_inside_of_a_trace(without_host):
    @jit.trace(without_host=without_host)
    def traced(x):
        with autocast():
            y = F.matmul(x, x)
        return y, F.matmul(x, x)

    x = tengen.tensor([[1.5, 2.0], [3.0, 4.0]])
    for _ in range(3):
        y, z = traced(x)
        assert (y.dtype.name, z.dtype.name) == ("bfloat16", "float32")
        assert y.tolist() == z.tolist() == [[8.25, 11.0], [16.5, 22.0]]


def steps(count: int, how) -> list[float]:
    """A small network trained under autocast; `how` makes something of the step."""
    rng = np.random.default_rng(1)
    net = M.Sequential(M.Conv2d(2, 4, 3, padding=1), M.BatchNorm2d(4), M.ReLU(), M.Conv2d(4, 4, 3))
    head = M.Linear(16, 3)
    for p in [*net.parameters(), *head.parameters()]:
        p[...] = rng.standard_normal(p.shape).astype(np.float32) / 3
    parameters = [*net.parameters(), *head.parameters()]
    gm, opt = GradManager().attach(parameters), SGD(parameters, lr=0.1)
    x, labels = tengen.tensor(rng.standard_normal((4, 2, 4, 4)).astype(np.float32)), tengen.tensor([0, 1, 2, 0])

    def step(x, labels):
        with autocast(), gm:
            loss = F.nn.cross_entropy(head(F.flatten(net(x), 1)), labels)
            gm.backward(loss)
        opt.step().clear_grad()
        return loss

    made = how(step)
    losses = [made(x, labels).item() for _ in range(count)]
    assert {p.dtype.name for p in parameters} == {"float32"}
    assert {b.dtype.name for b in net.buffers()} == {"float32"}
    return losses


def test_training_eager_and_traced():
    eager = steps(4, lambda step: step)
    with config.override(autocast="off"):
        exact = steps(4, lambda step: step)
    assert eager != exact and eager[-1] < eager[0]
    np.testing.assert_allclose(eager, exact, rtol=0.05)
    for without_host in (False, True):
        traced = steps(4, lambda step, w=without_host: jit.trace(step, without_host=w))
        np.testing.assert_allclose(traced, eager, rtol=0.02)


def test_dumped_and_loaded():
    net = M.Linear(3, 2)

    @jit.trace(without_host=True, capture_as_const=True)
    def traced(x):
        return F.logsoftmax(net(x), axis=1)

    x = tengen.tensor(data(4, 3))
    with autocast():
        expected = traced(x)
    file = io.BytesIO()
    traced.dump(file, arg_names=["x"])
    file.seek(0)
    found = jit.load(file)(x=x)
    assert found.dtype.name == expected.dtype.name == "float32"
    assert found.tolist() == expected.tolist()
    assert found.tolist() != F.logsoftmax(net(x), axis=1).tolist()


def test_a_file_of_another_batch_size_has_the_same_precision(tmp_path):
    onnx = pytest.importorskip("onnx")
    net = M.Linear(3, 2)
    traced = jit.trace(lambda x: net(x).astype("float32"), without_host=True, capture_as_const=True)
    with autocast():
        traced(tengen.tensor(data(4, 3)))
    path = tmp_path / "net.onnx"
    traced.dump(path, dump_format="ONNX", dynamic_batch=True)
    model = onnx.load(path)
    casts = [n for n in model.graph.node if n.op_type == "Cast"]
    assert casts and onnx.TensorProto.BFLOAT16 in {a.i for n in casts for a in n.attribute}


# -- the mechanism ---------------------------------------------------------------------------------------------


def test_ops_that_it_does_not_name_stay_what_they_are():
    table = amp.precision.Table("bfloat16", "float32")
    op = F.elemwise._ADD
    assert table[op] is op and table[object] is object
    made = table[F.elemwise._EXP]
    assert made is table[F.elemwise._EXP] is amp.precision.Table("bfloat16", "float32")[F.elemwise._EXP]
    assert table[made] is made


def test_a_table_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(amp.precision, "MOST_OPS", 4)
    table = amp.precision.Table("bfloat16", "float32")
    for i in range(20):
        assert table[i] == i
    assert len(table) <= 4


def test_substitutes_may_fail():
    class Failing(dict):
        def __missing__(self, op):
            raise LookupError("nothing known")

    x = tengen.tensor([1.0])
    _rt.set_substitutes(Failing())
    try:
        for run in (lambda: x + 1, lambda: F.exp(x), lambda: x.__iadd__(1)):
            with pytest.raises(LookupError, match="nothing known"):
                run()
    finally:
        _rt.set_substitutes(None)
    assert (x + 1).item() == 2.0
