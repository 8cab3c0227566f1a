"""Every reader of values over every kind of view: what eager computes from a copy, a compiled program computes from where the elements lie.

The truth is NumPy with float64.
"""

from __future__ import annotations

import io

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import load, trace

X = np.random.default_rng(5).integers(-8, 9, (4, 6)) / 8


def pad(x, widths, fill=0.0):
    """With `fill` around it, a tensor or an array."""
    if isinstance(x, np.ndarray):
        return np.pad(x, widths, constant_values=fill)
    return F.nn.pad(x, widths, "constant", fill)


def windows(x):
    """The middle line of each window of 3 x 3 around the elements of one row, zeros outside: three columns."""
    if isinstance(x, np.ndarray):
        framed = np.pad(x, 1)
        return np.stack([framed[2, i : i + 3] for i in range(x.shape[1])])
    return F.nn.sliding_window(x.reshape(1, 1, *x.shape), 3, 1)[0, 0, 1, :, 1]


def broadcast(x):
    return np.broadcast_to(x[1:2], (5, 6)) if isinstance(x, np.ndarray) else F.broadcast_to(x[1:2], (5, 6))


def turned(x):
    return x.T if isinstance(x, np.ndarray) else F.transpose(x, (1, 0))


VIEWS = {
    "padded": lambda x: pad(x, ((1, 2), (2, 1)), 0.5),
    "padded and sliced": lambda x: pad(x, ((1, 2), (2, 1)), 0.5)[1:, ::2],
    "padded and reversed": lambda x: pad(x, ((1, 2), (2, 1)), -0.5)[::-1, ::-1],
    "padded and reshaped": lambda x: pad(x, ((0, 2), (0, 0)), 0.5).reshape(4, 9),
    "padded and transposed": lambda x: turned(pad(x, ((1, 0), (0, 2)), 2.0)),
    "padded and broadcast": lambda x: broadcast(pad(x[:, :3], ((0, 0), (2, 1)), 3.0)),
    "padded twice": lambda x: pad(pad(x, ((1, 1), (0, 0)), 0.5), ((0, 1), (1, 1)), 0.5),
    "padded with different numbers": lambda x: pad(pad(x, ((1, 1), (0, 0)), 0.5), ((0, 1), (1, 1)), -2.0),
    "padding alone": lambda x: pad(x[:0], ((2, 2), (0, 0)), 0.5),
    "padded number": lambda x: pad(0.0 * x[:1, :1].reshape(()).reshape(1, 1) + 1, ((1, 2), (1, 2)), 0.5),
    "windows": windows,
    "broadcast": broadcast,
    "sliced": lambda x: x[1:, 1::2],
    "reversed": lambda x: x[::-1, ::-1],
}

PLACES = np.array([[0, -1, 1], [2, 0, -2]])


def integers(v):
    """Indices of an axis of 3, from values in eighths."""
    return np.abs(v * 8).astype(int) % 3 if isinstance(v, np.ndarray) else F.abs(v * 8).astype("int32") % 3


def put(base, index, values):
    """A copy of the base that has the values at the index."""
    base = base.copy() if isinstance(base, np.ndarray) else base + 0
    base[index] = values
    return base


def along(v, axis, index):
    """v[…, index[…, i, …], …] along `axis`."""
    return np.take_along_axis(v, index, axis) if isinstance(v, np.ndarray) else F.gather(v, axis, Tensor(index))


def labels(v):
    return np.arange(v.shape[0]) % v.shape[1]


def picked(v):
    if isinstance(v, np.ndarray):
        return v[np.arange(v.shape[0]), labels(v)][:, None]
    return F.indexing_one_hot(v, Tensor(labels(v), dtype="int32"), 1, keepdims=True)


def cross_entropy(v):
    if isinstance(v, np.ndarray):
        return np.mean(np.log(np.exp(v).sum(1)) - picked(v)[:, 0])
    return F.nn.cross_entropy(v, Tensor(labels(v), dtype="int32"))


def nll_loss(v):
    return -picked(v).mean() if isinstance(v, np.ndarray) else F.nn.nll_loss(v, Tensor(labels(v), dtype="int32"))


