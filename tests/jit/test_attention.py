"""Attention that a traced function writes out becomes the op: values and gradients are those of the function without trace, and the softmax is
not in memory."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
from tengen import _rt, tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

random = np.random.default_rng(0)
LENGTH, WIDTH = 37, 8
SEEN = np.tril(np.ones((LENGTH, LENGTH), bool))


def scores(q, k):
    return F.matmul(q, k, transpose_b=True) * 0.3


def by_exponentials(q, k, v):
    s = scores(q, k)
    e = F.exp(s - F.max(s, axis=-1, keepdims=True))
    return F.matmul(e / F.sum(e, axis=-1, keepdims=True), v)


def softmax(s, v):
    return F.matmul(F.softmax(s, axis=-1), v)


FORMS = {
    "plain": lambda q, k, v: softmax(scores(q, k), v),
    "scaled queries": lambda q, k, v: softmax(F.matmul(q / 3.0, k.transpose(*range(q.ndim - 2), -1, -2)), v),
    "mask": lambda q, k, v: softmax(F.where(tensor(SEEN), scores(q, k), -np.inf), v),
    "low number": lambda q, k, v: softmax(F.where(tensor(~SEEN), -1e9, scores(q, k)), v),
    "added mask": lambda q, k, v: softmax(scores(q, k) + tensor(np.where(SEEN, 0, -1e9).astype("float32")), v),
    "mask, then scale": lambda q, k, v: softmax((scores(q, k) + tensor(SEEN.astype("float32"))) / 2.0, v),
}


def operands(*lead: int, dtype: str = "float32"):
    made = [random.standard_normal((*lead, LENGTH, WIDTH), dtype=np.float32) for _ in range(4)]
    return [tensor(x, dtype=dtype) for x in made]


def kernels(function) -> str:
    return "".join(line for line in str(function.explain()).splitlines() if "kernels:" in line)


def run(function, *inputs):
    """What a function gives, traced and not, and the kernels of the trace."""
    traced = trace(without_host=True)(function)
    traced(*inputs)
    return traced(*inputs), function(*inputs), kernels(traced)


def close(got, want, factor=1.0):
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=2e-5 * factor, atol=2e-6 * factor)


@pytest.mark.parametrize("form", [*FORMS.values(), by_exponentials], ids=[*FORMS, "exponentials"])
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_values(form, lead) -> None:
    got, want, names = run(form, *operands(*lead)[:3])
    close(got, want)
    assert "attention" in names and "matmul" not in names


def step(form):
    def gradients(q, k, v, g):
        with GradManager().attach([q, k, v]) as gm:
            y = form(q, k, v)
            gm.backward(y, g)
        found = y, q.grad, k.grad, v.grad
        q.grad = k.grad = v.grad = None
        return found

    return gradients


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_gradients(form, lead) -> None:
    got, want, names = run(step(form), *operands(*lead))
    for x, y in zip(got, want, strict=True):
        close(x, y, factor=5)
    assert "attention_gradient" in names and "matmul" not in names


def test_gradients_of_exponentials_stay_as_they_are() -> None:
    got, want, names = run(step(by_exponentials), *operands(2))
    for x, y in zip(got, want, strict=True):
        close(x, y, factor=5)
    assert "attention" not in names


def test_half_the_digits() -> None:
    got, want, names = run(FORMS["plain"], *operands(2, dtype="float16")[:3])
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=5e-3, atol=5e-3)
    assert "attention" in names


def test_what_is_used_elsewhere_stays() -> None:
    def weights(q, k, v):
        p = F.softmax(scores(q, k), axis=-1)
        return F.matmul(p, v), p

    def largest(q, k, v):
        s = scores(q, k)
        return softmax(s, v), F.max(s)

    def learned(q, k, v, mask):
        with GradManager().attach([q, k, v, mask]) as gm:
            gm.backward((softmax(scores(q, k) + mask, v) ** 2).sum())
        found = q.grad, mask.grad
        q.grad = k.grad = v.grad = mask.grad = None
        return found

    q, k, v, _ = operands(2)
    mask = tensor(random.standard_normal((LENGTH, LENGTH), dtype=np.float32))
    for function, inputs in ((weights, (q, k, v)), (largest, (q, k, v)), (learned, (q, k, v, mask))):
        got, want, names = run(function, *inputs)
        for x, y in zip(got, want, strict=True):
            close(x, y, factor=5)
        assert "attention" not in names


def test_other_axes_and_small_numbers_are_no_attention() -> None:
    """A mask of -1e4 still lets the scores through where all of a row is masked."""
    q, k, v, _ = operands(2)
    for form in (
        lambda q, k, v: F.matmul(F.softmax(scores(q, k), axis=-2), v),
        lambda q, k, v: softmax(F.where(tensor(SEEN), scores(q, k), -1e4), v),
        lambda q, k, v: softmax(scores(q, k) * tensor(SEEN.astype("float32")), v),
    ):
        got, want, names = run(form, q, k, v)
        close(got, want)
        assert "attention" not in names


@pytest.mark.parametrize("low", [-np.inf, -1e9])
def test_rows_of_which_all_is_masked(low) -> None:
    seen = SEEN.copy()
    seen[5] = False
    got, want, names = run(lambda q, k, v: softmax(F.where(tensor(seen), scores(q, k), low), v), *operands(2)[:3])
    close(got, want)
    assert "attention" in names
    assert np.isnan(got.numpy()[:, 5]).all() == (low == -np.inf)


def test_memory_grows_with_the_length() -> None:
    """The softmax of 4,096 tokens would be 64 MiB."""
    q, g = (tensor(random.standard_normal((1, 4096, 16), dtype=np.float32)) for _ in range(2))
    traced = trace(without_host=True)(step(FORMS["plain"]))
    traced(q, q * 1.0, q * 1.0, g)
    _rt.reset_peak()
    before = _rt.memory_stats()["peak"]
    traced(q, q * 1.0, q * 1.0, g)
    assert _rt.memory_stats()["peak"] - before < 24 << 20
