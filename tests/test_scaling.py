"""docs/scaling.md, and the Chinese page, show what the script prints, and the model is right where it can be counted by hand."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_page_and_script_agree():
    script = ROOT / "benchmarks" / "scaling.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    shown = page.partition("--write -->")[2].partition("<!-- end -->")[0]
    assert done.stdout.strip() == shown.strip() and "1024 workers" in shown


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("scaling")
    for name in ("scaling", "distributed", "machine", "networks_tengen"):
        sys.modules.pop(name, None)


def test_the_chinese_page_agrees(scaling):
    page = scaling.PAGES["zh"].read_text(encoding="utf-8")
    shown = page.partition("--write -->")[2].partition("<!-- end -->")[0].strip()
    assert shown == scaling.tables(json.loads(scaling.CONSTANTS.read_text()), "zh")
    words = set(re.findall("[A-Za-z]{4,}", shown.partition("\n")[2]))  # the first line has the processor's name
    assert words == {"ResNet", "transformer", "worker"}


def test_messages_are_counted(scaling):
    """Latency alone: links and memory that are endless."""
    link, endless = scaling.Link(1.0, float("inf")), float("inf")
    assert scaling.exchange(2, 100, link, endless) == 2 + 2  # agree there and back; two halves
    assert scaling.exchange(8, 100, link, endless) == 2 * 3 + 7 + 3
    assert scaling.exchange(1024, 100, link, endless) == 2 * 10 + 1023 + 10


def test_bytes_are_counted(scaling):
    assert scaling.exchange(4, 400, scaling.Link(0.0, 100.0), float("inf")) == 2 * 3  # three quarters, twice
    assert scaling.exchange(4, 400, scaling.Link(0.0, 100.0), 200.0) == 2 * 3 + 2
    assert scaling.exchange(2, 400, scaling.Link(0.0, 100.0), 200.0) == 4


def test_what_is_hidden(scaling):
    link = scaling.Link(0.0, 1e9)
    job = scaling.Job("four buckets", 4 * scaling.BUCKET, 1.0)
    each = scaling.exchange(2, scaling.BUCKET, link, float("inf"))
    sent, whole = scaling.step(job, 2, link, float("inf"))
    assert sent == pytest.approx(4 * each) and whole == pytest.approx(1 + each)  # all but the last
    slow = scaling.step(job, 2, scaling.Link(0.0, 1e7), float("inf"))
    assert slow[1] == pytest.approx(1 + slow[0] - 1.0 * 2 / 3 * 3 / 4)
