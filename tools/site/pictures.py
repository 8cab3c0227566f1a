"""Write the pictures of docs/pictures anew: `python tools/site/pictures.py [digits] [profile]`, after `make test-docs`,
which installs what this needs.

`digits.png` is what the demo draws. `profile.png` is the page of a profile in Chromium: three eager steps of a small network, then four
traced ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import SGD
from tengen.utils.profiler import Profiler, scope

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"


class Block(M.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.conv = M.Conv2d(channels_in, channels, 3, padding=1)
        self.norm = M.BatchNorm2d(channels)

    def forward(self, x: tengen.Tensor) -> tengen.Tensor:
        return F.relu(self.norm(self.conv(x)))


class Net(M.Module):
    """Three blocks and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = M.Sequential(Block(3, 32), Block(32, 32), Block(32, 32))
        self.head = M.Linear(32, 10)

    def forward(self, x: tengen.Tensor) -> tengen.Tensor:
        return self.head(F.mean(self.blocks(x), axis=(2, 3)))


def profile(folder: str) -> Path:
    """The page of a few steps."""
    net = Net()
    gm = GradManager().attach(net.parameters())
    sgd = SGD(net.parameters(), lr=0.1)
    x, y = tengen.random.normal(size=(8, 3, 48, 48)), F.zeros(8, dtype="int32")

    def step(x: tengen.Tensor, y: tengen.Tensor) -> None:
        with gm:
            gm.backward(F.nn.cross_entropy(net(x), y))
        sgd.step().clear_grad()

    traced = trace(step, without_host=True)
    for _ in range(3):
        step(x, y)
        traced(x, y)
    with Profiler(folder, with_scopes=True, with_backtrace=True):
        for name, function, times in (("eager", step, 3), ("traced", traced, 4)):
            for _ in range(times):
                with scope(name):
                    function(x, y)
    (page,) = Path(folder).glob("*.html")
    return page


def draw_digits(folder: str) -> None:
    """What the demo draws."""
    subprocess.run([sys.executable, "-m", "tengen.examples.digits", "--output", folder], check=True)
    shutil.copy(next(Path(folder).glob("*.png")), PICTURES / "digits.png")


def draw_profile(folder: str) -> None:
    """A profile's page, as a browser shows it."""
    path = profile(folder)
    with sync_playwright() as playwright:
        browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.goto(f"{path.as_uri()}#module")
        page.screenshot(path=PICTURES / "profile.png", full_page=True)
        browser.close()


def main() -> None:
    """Write those that are named, or both."""
    draw = {"digits": draw_digits, "profile": draw_profile}
    for name in sys.argv[1:] or draw:
        with tempfile.TemporaryDirectory() as folder:
            draw[name](folder)


if __name__ == "__main__":
    main()
