"""Print the names of an inventory of MegEngine's API that tengen does not have yet: what src/tengen/base/planned.txt holds.

    python tools/list_planned.py inventory.json > planned.txt && mv planned.txt src/tengen/base/

The inventory is JSON: tengen's module path → name → {"kind": …}. Run it after a release of MegEngine, or when the test of
planned.txt says that a name is there by now.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import tengen.compat.megengine
from tengen.compat.megengine.missing import Missing

PACKAGE = tengen.compat.megengine.__name__
HEADER = """\
# Names of MegEngine that tengen does not have yet: a module (. is the package itself), and what it misses;
# module@package: names that it does not have and this package gives.
# Written by tools/list_planned.py.
"""


def missing(inventory: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """By module without the package's name, what it does not have; a module that is missing is a name of its parent."""
    found: dict[str, set[str]] = {}
    for module, names in inventory.items():
        try:
            here = import_module(module)
        except ModuleNotFoundError as error:
            assert error.name is not None
            parent, _, name = error.name.rpartition(".")
            found.setdefault(parent, set()).add(name)
            continue
        lacking = {
            name
            for name, what in names.items()
            if what["kind"] in ("class", "function") and not hasattr(here, name)
        }  # fmt: skip
        given = {name for name in lacking if is_given(module, name)}
        for place, some in ((module, lacking - given), (f"{module}@{PACKAGE}", given)):
            if some:
                found.setdefault(place, set()).update(some)
    return {module.partition(".")[2] or ".": names for module, names in found.items()}


def is_given(module: str, name: str) -> bool:
    """Whether programs that are written for MegEngine find a name that tengen's own module does not have."""
    there = import_module(f"megengine.{module.partition('.')[2]}".strip("."))
    return hasattr(there, name) and not isinstance(getattr(there, name), Missing)


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        inventory = json.load(file)
    print(HEADER, end="")
    for module, names in sorted(missing(inventory).items()):
        print(module, *sorted(names))


if __name__ == "__main__":
    main(sys.argv[1])
