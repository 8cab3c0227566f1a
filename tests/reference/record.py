"""Records what the reference implementation gives for every program and for every dtype; see README.md.

`python record.py` records everything, `python record.py elemwise dtypes` these families only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import calls
import dtype_rows
import replay

REFERENCE = "megengine"
SECONDS = 60  # for one worker; the reference hangs on a few calls, which have no place in programs/


def work(family: str, first: int) -> None:
    """Prints one JSON line for each program from the first on, up to a failure that leaves the engine unusable."""
    names = replay.names_of(REFERENCE)
    names["mge"].config.async_level = 0  # raise at the call, not later
    outcome = calls.outcome if family in calls.FAMILIES else replay.outcome
    for program in texts(family)[first:]:
        result = outcome(program, names)
        print(json.dumps([program, result], separators=(",", ":"), ensure_ascii=False), flush=True)
        if result == {"raises": "AsyncError"}:
            return


def texts(family: str) -> list[str]:
    """The programs or calls of one family."""
    return [row.text for row in calls.rows(family)] if family in calls.FAMILIES else replay.programs(family)


def record_family(family: str) -> list[Any]:
    """All rows of one family, each program run by a worker process; raises if a program kills or blocks its worker.

    A call that kills it is a row that says so: what the inventory has is called whatever comes of it.
    """
    rows: list[Any] = []
    count = len(texts(family))
    while len(rows) < count:
        command = [sys.executable, __file__, "--work", family, str(len(rows))]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS)
            output, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            output, status = late.stdout or b"", -1
        # The engine prints notes of its own to stdout; a row is a line that begins a JSON list.
        rows += [json.loads(line) for line in output.decode().splitlines() if line.startswith('["')]
        if status != 0 and len(rows) < count:
            if family not in calls.FAMILIES:
                raise RuntimeError(f"the reference died in {family}:\n{texts(family)[len(rows)]}")
            rows.append([texts(family)[len(rows)], {"dies": True}])
    return rows


def save(name: str, rows: list[Any]) -> None:
    """Writes one row a line, so that a changed row is one changed line."""
    lines = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    path = Path(__file__).parent / "recorded" / f"{name}.json"
    path.write_text(f"[\n{lines}\n]\n")
    print(f"{path.name}: {len(rows)} rows, {path.stat().st_size} bytes")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--work"]:
        work(arguments[1], int(arguments[2]))
        return
    for family in arguments or [*replay.FAMILIES, *calls.FAMILIES, "dtypes"]:
        if family == "dtypes":
            names = replay.names_of(REFERENCE)
            names["mge"].config.async_level = 0
            save("dtypes", [[row, dtype_rows.results(row, names)] for row in dtype_rows.ROWS])
        else:
            save(family, record_family(family))


if __name__ == "__main__":
    main(sys.argv[1:])
