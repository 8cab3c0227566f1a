"""Runs the programs and records what they give; README.md of tests/reference says with which Python.

They run eagerly: the reference cannot trace all of them, and where it can it gives the same.

    reference/bin/python tests/programs/record_programs.py            # all
    reference/bin/python tests/programs/record_programs.py resnet     # one
    python -m tengen.compat.megengine tests/programs/record_programs.py show resnet     # what it gives, and no recording
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = sorted(
    path.stem for path in HERE.glob("*.py") if not path.stem.startswith(("test_", "conftest", "common", "record"))
)


def run(name: str, traced: bool) -> list[float]:
    """What one program gives."""
    return [float(f"{x:.7g}") for x in import_module(name).run(traced)]


def recorded() -> dict[str, list[float]]:
    """Program → what it gave with the reference."""
    found: dict[str, list[float]] = json.loads((HERE / "recorded.json").read_text())
    return found


def main(names: list[str]) -> None:
    if names[:1] == ["show"]:
        print(json.dumps(run(names[1], traced=False)))
        return
    found = recorded() if (HERE / "recorded.json").exists() else {}
    for name in names or PROGRAMS:
        found[name] = run(name, traced=False)
        print(name, found[name][:4])
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    (HERE / "recorded.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
