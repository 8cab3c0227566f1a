"""scaled_dot_product_attention against its formula in float64, and what it takes of memory."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import _rt, amp, tensor
from tengen.autodiff import GradManager
from tengen.compiler.targets import host

random = np.random.default_rng(0)
attention = F.nn.scaled_dot_product_attention


def drawn(*shape: int) -> np.ndarray:
    return random.standard_normal(shape)


def formula(q, k, v, mask=None, causal=False, scale=None):
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True) @ v


def check(q, k, v, mask=None, causal=False, scale=None):
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        given = [tensor(x, dtype=dtype) for x in (q, k, v)]
        more = None if mask is None else tensor(mask, dtype="bool" if mask.dtype == bool else dtype)
        got = attention(*given, attn_mask=more, is_causal=causal, scale=scale)
        assert got.dtype == np.dtype(dtype)
        np.testing.assert_allclose(got.numpy(), formula(q, k, v, mask, causal, scale), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "leads",
    [((), (), ()), ((3,), (3,), (3,)), ((2, 3), (1, 1), (2, 1)), ((2, 1, 3), (1, 2, 3), (3,)), ((0,), (1,), (1,))],
)
def test_dims_before_the_lengths_broadcast(leads) -> None:
    q, k, v = (drawn(*lead, *tail) for lead, tail in zip(leads, ((7, 5), (9, 5), (9, 4)), strict=True))
    check(q, k, v)
    mask = drawn(7, 9) > -1
    mask[:, 0] = True
    check(q, k, v, mask=mask, causal=True)


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (7, 9), (2, 1, 1, 9), (7, 1), (9,), ()])
def test_masks_broadcast(shape) -> None:
    q, k, v = drawn(2, 3, 7, 5), drawn(2, 3, 9, 5), drawn(2, 3, 9, 4)
    check(q, k, v, mask=np.asarray(drawn(*shape)))
    mask = np.atleast_1d(drawn(*shape)) > -2
    mask[..., :1] = True
    check(q, k, v, mask=mask)


@pytest.mark.parametrize("scale", [2.0, -0.7, 0.0])
def test_any_scale(scale: float) -> None:
    q, k, v = drawn(2, 40, 5), drawn(2, 40, 5), drawn(2, 40, 4)
    check(q, k, v, scale=scale)
    check(q, k, v, scale=scale, causal=True)


def test_without_queries_keys_or_features() -> None:
    for lengths in product((0, 2), repeat=3):
        length, keys, width = lengths
        got = attention(F.ones((3, length, width)), F.ones((3, keys, width)), F.ones((3, keys, 4)))
        assert got.shape == (3, length, 4)
        np.testing.assert_array_equal(got.numpy(), np.full((3, length, 4), 1.0 if keys else 0.0))


@pytest.mark.parametrize("dtype, dropout", [("float32", 0.0), ("float64", 0.0), ("float32", 0.5)])
@pytest.mark.parametrize("numbers", [False, True])
def test_a_query_without_keys_gets_zeros(numbers: bool, dtype: str, dropout: float) -> None:
    """In the second of 40 rows no key takes part: it gives 0 and takes no part in any gradient. PyTorch 2.13 does the same."""
    taken = np.random.default_rng(1).random((40, 70)) < 0.9
    taken[1] = False
    mask = tensor(np.where(taken, 0.0, -np.inf), dtype=dtype) if numbers else tensor(taken)
    given = [tensor(drawn(2, *shape), dtype=dtype) for shape in ((40, 3), (70, 3), (70, 5))]
    watched = [*given, mask] if numbers else given

    def gradients(rows: slice | list[int]):
        for x in watched:
            x.grad = None
        tengen.random.seed(3)
        with GradManager().attach(watched) as gm:
            y = attention(*given, attn_mask=mask, dropout_p=dropout)
            gm.backward((y[:, rows] ** 2).sum())
        return y.numpy(), [x.grad.numpy() for x in watched]

    y, found = gradients(slice(None))
    _, without = gradients([0, *range(2, 40)])
    np.testing.assert_array_equal(y[:, 1], 0)
    assert (y[:, [0, *range(2, 40)]] != 0).all()
    np.testing.assert_array_equal(found[0][:, 1], 0)
    for got, want in zip(found, without, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_number_that_is_none_is_not_taken_for_a_query_without_keys() -> None:
    for dtype in ("float32", "float64"):
        q, k = tensor([[np.nan], [1.0]], dtype=dtype), F.ones((2, 1), dtype=dtype)
        for mask in (None, tensor([[0.0, -np.inf], [0.0, 0.0]], dtype=dtype)):
            np.testing.assert_array_equal(attention(q, k, k, attn_mask=mask).numpy(), [[np.nan], [1.0]])


def test_dtypes_promote() -> None:
    q, k, v = F.ones((2, 4), dtype="float16"), F.ones((3, 4)), F.ones((3, 4), dtype="float16")
    assert attention(q, k, v).dtype == np.float32
    with amp.autocast(low_prec_dtype="float16"):
        attention(q, k, v)


def test_wrong_calls() -> None:
    x = F.ones((2, 3))
    for call, error, message in (
        (lambda: attention(x, F.ones((2, 4)), x), ValueError, r"query \(2, 3\) and key \(2, 4\) must have as many"),
        (lambda: attention(x, x, F.ones((5, 3))), ValueError, r"key \(2, 3\) and value \(5, 3\) must have one length"),
        (lambda: attention(F.ones(3), x, x), ValueError, r"takes a query of \(…, length, features\), got shape \(3,\)"),
        (
            lambda: attention(x, x, x, dropout_p=1.0),
            ValueError,
            "dropout_p must be at least 0 and less than 1, got 1.0",
        ),
        (lambda: attention(x, x, x, attn_mask=F.ones((4, 2))), ValueError, r"attn_mask of shape \(4, 2\) does not fit"),
        (
            lambda: attention(x, x, x, attn_mask=tensor([[1, 2]])),
            TypeError,
            "attn_mask must be bool or float, got int32",
        ),
        (lambda: attention(*[F.ones((2, 2), dtype="int32")] * 3), TypeError, "sum of products takes floats"),
        (lambda: attention(x, x, x, scale="a"), TypeError, "scale takes a number, got 'a'"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_dropout_scales_what_it_leaves() -> None:
    tengen.random.seed(5)
    q, v = F.zeros((200, 4)), F.ones((50, 1))
    got = attention(q, F.zeros((50, 4)), v, dropout_p=0.5).numpy() * 25
    np.testing.assert_allclose(got, np.round(got), atol=1e-4)  # how many of the 50 are left
    assert 22 < got.mean() < 28
    assert got.std() > 1


def gradients(q, k, v, g, mask, causal, twice=False):
    """By central differences of the formula."""
    found = []
    for place, x in enumerate((q, k, v) if mask is None or mask.dtype == bool else (q, k, v, mask)):
        one = np.zeros_like(x)
        for index in np.ndindex(*x.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = [q, k, v, mask]
                moved[place] = x.copy()
                moved[place][index] += step
                values.append((formula(*moved, causal) * g).sum())
            one[index] = (values[0] - values[1]) / 2e-5
        found.append(one)
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "numbers", "row"])
def test_gradients(kind: str, causal: bool) -> None:
    q, k, v, g = drawn(2, 5, 3), drawn(2, 6, 3), drawn(2, 6, 2), drawn(2, 5, 2)
    mask = {"none": None, "bool": drawn(5, 6) > -1, "numbers": drawn(2, 5, 6), "row": drawn(1, 6)}[kind]
    if kind == "bool":
        mask[:, 0] = True
    given = [tensor(x, dtype="float32") for x in (q, k, v)]
    if mask is not None:
        given.append(tensor(mask, dtype="bool" if kind == "bool" else "float32"))
    watched = given[:3] if kind == "bool" else given
    gm = GradManager().attach(watched)
    with gm:
        gm.backward(attention(*given, is_causal=causal), tensor(g, dtype="float32"))
    for x, want in zip(watched, gradients(q, k, v, g, mask, causal), strict=True):
        np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-3, atol=1e-4)


def test_second_derivatives() -> None:
    """Of the gradients' sum of squares, by differences of the first ones."""
    arrays = [drawn(1, 3, 2), drawn(1, 4, 2), drawn(1, 4, 2), drawn(3, 4)]

    def first(values):
        given = [tensor(x, dtype="float32") for x in values]
        outer, inner = GradManager().attach(given), GradManager().attach(given)
        with outer:
            with inner:
                inner.backward((attention(*given, is_causal=True) ** 2).sum())
            size = sum((x.grad**2).sum() for x in given)
            found = [x.grad for x in given]
            for x in given:
                x.grad = None
            outer.backward(size)
        return found, [x.grad.numpy() for x in given]

    def size(values):
        return sum((x.numpy().astype(np.float64) ** 2).sum() for x in first(values)[0])

    _, second = first(arrays)
    for place, x in enumerate(arrays):
        for index in list(np.ndindex(*x.shape))[::3]:
            values = []
            for step in (1e-2, -1e-2):
                moved = [a.copy() for a in arrays]
                moved[place][index] += step
                values.append(size(moved))
            np.testing.assert_allclose(second[place][index], (values[0] - values[1]) / 2e-2, rtol=2e-2, atol=2e-2)


