"""A row for every public function, layer, loss, optimizer and random source: `python -m benchmarks --api`."""

from __future__ import annotations

from collections.abc import Iterator

from ..cases import Case
from . import rows_layers, rows_maths, rows_networks, rows_tensors
from .reasons import REASONS
from .row import Row

__all__ = ["REASONS", "Row", "all_cases", "all_rows"]

LOW = {"bfloat16": 6e-2, "float32": 1e-3}
"""How far results may be apart, in root mean squares. PyTorch adds up the gradients of overlapping windows in bfloat16, of which an element of
eight root mean squares has a spacing of 6e-2."""


def all_rows() -> Iterator[Row]:
    for module in (rows_maths, rows_tensors, rows_networks, rows_layers):
        yield from module.ROWS


def all_cases() -> list[Case]:
    """A case for each size of each row, forward and, where there is one, backward; in bfloat16 the large size alone."""
    return [case for row in all_rows() for case in cases_of(row)]


def cases_of(row: Row) -> Iterator[Case]:
    for dtype in ("float32", "bfloat16") if row.low else ("float32",):
        for size, number in row.sizes(dtype):
            for form in ("forward", "backward") if row.grad else ("forward",):
                label = f"{row.name} {row.tag} {size} {form} {dtype if dtype != 'float32' else ''}"
                arguments = {"row": row, "size": number, "backward": form == "backward", "dtype": dtype}
                shapes, kinds = row.shapes(number), row.kinds(number)
                tolerance = max(LOW[dtype], row.tolerance)
                yield Case(f"api/{' '.join(label.split())}", "api", shapes, arguments, tolerance=tolerance, holds=kinds)
