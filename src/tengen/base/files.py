"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to in a `with` block; it replaces `path` at the end, and on an exception `path` stays as it was.

    What was there keeps its permissions, and a link goes on pointing where it did. A path that is a device or a pipe is
    written to.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    temporary = f"{target}.{os.urandom(6).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(target))


def append_whole(file: BinaryIO, data: memoryview) -> None:
    """Write all of `data`; what was written before an error is cut off again where the file can seek."""
    start = file.tell() if file.seekable() else None
    try:
        while len(data):
            data = data[file.write(data) :]
        file.flush()
    except BaseException:
        if start is not None:
            file.seek(start)
            file.truncate()
        raise


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, or what is left of the file.

    They are read piece by piece, so that a damaged size ends at the end of the file and not in a huge allocation.
    """
    pieces, missing = [], size
    while missing > 0 and (piece := file.read(min(missing, 1 << 26))):
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _sync_folder(folder: str) -> None:
    """Have the new name of a file survive a power cut; Windows cannot and need not."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
