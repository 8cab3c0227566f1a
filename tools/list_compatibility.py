"""Print docs/compatibility.md: the state of each name of MegEngine's API.

    python tools/list_compatibility.py > docs/compatibility.md

It is made from the inventory and the calls in tests/reference, and from what `tengen.compat.megengine` finds. Run it when the test of
the page says that it is out of date.
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

HEADER = """\
# Compatibility with MegEngine's API

MegEngine 1.13 has {all} public names. {works} of them work in tengen; {differs} of these differ in the ways that the tables state;
{missing} are missing. `python -m tengen.compat.megengine script.py` runs a program unchanged. A missing name can be imported, and
raises an error when it is used.

*Works* means that on a CPU, the calls in [tests/reference](../tests/reference/README.md) give the same values, dtypes, shapes,
errors and gradients as MegEngine. Names in *italics* exist, but comparing them takes more than a call (files, servers, the
network); they have tests of their own. In the tables, *the reference* is MegEngine 1.13.0. That README lists its errors beyond
these calls. `tools/list_compatibility.py` writes this page.
"""
OPS = "tengen.core.ops.builtin"


class Module(NamedTuple):
    """The names of one module, by what has become of them."""

    works: list[str]
    differs: dict[str, list[str]]  # and how
    missing: list[str]


def differences() -> dict[str, list[str]]:
    """Last part of a name → what its calls say that tengen does otherwise, and why."""
    found: dict[str, list[str]] = {}
    for family in calls.FAMILIES:
        for row in calls.rows(family):
            if row.reason:
                place = (
                    row.text.partition("(")[0].rpartition(".")[2] if "(" in row.text else row.text.rpartition(".")[2]
                )
                how = f"`{row.text}`: {row.reason}"
                if not any(row.reason in other for other in found.get(place, ())):
                    found.setdefault(place, []).append(how)
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
                row.differs[name] = ["can be made; applying it raises an error that says why tengen cannot run it"]
            elif name in hows and module != OPS:
                row.differs[name] = hows[name]
            else:
                compared = name in named or module == OPS or names[name]["kind"] not in ("class", "function")
                row.works.append(name if compared else f"*{name}*")
    return found


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def page() -> str:
    """The whole page."""
    found = modules()
    works, differs, missing = (sum(len(row[part]) for row in found.values()) for part in range(3))
    counts = {"all": works + differs + missing, "works": works + differs, "differs": differs, "missing": missing}
    parts = [HEADER.format(**counts)]
    for module, row in found.items():
        parts.append(f"\n## {module}\n")
        if row.works:
            parts.append(f"\n{_wrapped('Works: ' + ', '.join(row.works))}\n")
        if row.missing:
            parts.append(f"\n{_wrapped('Missing: ' + ', '.join(row.missing))}\n")
        if row.differs:
            parts.append("\n| differs | how |\n|---|---|\n")
            parts += [
                f"| {name} | {'<br>'.join(hows).replace('|', chr(92) + '|')} |\n" for name, hows in row.differs.items()
            ]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
