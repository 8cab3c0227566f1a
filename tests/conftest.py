"""What all tests share: where compiled kernels are kept, and how many threads a test process uses."""

from __future__ import annotations

import os
from pathlib import Path

# Both are read when tengen is imported, which the test modules do after this. What the caller has set is left alone.
KERNELS = Path(__file__).resolve().parent.parent / ".pytest_cache" / "kernels"
os.environ.setdefault("TENGEN_CACHE_DIR", str(KERNELS))
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    # At least two, so that work is split among threads in the tests too.
    threads = max(2, len(os.sched_getaffinity(0)) // workers)
    os.environ.setdefault("TENGEN_NUM_THREADS", str(threads))
