"""The handle of a registered hook."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

_numbers = count()


class HookHandler:
    """What `Module.register_forward_hook` returns: `remove()` takes the hook out again.

    Args:
        source_dict: where the hook is kept, under this handle's number.
        hook: the function.
    """

    def __init__(self, source_dict: dict[int, Callable[..., Any]], hook: Callable[..., Any]):
        self._number = next(_numbers)
        self._hooks = source_dict
        source_dict[self._number] = hook

    @property
    def hook_num(self) -> int:
        """The number that the hook is kept under."""
        return self._number

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        self._hooks.pop(self._number, None)
