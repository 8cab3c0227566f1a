"""Files that are written whole or not at all."""

from __future__ import annotations

import io
import os
import stat

import pytest

from tengen.base.files import append_whole, read_up_to, write_whole


def test_replaces_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with write_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_exception_leaves_all_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), write_whole(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), write_whole(tmp_path / "no" / "file"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with write_whole(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="/dev/null")
def test_a_device_is_written_to():
    with write_whole(os.devnull) as file:
        file.write(b"gone")
    assert not os.path.isfile(os.devnull)


class Full(io.BytesIO):
    """A file on a disk that is full after 4 bytes, and writes one at a time."""

    def write(self, data):
        if self.tell() >= 4:
            raise OSError(28, "No space left on device")
        return super().write(bytes(data[:1]))


def test_appends_all_or_nothing():
    file = Full(b"")
    append_whole(file, memoryview(b"abc"))
    with pytest.raises(OSError, match="No space"):
        append_whole(file, memoryview(b"def"))
    assert file.getvalue() == b"abc"


def test_reads_what_is_there():
    file = io.BytesIO(b"abcdef")
    assert read_up_to(file, 4) == b"abcd"
    assert read_up_to(file, 2**60) == b"ef"
    assert read_up_to(file, 1) == b""
