"""docs/compatibility.md says what is so."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_page_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import list_compatibility

    written = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert written == list_compatibility.page(), "python tools/list_compatibility.py > docs/compatibility.md"


def test_what_is_missing_and_what_differs_is_seen(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import list_compatibility

    monkeypatch.setitem(sys.modules["calls"].INVENTORY["tengen.functional"], "no_such", {"kind": "function"})
    monkeypatch.setattr(list_compatibility, "is_missing", lambda module, name: name == "no_such")
    found = list_compatibility.modules()["megengine.functional"]
    assert found.missing == ["no_such"]
    assert "relu" in found.works
    assert "nan" in found.differs["sign"][0]
