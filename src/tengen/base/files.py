"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO

_UNFINISHED = re.compile(r"tengen-[0-9a-f]{16}\.tmp")


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
    remove_unfinished(os.path.dirname(target))
    with replacing(target) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(os.path.dirname(target))


@contextmanager
def replacing(target: str, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write to in a `with` block; at the end it takes the place of `target`, whose permissions stay. It is not forced to the disk.

    mode: the permissions of a new one, before the umask. While it is written it is locked, so that `remove_unfinished` knows it.
    """
    descriptor, temporary = _begin(os.path.dirname(target), mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            if os.path.exists(target):
                os.chmod(temporary, os.stat(target).st_mode & 0o777)
            os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _begin(folder: str, mode: int) -> tuple[int, str]:
    """A new file in the folder, open and locked, and its path."""
    while True:
        temporary = os.path.join(folder, f"tengen-{os.urandom(8).hex()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.exists(temporary):
            return descriptor, temporary
        os.close(descriptor)  # another process cleaned up before it was locked


def remove_unfinished(folder: str) -> None:
    """Remove what processes that were killed while they wrote have left in a folder. Files that somebody is writing stay."""
    with suppress(OSError), os.scandir(folder) as found:
        left = [entry.path for entry in found if _UNFINISHED.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError):  # it is being written, or gone, or another user's
                descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)


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


def read_up_to(file: IO[bytes], size: int) -> bytes:
    """The next `size` bytes, or what is left of the file.

    They are read piece by piece, each at most as large as what came before it, so that a damaged size ends at the end of the file
    and not in a huge allocation.
    """
    pieces, missing = [], size
    while missing > 0 and (piece := file.read(min(missing, max(size - missing, 1 << 16)))):
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
