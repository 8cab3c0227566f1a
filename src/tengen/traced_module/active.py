"""What this thread is tracing, and what it is inserting into a graph."""

from __future__ import annotations

import threading
from typing import Any


class _State(threading.local):
    recorder: Any = None


_state = _State()


def recorder() -> Any:
    """The recorder of this thread; None if there is none, or inside a recorded call."""
    found = _state.recorder
    return None if found is None or found.inside else found


def current() -> Any:
    """The recorder of this thread, also inside a recorded call."""
    return _state.recorder


def set_recorder(recorder: Any) -> Any:
    """Set the recorder of this thread; returns the previous one."""
    before, _state.recorder = _state.recorder, recorder
    return before


def inserting() -> Any:
    """The context that inserts expressions into a graph in this thread."""
    found = recorder()
    return found if found is not None and found.takes_nodes else None


def scope() -> Any:
    """The scope that is being recorded."""
    found = recorder()
    return None if found is None else found.scope
