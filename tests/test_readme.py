"""Every Python block of the README files and of docs/ runs as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks() -> list[pytest.param]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            first = text.count("\n", 0, match.start(1))
            # Line numbers in a traceback are those of the page.
            found.append(pytest.param(page, "\n" * first + match[1], id=f"{page.name}:{first + 1}"))
    return found


@pytest.mark.parametrize(("page", "code"), blocks())
def test_block_runs(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


def test_both_readmes_show_the_same_code():
    english, chinese = (BLOCK.findall(page.read_text(encoding="utf-8")) for page in PAGES[:2])
    assert english
    assert english == chinese
