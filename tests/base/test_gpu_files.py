"""What was saved on one device is loaded on another, and where there is no GPU: each time in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from double.library import library

PROGRAM = Path(__file__).resolve().parent / "kept.py"
NONE = {"DOUBLE_DEVICES": "0"}  # a machine without a GPU


def run(what, folder, **environment):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(folder)],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders by the device that they were saved on."""
    made = {}
    for name, environment in {"xpux": {}, "gpu1": {"MGE_DEFAULT_DEVICE": "gpu1"}, "cpu": NONE}.items():
        folder = tmp_path_factory.mktemp(name)
        assert run("save", folder, **environment) == []
        made[name] = folder
    return made


@pytest.mark.parametrize(
    ("there", "here", "device"),
    [
        ("xpux", NONE, "xpux:0 cpu0 cpu0"),
        ("xpux", {"TENGEN_XPU": "cpu"}, "xpux:0 cpu0 cpu0"),
        ("cpu", {}, "xpux:0 gpu0 gpu0"),
        ("cpu", {"MGE_DEFAULT_DEVICE": "gpu1"}, "xpux:0 gpu0 gpu1"),
        ("gpu1", {}, "gpu1:0 gpu1 gpu0"),
    ],
)
def test_values_go_where_they_were(saved, there, here, device):
    assert run("load", saved[there], **here) == [device]


def test_a_gpu_that_is_not_there(saved):
    error, device = run("load", saved["gpu1"], **NONE)
    assert "gpu1:0 was asked for, but tengen finds no such GPU (it can use 0 here)" in error
    assert error.endswith("load(..., map_location='cpu0') puts its tensors elsewhere")
    assert device == "xpux:0 cpu0 cpu0"
