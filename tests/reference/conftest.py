"""Lets the tests of this folder import its helpers in any import mode, and gives programs tengen's names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def names() -> dict[str, Any]:
    """The names that a program may use, from tengen."""
    import replay

    return replay.names_of("tengen")
