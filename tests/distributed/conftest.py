"""A world of one process, which each test leaves again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tengen
import tengen.distributed as dist
from tengen.base import world as worlds


@pytest.fixture
def world() -> Iterator[dist.Server]:
    """The process is in a world of one; its server."""
    device = tengen.get_default_device()
    with dist.Server() as server:
        dist.init_process_group("localhost", server.py_server_port, 1, 0, 0)
        yield server
        worlds.enter(None)
    tengen.set_default_device(device)
