"""Computations that continue in another process: gradients come from there and go there.

What a process has sent is an end of its own computation like a loss, and what it has received is a beginning of it like a parameter; a
GradManager that records counts them as such. It says so here, as functions do not know it.
"""

from __future__ import annotations

from typing import Protocol

from .tensor import Tensor


class _Records(Protocol):
    def follow(self, tensor: Tensor) -> None:
        """Record what is computed of a tensor from now on."""


sent: list[Tensor] = []
"""Tokens of what has been sent and is recorded; a backward starts from them too."""
recording: list[_Records] = []
"""The managers that record, the outermost first."""


def send(token: Tensor) -> None:
    """Let the backward start from the token, too."""
    if token._is_watched():
        sent.append(token)


def receive(beginning: Tensor) -> None:
    """Record what is computed of a tensor in all managers that record."""
    for manager in recording:
        manager.follow(beginning)
