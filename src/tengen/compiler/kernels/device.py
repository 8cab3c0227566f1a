"""A kernel of a GPU, as data: its text, and a launch of it."""

from __future__ import annotations

from typing import NamedTuple

WARP = 32
"""Threads that run in step."""

MOST_BLOCKS = (1 << 31) - 1


MOST_PARAMETERS = 4096
"""Bytes of addresses and numbers that a launch takes along."""


def from_memory(addresses: int, numbers: int) -> bool:
    """Whether a kernel reads so many addresses and numbers from memory, because a launch cannot take them along."""
    return 8 * (max(addresses, 1) + max(numbers, 1)) > MOST_PARAMETERS


class DeviceGrid(NamedTuple):
    """One launch: the numbers that the kernel takes, blocks and threads of a block along x, y and z, and the bytes of
    memory that a block asks for besides what the kernel declares. A grid of no blocks has nothing to do."""

    params: tuple[int, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int = 0

    def from_memory(self, addresses: int) -> bool:
        """Whether the kernel reads so many addresses, and its numbers, from memory."""
        return from_memory(addresses, len(self.params))


class DeviceKernel(NamedTuple):
    """A compiled kernel.

    ptx: a module with one entry `name`, which takes two arrays by value: the addresses of its buffers and its numbers,
    64 bits each; the addresses of the two arrays if they are long (`from_memory`). entry: where it is kept on disk.
    """

    name: str
    ptx: str
    entry: str
