"""`python -m tengen`: what it says, and what it does to the cache."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import tengen
from tengen.__main__ import main
from tengen.base import config


@pytest.fixture
def folder(tmp_path):
    """A cache folder with two entries and a file that is none."""
    for name in ("0" * 64, "a" * 64, "letter.txt"):
        (tmp_path / name).write_bytes(b"x" * 2048)
    tmp_path.chmod(0o700)
    with config.override(cache_dir=str(tmp_path)):
        yield tmp_path


def test_info(folder, capsys):
    assert main(["info"]) == 0
    said = dict(
        re.split(r"\s{2,}|(?<=kernels for)\s", line, maxsplit=1) for line in capsys.readouterr().out.splitlines()
    )
    assert said["tengen"].startswith(f"{tengen.__version__}, ")
    assert sys.executable in said["Python"] and "numpy" in said["packages"] and "llvmlite" in said["packages"]
    assert said["threads"].isdigit() and f"cache_dir={folder}" in said["settings"]
    assert said["kernels"] == f"{folder}: 2 entries, 4.0 KiB of at most 1.0 GiB"
    assert "this machine can run" in said["kernels for"]
    assert ("multiprocessors" if tengen.device.get_device_count("gpu") else "none: tengen computes on the CPU") in said[
        "GPU"
    ]


def test_info_where_the_instruction_set_is_not_there(capsys):
    with config.override(isa="neon" if "86" in __import__("platform").machine() else "avx2"):
        assert main(["info"]) == 0
    assert "this machine has no" in capsys.readouterr().out


def test_cache(folder, capsys):
    assert main(["cache", "info"]) == main(["cache", "limit", "1.5M"]) == main(["cache", "clear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{folder}: 2 entries, 4.0 KiB of at most 1.0 GiB",
        f"{folder}: 2 entries, 4.0 KiB of at most 1.5 MiB",
        f"removed 2 entries, 4.0 KiB, from {folder}",
    ]
    assert (folder / "letter.txt").exists()


@pytest.mark.parametrize(
    "text, size", [("500M", 500 << 20), ("2 GiB", 2 << 30), ("1.5k", 1536), ("7", 7), ("1TB", 1 << 40)]
)
def test_sizes(folder, capsys, text, size):
    assert main(["cache", "limit", text]) == 0
    assert (folder / "limit").read_text() == str(size)


@pytest.mark.parametrize("text", ["-1", "much", "1.5x", ""])
def test_what_is_no_size(folder, capsys, text):
    with pytest.raises(SystemExit):
        main(["cache", "limit", text])
    assert f"got {text!r}" in capsys.readouterr().err or text == "-1"
    assert not (folder / "limit").exists()


def test_no_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with config.override(cache_dir=str(tmp_path / "file" / "kernels")):
        assert main(["cache", "info"]) == 0
        assert main(["cache", "limit", "1M"]) == 1
    said = capsys.readouterr()
    assert "no folder can be used" in said.out and said.err.startswith("python -m tengen: there is no folder")


def test_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tengen", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"tengen {tengen.__version__}\n"
