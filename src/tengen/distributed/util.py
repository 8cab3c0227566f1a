"""What scripts that start processes need."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def get_free_ports(num: int) -> list[int]:
    """Different ports of this machine that nobody listens at now.

    Args:
        num: how many.

    Returns: a list of ints.

    >>> len(set(get_free_ports(3)))
    3
    """
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(num)]
        return [int(s.getsockname()[1]) for s in taken]
