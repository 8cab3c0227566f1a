"""What is being traced, and what is being inserted into a graph, in this thread."""

from __future__ import annotations

import threading
from typing import Any


class _State(threading.local):
    recorder: Any = None


_state = _State()


def recorder() -> Any:
    """What records the calls of this thread; None where nothing does, or where they are inside a recorded call."""
    found = _state.recorder
    return None if found is None or found.inside else found


def current() -> Any:
    """What records in this thread, also inside a recorded call."""
    return _state.recorder


def set_recorder(recorder: Any) -> Any:
    """Have the calls of this thread recorded; what did so before."""
    before, _state.recorder = _state.recorder, recorder
    return before


def inserting() -> Any:
    """What inserts expressions into a graph in this thread."""
    found = recorder()
    return found if found is not None and found.takes_nodes else None


def scope() -> Any:
    """The scope that is being recorded."""
    found = recorder()
    return None if found is None else found.scope
