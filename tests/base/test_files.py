"""Files that are written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys

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


# -- processes that were killed while they wrote ---------------------------------------------------------------

KILLED = """
import os, signal, sys
from tengen.base.files import write_whole
with write_whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def start_writing(path, how):
    command = [sys.executable, "-c", KILLED, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals and locks as POSIX has them")
def test_the_next_one_to_write_there_removes_what_a_killed_process_left(tmp_path):
    start_writing(tmp_path / "first", "kill").communicate()
    assert len(os.listdir(tmp_path)) == 1
    alive = start_writing(tmp_path / "second", "wait")
    (unfinished,) = os.listdir(tmp_path)
    with write_whole(tmp_path / "third") as file:
        file.write(b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([unfinished, "third"]), "what somebody is writing stays"
    alive.communicate(b"")
    assert sorted(os.listdir(tmp_path)) == ["second", "third"]
    assert (tmp_path / "second").read_bytes() == b"half"


def test_another_thread_that_writes_there_is_left_alone(tmp_path):
    with write_whole(tmp_path / "one") as one:
        with write_whole(tmp_path / "two") as two:
            two.write(b"2")
        one.write(b"1")
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"1", b"2"]


def test_files_of_others_are_left_alone(tmp_path):
    names = ["file.tmp", "tengen-1.tmp", "x-tengen-0123456789abcdef.tmp", "tengen-0123456789abcdef.tmp.bak"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "tengen-0000000000000000.tmp").mkdir()
    with write_whole(tmp_path / "file"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "tengen-0000000000000000.tmp", "file"])


def test_names_as_long_as_the_file_system_takes(tmp_path):
    with write_whole(tmp_path / ("n" * 255)):
        pass
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_claimed_size_takes_no_memory():
    asked = []

    class Short(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    assert read_up_to(Short(b"abc"), 1 << 40) == b"abc"
    assert max(asked) <= 1 << 16
    whole = bytes(range(256)) * 4096
    assert read_up_to(io.BytesIO(whole), len(whole) + 1) == whole
