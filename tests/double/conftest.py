from __future__ import annotations

import sys

import pytest

from .driver import Device
from .library import double

if sys.platform != "linux":  # the double is a library of Linux
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def device():
    """Device 0, current. Afterwards no problem is left, and the next test begins without any."""
    made = Device()
    try:
        yield made
        assert double().problems() == []
    finally:
        double().forget()
        made.use()
        made.close()


@pytest.fixture
def faulty():
    """Device 0 for a test that does something wrong: afterwards, all is forgotten."""
    made = Device()
    try:
        yield made
    finally:
        double().forget()
        made.use()
        made.close()
