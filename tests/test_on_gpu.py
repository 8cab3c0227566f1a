"""A sample of `make test-gpu`: tests with a GPU, the double of the driver's, as the default device. And what makes such a run fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from on_gpu import suite

TESTS = Path(__file__).resolve().parent
SAMPLE = ["amp", "autodiff", "optimizer", "random"]


def run_on_gpu(*arguments):
    own = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_") and n != "TENGEN_CUDA_LIBRARY"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(
        command, env=own | {"TENGEN_XPU": "gpu"}, capture_output=True, text=True, timeout=900, check=False
    )


def test_a_sample():
    done = run_on_gpu(*(TESTS / folder for folder in SAMPLE))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "launches of kernels on the double" in done.stdout


def test_a_run_without_launches_fails():
    done = run_on_gpu(TESTS / "test_helpers.py")
    assert done.returncode == 1 and "FAILED no kernel ran on the GPU" in done.stdout and "3 passed" in done.stdout


def test_an_op_that_is_not_in_the_table_fails(monkeypatch, request):
    monkeypatch.setenv("TENGEN_CUDA_LIBRARY", "libcuda.so.1")
    monkeypatch.setattr(suite, "missing", Counter({"frobnicate": 2}))
    assert suite.failures(request.config)[0] == "frobnicate ran on the CPU: write its kernel"


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("test_on_gpu.py", True),
        ("test_on*.py", True),
        ("test_on_gpu.py::test_which_tests_a_row_means", True),
        ("test_on_gpu.py::test_which_tests_a_row_means[[]test_on[*]*", False),
        ("test_on_gpu.py::test_which", False),
        ("on_gpu/", False),
        ("gpu.py", False),
    ],
)
def test_which_tests_a_row_means(request, pattern, meant):
    assert suite.is_meant(request.node, pattern) is meant
