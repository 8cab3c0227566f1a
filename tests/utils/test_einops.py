"""einops on tensors gives what it gives for NumPy arrays, whichever was imported first."""

from __future__ import annotations

import subprocess
import sys

import einops
import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager
from tengen.jit import trace

X = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
CASES = {
    "rearrange": lambda x: einops.rearrange(x, "b h w c -> b c h w"),
    "patches": lambda x: einops.rearrange(x, "b (h p) (w q) c -> b (h w) (p q c)", p=2, q=3),
    "new and old axes": lambda x: einops.rearrange(x[:, :1], "b 1 w c -> (b w) 1 c ()"),
    "flat": lambda x: einops.rearrange(x, "... -> (...)"),
    "ellipsis": lambda x: einops.rearrange(x, "b ... c -> c ... b"),
    "mean": lambda x: einops.reduce(x, "b h w c -> b c", "mean"),
    "max of windows": lambda x: einops.reduce(x, "b (h p) (w q) c -> b h w c", "max", p=2, q=2),
    "min": lambda x: einops.reduce(x, "b h w c -> w", "min"),
    "sum of all": lambda x: einops.reduce(x, "b h w c ->", "sum"),
    "prod": lambda x: einops.reduce(x / 100, "b h w c -> b h () c", "prod"),
    "any": lambda x: einops.reduce(x > 140, "b h w c -> b h", "any"),
    "all": lambda x: einops.reduce(x > 3, "b h w c -> b h", "all"),
    "repeat": lambda x: einops.repeat(x, "b h w c -> b (h 2) w (c r)", r=2),
    "a list": lambda x: einops.rearrange([x[0], x[1]], "b h w c -> h (b w) c"),
    "pack": lambda x: einops.pack([x, x[:, 0]], "b * c")[0],
    "unpack": lambda x: einops.unpack(einops.rearrange(x, "b h w c -> b (h w) c"), [[4, 2], [16]], "b * c")[1],
}


@pytest.mark.parametrize("name", CASES)
def test_functions(name):
    got, want = CASES[name](Tensor(X)), CASES[name](X)
    assert isinstance(got, Tensor)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)


def test_traced_and_differentiated():
    def pool(x):
        return einops.reduce(x, "b (h p) w c -> b h c w", "mean", p=2) ** 2

    np.testing.assert_allclose(trace(pool)(Tensor(X)).numpy(), pool(X), rtol=1e-5)
    x = Tensor(X)
    manager = GradManager().attach([x])
    with manager:
        manager.backward(F.sum(pool(x)))
    pair = X.reshape(2, 2, 2, 6, 3).mean(2, keepdims=True)  # the gradient of m² by each of the two is m
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(pair, (2, 2, 2, 6, 3)).reshape(X.shape), rtol=1e-5)


def test_a_wrong_pattern_is_its_own_error():
    with pytest.raises(einops.EinopsError, match="Shape mismatch"):
        einops.rearrange(Tensor(X), "b (h p) w c -> b h p w c", p=3)


@pytest.mark.parametrize("first, second", [("tengen", "einops"), ("einops", "tengen")])
def test_either_may_be_imported_first(first, second):
    code = f"""
import {first}, {second}, sys
x = tengen.tensor([[1.0, 2.0]])
assert einops.rearrange(x, "a b -> b a").shape == (2, 1)
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("tengen")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
