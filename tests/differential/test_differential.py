"""Two minutes of random programs with fixed seeds; what they are and how to read a failure: README.md."""

from __future__ import annotations

import pytest

from .pool import Worker, look

PROGRAMS = 20
"""Programs of one test; the tests are many, so that they spread over processes."""


@pytest.fixture(scope="module")
def worker():
    made = Worker()
    yield made
    made.close()


@pytest.mark.parametrize("block", range(25))
def test_programs_agree_with_numpy_in_every_mode(worker: Worker, block: int) -> None:
    found = (look(worker, seed) for seed in range(block * PROGRAMS, (block + 1) * PROGRAMS))
    first = next((f for f in found if f is not None), None)
    assert first is None, f"\n{first}"
