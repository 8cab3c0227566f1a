"""What all tests share: where compiled kernels are kept, how many threads a test process uses, and the numbers it draws."""

from __future__ import annotations

import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

# Both are read when tengen is imported, which the test modules do after this. What the caller has set is left alone.
KERNELS = Path(__file__).resolve().parent.parent / ".pytest_cache" / "kernels"
os.environ.setdefault("TENGEN_CACHE_DIR", str(KERNELS))
# Threads of scikit-learn that wait sleep: tests run side by side.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Tests of what a program prints to stderr do not depend on how long its kernels take to compile.
os.environ.setdefault("TENGEN_COMPILE_NOTICE", "0")
if os.environ.get("TENGEN_XPU") != "gpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a machine's GPUs are no default device of tests that are of CPUs
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and all processes that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    # At least two, so that work is split among threads in the tests too.
    threads = max(2, len(os.sched_getaffinity(0)) // workers)
    os.environ.setdefault("TENGEN_NUM_THREADS", str(threads))


def pytest_configure(config):
    if os.environ.get("TENGEN_XPU") == "gpu":
        from on_gpu import suite  # it loads the double of the driver

        suite.begin(config)


@pytest.fixture(autouse=True)
def same_numbers(request):
    """A test draws the same numbers whichever tests ran before it in its process: what it draws from starts anew."""
    for generator in generators(request.module):
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
    if "tengen.random" in sys.modules:
        sys.modules["tengen.random"].seed(0)


@cache
def generators(module):
    """Those of a test module, and of the modules from which it has functions."""
    others = {sys.modules.get(value.__module__) for value in vars(module).values() if isinstance(value, FunctionType)}
    return [v for m in {module, *others} - {None} for v in vars(m).values() if isinstance(v, np.random.Generator)]