def resize(mode, v):
    """To 5 x 7."""
    if not isinstance(v, np.ndarray):
        return F.nn.interpolate(v.reshape(1, 1, *v.shape), (5, 7), mode=mode)
    for axis, new in enumerate((5, 7)):
        v = (
            np.tensordot(weights(mode, v.shape[axis], new), v, (1, axis))
            if axis == 0
            else v @ weights(mode, v.shape[1], new).T
        )
    return v[None, None]


def weights(mode, old, new):
    """(new, old): of which elements each result is made."""
    w = np.zeros((new, old))
    for i in range(new):
        if mode == "nearest":
            w[i, i * old // new] = 1
            continue
        position = (i + 0.5) * old / new - 0.5
        position = min(max(position, 0), old - 1) if mode == "bilinear" else position
        for place in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            w[i, min(max(place, 0), old - 1)] += kernel(mode, abs(position - place))
    return w


def kernel(mode, d, a=-0.75):
    if mode == "bilinear":
        return max(1 - d, 0)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0


def framed(mode, v):
    if isinstance(v, np.ndarray):
        return np.pad(v, ((1, 1), (2, 2)), mode)
    return F.nn.pad(v, ((1, 1), (2, 2)), mode)


def seen(v):
    """Sums of 3 x 3 windows, zeros outside."""
    if not isinstance(v, np.ndarray):
        return F.nn.sliding_window(v.reshape(1, 1, *v.shape), 3, 1).sum((4, 5))
    frame = np.pad(v, 1)
    return sum(frame[i : i + v.shape[0], j : j + v.shape[1]] for i in range(3) for j in range(3))[None, None]


def either(tensor, array):
    """A reader that is written in two ways."""
    return lambda v: (array if isinstance(v, np.ndarray) else tensor)(v)


W = np.random.default_rng(6).standard_normal((12, 5))
TABLE = np.random.default_rng(7).standard_normal((3, 2))

READERS = {
    "output": lambda v: v,
    "elementwise": lambda v: v * 2 + 1,
    "broadcasting": lambda v: v - v[:1],
    "cast": either(lambda v: v.astype("float64") * 3, lambda v: v * 3),
    "sum": lambda v: v.sum(0),
    "maximum": lambda v: v.max(1),
    "place of the maximum": either(lambda v: F.argmax(v, 1), lambda v: v.argmax(1)),
    "rows": either(lambda v: v[Tensor(PLACES)], lambda v: v[PLACES]),
    "columns": either(lambda v: v[:, Tensor(PLACES)], lambda v: v[:, PLACES]),
    "elements": either(lambda v: v[Tensor(PLACES), Tensor([[0], [1]])], lambda v: v[PLACES, [[0], [1]]]),
    "gather": lambda v: along(v, 1, np.arange(v.size).reshape(v.shape) % v.shape[1]),
    "embedding": either(lambda v: F.nn.embedding(Tensor([2, 0, 2]), v), lambda v: v[[2, 0, 2]]),
    "picked": picked,
    "cross_entropy": cross_entropy,
    "nll_loss": nll_loss,
    "diagonal": either(lambda v: F.diag(v, 1), lambda v: np.diag(v, 1)),
    "spread on a diagonal": either(lambda v: F.diag(v[0], -1), lambda v: np.diag(v[0], -1)),
    "nearest": lambda v: resize("nearest", v),
    "bilinear": lambda v: resize("bilinear", v),
    "bicubic": lambda v: resize("bicubic", v),
    "edge": lambda v: framed("edge", v),
    "reflect": lambda v: framed("reflect", v),
    "windows": seen,
    "index": either(lambda v: Tensor(TABLE, dtype="float32")[integers(v)], lambda v: TABLE[integers(v)]),
    "scatter's base": either(
        lambda v: F.scatter(v, 0, Tensor([[1, 2]]), Tensor([[9.0, 8.0]])),
        lambda v: put(v, ([1, 2], [0, 1]), [9.0, 8.0]),
    ),
    "base of an assignment": lambda v: put(v, (slice(1, None), 1), 7.0),
    "assigned": lambda v: put(0 * v[:, :2], (slice(None, None, -1),), v[:, 1:3]),
    "assigned at indices": lambda v: put(0 * v[:3], ([2, 0, 1],), v[:3]),
    "concat": either(lambda v: F.concat([v, v[::-1]], 1), lambda v: np.concatenate([v, v[::-1]], 1)),
    "left factor": either(
        lambda v: F.matmul(v, Tensor(W[: v.shape[1]], dtype="float32")), lambda v: v @ W[: v.shape[1]]
    ),
    "right factor": either(
        lambda v: F.matmul(Tensor(W[: v.shape[0]].T, dtype="float32"), v), lambda v: W[: v.shape[0]].T @ v
    ),
    "running sum": either(lambda v: F.cumsum(v, 0), lambda v: v.cumsum(0)),
    "sort": either(lambda v: F.sort(v)[0], lambda v: np.sort(v)),
    "order": either(lambda v: F.argsort(v), lambda v: np.argsort(v, kind="stable")),
}


WRITERS = {"base of an assignment", "assigned", "assigned at indices"}
"""They change tensors, which a file cannot express."""


def agree(got, want, message=""):
    assert tuple(got.shape) == want.shape, message
    np.testing.assert_allclose(got.numpy(), want, rtol=2e-5, atol=2e-5, err_msg=message)


@pytest.mark.parametrize("view", VIEWS)
def test_readers(view):
    """Each in a program of its own: eagerly, traced in both modes, fused."""
    x = Tensor(X, dtype="float32")
    for name, reader in READERS.items():
        want, number = np.asarray(reader(VIEWS[view](X))), len(name) % 3

        def function(x, reader=reader):
            return reader(VIEWS[view](x))

        agree(function(x), want, f"{name}, eager")
        compiled = [trace(function, without_host=False), trace(function, without_host=True), tengen.fuse(function)][
            number
        ]
        agree(compiled(x), want, name)


@pytest.mark.parametrize("view", VIEWS)
def test_all_readers_together(view):
    """One program, before and after it has been a file."""
    readers = {name: reader for name, reader in READERS.items() if name not in WRITERS}
    function = trace(lambda x: [reader(VIEWS[view](x)) for reader in readers.values()], capture_as_const=True)
    x, file = Tensor(X, dtype="float32"), io.BytesIO()
    found = [function(x)]
    function.dump(file)
    file.seek(0)
    found.append(load(file)(x))
    for results in found:
        for (name, reader), got in zip(readers.items(), results, strict=True):
            agree(got, np.asarray(reader(VIEWS[view](X))), name)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ["rows", "gather", "bilinear", "reflect", "assigned at indices", "left factor"])
