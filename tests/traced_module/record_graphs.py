"""Records what MegEngine's traced_module gives for the networks of models.py and the changes of edits.py.

    reference/bin/python tests/traced_module/record_graphs.py [name …]

in the environment that tests/reference/README.md describes.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import edits
import models

HERE = Path(__file__).resolve().parent


def names_of(framework: str) -> dict[str, Any]:
    """The modules of a framework that models and edits use."""
    inner = {"F": "functional", "M": "module", "tm": "traced_module"}
    names = {short: importlib.import_module(f"{framework}.{full}") for short, full in inner.items()}
    return {"mge": importlib.import_module(framework), **names}


def found(names: dict[str, Any], kind: str, name: str) -> Any:
    """What is recorded of one network, or of one change."""
    result = models.about(names, name) if kind == "models" else edits.EDITS[name](names)
    return json.loads(json.dumps(result))


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print("RESULT " + json.dumps(found(names_of("megengine"), *sys.argv[2:])))
        return
    names = {"models": list(models.models(names_of("megengine"))), "edits": list(edits.EDITS)}
    recorded: dict[str, Any] = {kind: {} for kind in names}
    wanted = sys.argv[1:]
    if wanted:
        recorded = json.loads((HERE / "recorded.json").read_text())
    for kind, each in names.items():
        for name in [
            one for one in each if one in wanted or not wanted
        ]:  # in a process each, as MegEngine is no longer of use after an error
            done = subprocess.run([sys.executable, __file__, "--one", kind, name], capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                print(f"{kind} {name} fails:\n{done.stderr[-600:]}")
                continue
            recorded[kind][name] = json.loads(lines[0][7:])
    (HERE / "recorded.json").write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
