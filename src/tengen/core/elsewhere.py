"""Computations that continue in another process: gradients come from there and go there.

To a process, what it has sent is an end of its own computation, like a loss, and what it has received is a beginning,
like a parameter. Functions do not know the GradManagers that record, so these register here, and are told what was sent
and received.
"""

from __future__ import annotations

from typing import Protocol

from .tensor import Tensor


class _Records(Protocol):
    def follow(self, tensor: Tensor) -> None:
        """Record what is computed from a tensor from now on."""


sent: list[Tensor] = []
"""Tokens of what has been sent while recording; a backward starts from them too."""
recording: list[_Records] = []
"""The recording managers, the outermost first."""


def send(token: Tensor) -> None:
    """Let the backward start from the token as well."""
    if token._is_watched():
        sent.append(token)


def receive(beginning: Tensor) -> None:
    """Record what is computed from a tensor, in all managers that record."""
    for manager in recording:
        manager.follow(beginning)
