"""Write what `tengen.compat.megengine` knows of MegEngine's interface: modules, their names, and the ops of `core.ops.builtin`.

    reference/bin/python tools/list_megengine.py src/tengen/compat/megengine

Runs with the Python that MegEngine is installed in (tests/reference/README.md says how). `modules.txt` has a line for each module:
its path, then its names; `name=module` is one that another module defines. `ops.json` has the parameters
of each op with their defaults, and the members of its enums.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import megengine

HEADER = """\
# The modules of MegEngine 1.13 and their names; name=module is defined by another module. Written by tools/list_megengine.py.
"""
PLAIN = (bool, int, float, str)
EXTENSION = "megengine.core._imperative_rt"  # functions of its modules do not say where they are defined


def modules() -> list[str]:
    """The paths of all modules that can be imported, without the package's name; tests and generated code left out."""
    for found in pkgutil.walk_packages(megengine.__path__, "megengine.", onerror=lambda _: None):
        if not found.name.endswith("__main__"):
            try:
                import_module(found.name)
            except Exception as error:
                print(f"left out: {found.name} ({type(error).__name__})", file=sys.stderr)
    # Extension modules are not found by walking; importing the others has loaded them.
    return sorted(name for name in sys.modules if name == "megengine" or name.startswith("megengine."))


def entries(path: str) -> list[str]:
    """The names of a module, those that other projects define left out."""
    module, found, others = sys.modules[path], [], set(map(id, sys.modules.values()))
    for name in dir(module):
        try:
            value = getattr(module, name)
        except Exception:
            value = None  # a property that needs a group of processes
        home = getattr(value.func if isinstance(value, partial) else value, "__module__", None)
        if name.startswith("__") or id(value) in others:
            continue
        if not isinstance(home, str):
            origin = extension_of(value) if callable(value) else None
            found.append(name if origin in (None, path) else f"{name}={origin.partition('.')[2]}")
        elif home.partition(".")[0] == "megengine":
            found.append(name if home == path else f"{name}={home.partition('.')[2]}")
    return found


def extension_of(value: Any) -> str | None:
    """The extension module that a function is in."""
    paths = [path for path in sorted(sys.modules) if path.startswith(EXTENSION)]
    return next((path for path in paths if any(value is other for other in vars(sys.modules[path]).values())), None)


def ops() -> dict[str, Any]:
    """Op name → its parameters with their defaults, and its enums with their members."""
    builtin, found = import_module("megengine.core.ops.builtin"), {}
    for name, kind in sorted(vars(builtin).items()):
        if not isinstance(kind, type) or name.startswith("_") or kind.__module__.startswith("megengine.core.ops"):
            continue
        enums = {key: value for key, value in vars(kind).items() if isinstance(value, type)}
        members = {key: [m for m in dir(value) if m[0].isupper()] for key, value in enums.items()}
        try:
            blank = kind()
        except Exception:
            continue  # a base class
        text = (kind.__init__.__doc__ or "").partition("(self")[2].partition(") ->")[0]
        parameters = [part.split(":")[0] for part in text.split("= ...")[:-1]]
        parameters = [part.strip(", ") for part in parameters if part.strip(", ")]
        found[name] = {
            "parameters": {key: _plain(getattr(blank, key, None)) for key in parameters},
            "enums": {key: value for key, value in members.items() if value},
        }
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, PLAIN):
        return value
    return str(value).rpartition(".")[2]  # the member of an enum


def main(folder: str) -> None:
    lines = [" ".join([path.partition(".")[2] or ".", *entries(path)]) for path in modules()]
    Path(folder, "modules.txt").write_text(HEADER + "\n".join(lines) + "\n")
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in ops().items())
    Path(folder, "ops.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
