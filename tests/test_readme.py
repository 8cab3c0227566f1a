"""Every Python block of the README files and of docs/ runs as it is shown, and prints what is shown below it."""

from __future__ import annotations

import doctest
import io
import multiprocessing
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = (
    ROOT / "docs" / "site"
)  # whose Chinese pages have the code of the English ones: tests/test_site.py compares them, and looks at links
# Chinese pages of docs/ have the blocks of the English ones, as tests/test_site.py checks.
DOCS = [
    p for p in sorted((ROOT / "docs").rglob("*.md")) if SITE / "zh" not in p.parents and p.suffixes != [".zh", ".md"]
]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *DOCS]
OUTSIDE = [page for page in PAGES if SITE not in page.parents]
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# What a block prints, right after it; ... stands for anything.
OUTPUT = re.compile(r"\n```text\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
ALIKE = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page, tmp_path, monkeypatch):
    """Where a page starts processes, in one of its own, as for a reader: one that has used a GPU must not be forked."""
    monkeypatch.chdir(tmp_path)
    if "launcher" not in page.read_text(encoding="utf-8"):
        run_blocks(page)
        return
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    process = multiprocessing.get_context("spawn").Process(target=run_blocks, args=(page,))
    process.start()
    process.join()
    assert process.exitcode == 0


def run_blocks(page):
    """One after the other: who reads a page has seen what stands above."""
    text, names = page.read_text(encoding="utf-8"), {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start(1))
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * first + match[1], str(page), "exec"), names)  # line numbers are those of the page
        if shown := OUTPUT.match(text, match.end() + 1):
            checker, got = doctest.OutputChecker(), printed.getvalue()
            assert checker.check_output(shown[1], got, ALIKE), f"{page.name}, line {first}: printed\n{got}"


SHELL = re.compile(r"^```sh\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^python -m tengen ((?:info|cache).*)$", flags=re.MULTILINE)  # others need files, or train


@pytest.mark.parametrize("page", ["start.md", "performance.md"])
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.setenv("TENGEN_CACHE_DIR", str(tmp_path))
    text, count = (SITE / "en" / page).read_text(encoding="utf-8"), 0
    for match in SHELL.finditer(text):
        for command in COMMAND.findall(match[1]):
            told = subprocess.run(
                [sys.executable, "-m", "tengen", *command.split()], capture_output=True, text=True, check=True
            )
            count += 1
            if shown := OUTPUT.match(text, match.end() + 1):
                assert doctest.OutputChecker().check_output(shown[1], told.stdout, ALIKE), told.stdout
    assert count


def test_both_readmes_show_the_same_code():
    english, chinese = (BLOCK.findall(page.read_text(encoding="utf-8")) for page in PAGES[:2])
    assert english
    assert english == chinese


@pytest.mark.parametrize("page", [*OUTSIDE, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
