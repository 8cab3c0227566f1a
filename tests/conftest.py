"""What all tests share: where compiled kernels are kept, how many threads a test process uses, and the numbers it draws."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

# Both are read when tengen is imported, which the test modules do after this. What the caller has set is left alone.
KERNELS = Path(__file__).resolve().parent.parent / ".pytest_cache" / "kernels"
os.environ.setdefault("TENGEN_CACHE_DIR", str(KERNELS))
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    # At least two, so that work is split among threads in the tests too.
    threads = max(2, len(os.sched_getaffinity(0)) // workers)
    os.environ.setdefault("TENGEN_NUM_THREADS", str(threads))


@pytest.fixture(autouse=True)
def same_numbers(request):
    """A test draws the same numbers whichever tests ran before it in its process: what it draws from starts anew."""
    for module in (request.module, sys.modules.get("contraction_harness")):
        for value in vars(module).values() if module else ():
            if isinstance(value, np.random.Generator):
                value.bit_generator.state = np.random.default_rng(0).bit_generator.state