def test_gradient(view, name):
    """Of a sum with weights; all here is linear, so differences of the truth are exact."""
    slopes = np.random.default_rng(8).standard_normal(np.asarray(READERS[name](VIEWS[view](X))).shape)

    def truth(a):
        return float((READERS[name](VIEWS[view](a)) * slopes).sum())

    want = np.zeros_like(X)
    for place in np.ndindex(X.shape):
        step = np.zeros_like(X)
        step[place] = 1
        want[place] = truth(X + step) - truth(X)
    for mode in (lambda f: f, trace):
        x, manager = Tensor(X, dtype="float32"), GradManager()
        manager.attach([x])

        def step(x, manager=manager):
            with manager:
                manager.backward((READERS[name](VIEWS[view](x)) * Tensor(slopes, dtype="float32")).sum())
            return x.grad

        got = mode(step)(x)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("index", [3, -4, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_an_index_is_checked_where_there_is_padding(make, index):
    """Also where the padding of another axis decides the value."""
    function = make(lambda x, i: F.nn.pad(x, ((1, 1), (0, 1)))[:, i])
    with pytest.raises(IndexError):
        function(F.ones((0, 2)), Tensor([index], dtype="int32"))


@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_an_index_behind_the_padding(make):
    with pytest.raises(IndexError):
        make(lambda x: F.nn.pad(x, ((1, 1),))[Tensor([4])])(Tensor([5.0, 6.0]))


def test_padding_is_not_made_to_be_read_at_indices():
    """Of two billion elements a compiled program makes none but those that are read."""
    many = 2 * 10**9
    x, i = Tensor([5.0, 6.0]), Tensor([0, 10**9, many - 1, many, -1, -2])
    got = trace(lambda x: F.nn.pad(x, ((many, 0),), "constant", 0.5)[i])(x)
    assert got.tolist() == [0.5, 0.5, 0.5, 5.0, 6.0, 5.0]


@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_a_number_under_another_shape_is_indexed(make):
    function = make(lambda x, i: (x.reshape(1)[i], F.broadcast_to(x, (3, 2))[:, i], (x * 2).reshape(1, 1)[i, i]))
    for index in (0, -1):
        one, row, two = function(Tensor(2.0), Tensor(index))
        assert (one.tolist(), row.tolist(), two.tolist()) == (2.0, [2.0] * 3, 4.0)
    with pytest.raises(IndexError):
        make(lambda x, i: x.reshape(1)[i])(Tensor(2.0), Tensor(1))


@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
@pytest.mark.parametrize(
    "dtype, fill, held",
    [
        ("float16", 0.1, 0.0999755859375),
        ("bfloat16", 0.1, 0.10009765625),
        ("float16", 1e6, np.inf),
        ("int32", 1.75, 1),
        ("int64", 2**53 + 1, 2**53 + 1),
        ("bool", 2, True),
        ("float32", np.nan, np.nan),
    ],
)
def test_padding_is_of_the_dtype(make, dtype, fill, held):
    """What is computed from a padded value is computed from what the dtype holds."""
    x = Tensor([1], dtype=dtype)
    padded, wide = make(
        lambda x: (
            F.nn.pad(x, ((1, 0),), "constant", fill),
            F.nn.pad(x, ((1, 0),), "constant", fill).astype("float64") * 3,
        )
    )(x)
    np.testing.assert_array_equal(padded.numpy(), np.array([held, 1]).astype(padded.numpy().dtype))
    np.testing.assert_array_equal(wide.numpy(), [float(held) * 3, 3])


@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_padding_keeps_the_sign_of_zero(make):
    def function(x):
        inner = F.nn.pad(x, ((1, 1),), "constant", -0.0)
        return 1 / F.nn.pad(inner, ((1, 1),)), 1 / inner + 1 / F.nn.pad(x, ((1, 1),))

    inner, both = make(function)(Tensor([1.0]))
    assert inner.tolist() == [np.inf, -np.inf, 1, -np.inf, np.inf]
    np.testing.assert_array_equal(both.numpy(), [np.nan, 2, np.nan])


def test_integers_cannot_be_padded_with_infinity():
    with pytest.raises(OverflowError, match="pad: constant_value inf does not fit int32"):
        F.nn.pad(Tensor([1]), ((1, 1),), "constant", np.inf)


def test_integers_are_padded_with_what_they_hold():
    with pytest.raises(OverflowError, match="pad: constant_value 300 does not fit int8"):
        F.nn.pad(Tensor([1], dtype="int8"), ((1, 1),), "constant", 300)


@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_a_value_is_complete_before_it_is_read_at_indices_or_written_into(make):
    """Element-wise ops read the same value, so they could be one kernel with what makes it."""
    index = np.array([[5, 4, 3, 2, 1, 0]] * 4)

    def function(x):
        y = x + 1
        return (
            F.scatter(y, 1, Tensor(index), y * 2),
            F.exp(y),
            F.gather(y, 1, Tensor(index)) + y,
            y[Tensor([3, 2, 1, 0])] * y,
        )

    y = X + 1
    want = (y * 2)[:, ::-1], np.exp(y), y[:, ::-1] + y, y[::-1] * y
    for got, truth in zip(make(function)(Tensor(X, dtype="float32")), want, strict=True):
        np.testing.assert_allclose(got.numpy(), truth, rtol=1e-5)
