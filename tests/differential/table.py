"""The rows, by name: those of all modules `rows_*`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .row import Row

MODULES = [import_module(f".{path.stem}", __package__) for path in sorted(Path(__file__).parent.glob("rows_*.py"))]
ROWS: dict[str, Row] = {row.name: row for module in MODULES for row in module.ROWS}
