"""Every Python block of the README files and of docs/ runs as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page, tmp_path, monkeypatch):
    """One after the other: who reads a page has seen what stands above."""
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(encoding="utf-8"), {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start(1))
        exec(compile("\n" * first + match[1], str(page), "exec"), names)  # line numbers are those of the page


def test_both_readmes_show_the_same_code():
    english, chinese = (BLOCK.findall(page.read_text(encoding="utf-8")) for page in PAGES[:2])
    assert english
    assert english == chinese
