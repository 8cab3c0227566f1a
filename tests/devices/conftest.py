"""Tests of GPUs, for a process whose driver is the test double: tests/test_devices.py starts one."""

from __future__ import annotations

import os

import pytest

if not os.environ.get("TENGEN_CUDA_LIBRARY"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def double():
    from double.library import double  # not in processes without the double

    return double()


@pytest.fixture(autouse=True)
def no_problems(double):
    """The program kept to the driver's contract."""
    yield
    found = double.problems()
    double.forget()
    assert found == []
