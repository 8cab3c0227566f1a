"""Write docs/compatibility.md, and .zh.md in Chinese: the state of each name of MegEngine's API.

    python tools/list_compatibility.py

They are made from the inventory and the calls in tests/reference, and from what `tengen.compat.megengine` finds. Run it when the test of
the pages says that they are out of date. compatibility_notes.txt has the notes in both languages.
"""

from __future__ import annotations

import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import tengen.compat.megengine  # noqa: F401 - so that there is a megengine
from tengen.compat.megengine.missing import Missing
from tengen.compat.megengine.own.core.ops.lowering import REFUSED

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

import calls

ROOT = Path(__file__).resolve().parent.parent
HEADERS = {
    "en": """\
# Compatibility with MegEngine's API

MegEngine 1.13 has {all} public names. {works} of them work in tengen; {differs} of these differ in the ways that the tables state;
{missing} are missing. `python -m tengen.compat.megengine script.py` runs a program unchanged. A missing name can be imported, and
raises an error when it is used.

*Works* means that on a CPU, the calls in [tests/reference](../tests/reference/README.md) give the same values, dtypes, shapes,
errors and gradients as MegEngine. Names in *italics* exist, but comparing them takes more than a call (files, servers, the
network); they have tests of their own. In the tables, *the reference* is MegEngine 1.13.0. That README lists its errors beyond
these calls. `tools/list_compatibility.py` writes this page.
""",
    "zh": """\
# 与 MegEngine API 的兼容性

MegEngine 1.13 有 {all} 个公开名称：{works} 个在 tengen 中可用，其中 {differs} 个有差别，如各表所述；缺少 {missing} 个。
`python -m tengen.compat.megengine script.py` 不用修改程序就能运行它。缺少的名称可以导入，使用时报错。

*可用*是指：在 CPU 上，[tests/reference](../tests/reference/README.md) 中的调用与 MegEngine 给出相同的值、数据类型、
形状、错误和梯度。*斜体*的名称也有，但要比较它们，只靠一次调用不够（涉及文件、服务器、网络）；它们有自己的测试。表中的*参考实现*是 MegEngine 1.13.0。
这些调用之外它还有哪些错误，列在上述 README 中。本页由 `tools/list_compatibility.py` 写出。
""",
}
WORDS = {
    "en": {"works": "Works: ", "missing": "Missing: ", "heads": "| differs | how |", "colon": ": "},
    "zh": {"works": "可用：", "missing": "缺少：", "heads": "| 名称 | 有何不同 |", "colon": "："},
}
PAGES = {"en": ROOT / "docs" / "compatibility.md", "zh": ROOT / "docs" / "compatibility.zh.md"}
OPS = "tengen.core.ops.builtin"


class Difference(NamedTuple):
    """A call that shows it ("" if none does), and the note that says what differs, in English."""

    call: str
    note: str


class Module(NamedTuple):
    """The names of one module, by what has become of them."""

    works: list[str]
    differs: dict[str, list[Difference]]
    missing: list[str]


def notes() -> dict[str, str]:
    """The notes: English → Chinese."""
    text = (Path(__file__).resolve().parent / "compatibility_notes.txt").read_text(encoding="utf-8")
    return {english: chinese for english, chinese in (line.split(" | ") for line in text.splitlines())}


def differences() -> dict[str, list[Difference]]:
    """Last part of a name → what its calls say that tengen does otherwise, and why."""
    found: dict[str, list[Difference]] = {}
    for family in calls.FAMILIES:
        for row in calls.rows(family):
            if row.reason:
                place = (
                    row.text.partition("(")[0].rpartition(".")[2] if "(" in row.text else row.text.rpartition(".")[2]
                )
                if not any(row.reason in other.note for other in found.get(place, ())):
                    found.setdefault(place, []).append(Difference(row.text, row.reason))
    return found


def called() -> set[str]:
    """The last parts of all names that a call or a program names."""
    import replay

    programs = [program for family in replay.FAMILIES for program in replay.programs(family)]
    rows = [row.text for family in calls.FAMILIES for row in calls.rows(family)]
    return {name.rpartition(".")[2] for text in [*programs, *rows] for name in calls.called(text)}


def is_missing(module: str, name: str) -> bool:
    """Whether tengen does not have a name of the inventory yet."""
    return isinstance(getattr(import_module(f"megengine.{module.partition('.')[2]}".strip(".")), name), Missing)


def modules() -> dict[str, Module]:
    """Module, by MegEngine's name → its names."""
    hows, named, found = differences(), called(), {}
    for module, names in sorted(calls.INVENTORY.items()):
        row = found["megengine" + module.removeprefix("tengen")] = Module([], {}, [])
        for name in sorted(names):
            if is_missing(module, name):
                row.missing.append(name)
            elif module == OPS and name in REFUSED:
                note = "can be made; applying it raises an error that says why tengen cannot run it"
                row.differs[name] = [Difference("", note)]
            elif name in hows and module != OPS:
                row.differs[name] = hows[name]
            else:
                compared = name in named or module == OPS or names[name]["kind"] not in ("class", "function")
                row.works.append(name if compared else f"*{name}*")
    return found


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def page(language: str) -> str:
    """The whole page in a language."""
    found, words, chinese = modules(), WORDS[language], notes()
    works, differs, missing = (sum(len(row[part]) for row in found.values()) for part in range(3))
    counts = {"all": works + differs + missing, "works": works + differs, "differs": differs, "missing": missing}
    parts = [HEADERS[language].format(**counts)]

    def how(difference: Difference) -> str:
        call = f"`{difference.call}`{words['colon']}" if difference.call else ""
        return call + (difference.note if language == "en" else chinese[difference.note])

    for module, row in found.items():
        parts.append(f"\n## {module}\n")
        if row.works:
            parts.append(f"\n{_wrapped(words['works'] + ', '.join(row.works))}\n")
        if row.missing:
            parts.append(f"\n{_wrapped(words['missing'] + ', '.join(row.missing))}\n")
        if row.differs:
            parts.append(f"\n{words['heads']}\n|---|---|\n")
            parts += [
                f"| {name} | {'<br>'.join(map(how, hows)).replace('|', chr(92) + '|')} |\n"
                for name, hows in row.differs.items()
            ]
    return "".join(parts)


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
