"""The names of MegEngine 1.13's modules and of what they define, read from `modules.txt`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules.txt")

# Modules that hold the same settings as another one.
SAME = {"config": "core._config"}


@cache
def modules() -> Mapping[str, Mapping[str, str]]:
    """Module ("" is the package itself) → name → the module that defines it. Names of modules leave out that of the
    package."""
    found: dict[str, dict[str, str]] = {}
    with open(_PATH, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                module, *names = line.split()
                place = module.strip(".")
                pairs = (name.partition("=") for name in names)
                found[place] = {name: home if equal else place for name, equal, home in pairs}
    return found


@cache
def _exporters() -> Mapping[tuple[str, str], list[str]]:
    """(defining module, name) → all modules that export the name from there."""
    found: dict[tuple[str, str], list[str]] = {}
    for place, names in modules().items():
        for name, home in names.items():
            found.setdefault((home, name), []).append(place)
    return found


def places(module: str, name: str) -> list[str]:
    """The modules where `module.name` may be found: there, where it is defined, and where else it is exported."""
    home = modules().get(module, {}).get(name, module)
    found = [module, home, *_exporters().get((home, name), ())]
    return list(dict.fromkeys([*found, *(SAME[place] for place in found if place in SAME)]))


@cache
def submodules(module: str) -> frozenset[str]:
    """The names of the modules directly in a package of MegEngine."""
    prefix = f"{module}." if module else ""
    below = (place[len(prefix) :] for place in modules() if place and place.startswith(prefix))
    return frozenset(rest.partition(".")[0] for rest in below)