def test_memory_grows_with_the_length() -> None:
    """The softmax of 8,192 tokens would be 256 MiB."""
    q = tensor(random.standard_normal((1, 1, 8192, 16), dtype=np.float32))
    attention(q, q, q)
    _rt.reset_peak()
    before = _rt.memory_stats()["peak"]
    with GradManager().attach([q]) as gm:
        gm.backward(attention(q, q, q).sum())
    assert _rt.memory_stats()["peak"] - before < 24 << 20


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    q, k, v = (tensor(drawn(2, 3, 300, 20), dtype="float32") for _ in range(3))
    threads = _rt.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            _rt.set_num_threads(count)
            found.append(attention(q, k, v, is_causal=True).numpy())
    finally:
        _rt.set_num_threads(threads)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_one_token_after_the_other_compiles_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys and values that grow: lengths are arguments of the kernels."""
    compiled = []
    make = host.compile_object
    monkeypatch.setattr(host, "compile_object", lambda *given: compiled.append(given) or make(*given))
    keys = values = None
    for count in range(70):
        q, k, v = (tensor(drawn(1, 2, 1, 8), dtype="float32") for _ in range(3))
        keys = k if keys is None else F.concat([keys, k], axis=2)
        values = v if values is None else F.concat([values, v], axis=2)
        if count == 3:
            compiled.clear()
        got = attention(q, keys, values)
    assert not compiled
    expected = formula(*(x.numpy().astype(np.float64) for x in (q, keys, values)))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
