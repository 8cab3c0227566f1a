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

HEADER = """\
# Names of MegEngine that tengen does not have yet: a module (. is the package itself), and what it misses.
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
        if lacking:
            found.setdefault(module, set()).update(lacking)
    return {module.partition(".")[2] or ".": names for module, names in found.items()}


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        inventory = json.load(file)
    print(HEADER, end="")
    for module, names in sorted(missing(inventory).items()):
        print(module, *sorted(names))


if __name__ == "__main__":
    main(sys.argv[1])
