"""Lets the tests of this folder import its helpers in any import mode, and gives programs tengen's names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tengen

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """The names that a program may use, from tengen. Mixed precision has the dtypes that programs ask for, as the reference has. Not for the
    session: a worker runs tests of other folders too, which the setting must not reach."""
    import replay

    with tengen.config.override(autocast="asked"):
        yield replay.names_of("tengen")
