"""The instructions of the loop IR that are mathematical functions. The op table enters those of its rows when it is
imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple


class Function(NamedTuple):
    """One such instruction. code: the name of its emitter in `vecmath` ("module.function"), or the emitter itself,
    (*vectors) → vector."""

    arity: int
    code: str | Callable[..., Any]


FUNCTIONS: dict[str, Function] = {}


def sources() -> list[str]:
    """The files outside the compiler that contain emitters."""
    emitters = [f.code for f in FUNCTIONS.values() if not isinstance(f.code, str)]
    return sorted({os.path.realpath(emit.__code__.co_filename) for emit in emitters})
