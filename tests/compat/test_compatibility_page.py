"""docs/compatibility.md says what is so, and so does the Chinese page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_up_to_date(monkeypatch, language):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import list_compatibility

    written = list_compatibility.PAGES[language].read_text(encoding="utf-8")
    assert written == list_compatibility.page(language), "python tools/list_compatibility.py"


def test_each_note_is_on_the_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import list_compatibility

    written = list_compatibility.PAGES["en"].read_text(encoding="utf-8")
    assert all(f"{note} |\n" in written for note in list_compatibility.notes())


def test_what_is_missing_and_what_differs_is_seen(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import list_compatibility

    monkeypatch.setitem(sys.modules["calls"].INVENTORY["tengen.functional"], "no_such", {"kind": "function"})
    monkeypatch.setattr(list_compatibility, "is_missing", lambda module, name: name == "no_such")
    found = list_compatibility.modules()["megengine.functional"]
    assert found.missing == ["no_such"]
    assert "relu" in found.works
    assert "nan" in found.differs["sign"][0].note
