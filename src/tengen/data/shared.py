"""Send values to another process on this machine: large arrays go in shared memory.

The memory has no name, so it is freed with the last process that holds it, however that process ends. Where the system has none (only
Linux has it), values are sent whole.
"""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any, NamedTuple

LEAST = 1 << 16  # smaller arrays are not worth sharing
ALIGN = 64


class Packed(NamedTuple):
    """A pickled value. places: (offset, bytes) of its arrays in the memory that is open as `file` in the process `pid`; file is -1 for none."""

    data: bytes
    pid: int = 0
    file: int = -1
    places: tuple[tuple[int, int], ...] = ()

    def close(self) -> None:
        """Release the memory, in the process that packed it, once the other one has it or will not take it."""
        if self.file >= 0:
            os.close(self.file)


def pack(value: Any) -> Packed:
    """Prepare `value` for sending. Keep the result, and close it in the end."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raws = [b.raw() for b in buffers]
    if sum(raw.nbytes for raw in raws) < LEAST or not hasattr(os, "memfd_create"):
        return Packed(pickle.dumps(value, protocol=5))
    places, end = [], 0
    for raw in raws:
        places.append((end, raw.nbytes))
        end += -(-raw.nbytes // ALIGN) * ALIGN
    file = os.memfd_create("tengen-data", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, end)
        with mmap.mmap(file, end) as memory:
            for raw, (offset, size) in zip(raws, places, strict=True):
                memory[offset : offset + size] = raw
    except BaseException:
        os.close(file)
        raise
    return Packed(data, os.getpid(), file, tuple(places))


def unpack(packed: Packed) -> Any:
    """The value, with arrays in the shared memory. Raises FileNotFoundError if the process that packed it is gone."""
    if packed.file < 0:
        return pickle.loads(packed.data)
    file = os.open(f"/proc/{packed.pid}/fd/{packed.file}", os.O_RDWR | os.O_CLOEXEC)
    try:
        memory = memoryview(mmap.mmap(file, 0))
    finally:
        os.close(file)
    return pickle.loads(packed.data, buffers=[memory[o : o + size] for o, size in packed.places])
