"""Loads a page in Chromium without a window, and gives what it has become."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html import unescape
from typing import NamedTuple

import pytest


class Loaded(NamedTuple):
    """The page after its scripts have run, and what they have logged."""

    html: str
    logged: list[str]

    def texts(self, pattern: str) -> list[str]:
        """What a pattern's group matches, without tags."""
        return [unescape(re.sub("<[^>]*>", "", found)) for found in re.findall(pattern, self.html, re.DOTALL)]


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    browser = next(filter(None, (shutil.which(name) for name in names if name)), None)
    assert browser, "no Chromium: apt install chromium, or CHROMIUM=path"
    profile = tmp_path_factory.mktemp("browser")

    def run(path, fragment: str = "", width: int = 1200, picture: str = "") -> Loaded:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},1300", "--virtual-time-budget=2000"]
        command += [f"--screenshot={picture}"] if picture else ["--dump-dom"]
        command.append(path.as_uri() + fragment)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return Loaded(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])

    return run
