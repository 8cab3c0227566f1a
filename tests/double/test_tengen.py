"""tengen itself on the double, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .library import library

TESTS = Path(__file__).resolve().parent.parent
SCRIPT = """
from double.library import install
double = install()
import numpy as np
import tengen as tg
import tengen.functional as F

x = np.random.default_rng(0).standard_normal((37, 1001)).astype("float32")
first = tg.Tensor(x, device="gpu0")
count = double.count("allocations")
kept = [tg.Tensor(x, device="gpu0") for _ in range(10)]
print(double.count("allocations") - count)
del kept
again = tg.Tensor(x, device="gpu0")
print(double.count("allocations") - count)
for function in (lambda t: t * 2 + 1, lambda t: F.softmax(t, axis=-1), lambda t: F.sum(t, axis=0), F.gelu):
    assert np.allclose(function(first).numpy(), function(tg.Tensor(x, device="cpu0")).numpy(), rtol=1e-5, atol=1e-5)
assert double.problems() == []
"""


@pytest.mark.parametrize("cache, more, later", [("0", 10, 1), ("1", 0, 0)])
@pytest.mark.parametrize("order", [1, 3])
def test_each_tensor_may_be_an_allocation_of_its_own(cache, more, later, order):
    """So the double sees where it ends. Usually the driver gives large regions."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TENGEN_GPU_CACHE": cache, "DOUBLE_ORDER": str(order)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{more}\n{later}\n"), done.stderr


def test_a_program_that_knows_nothing_of_the_double():
    """Tests start programs. The environment alone gives them the double, which brings its compiler along."""
    script = "import tengen as tg; print((tg.Tensor([1.0, 2.0], device='gpu0') * 2).tolist())"
    environment = {**os.environ, "TENGEN_CUDA_LIBRARY": library()}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[2.0, 4.0]\n", "")
