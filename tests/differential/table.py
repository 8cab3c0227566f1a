"""All rows, by name."""

from __future__ import annotations

from . import rows_conv, rows_elementwise, rows_index, rows_math, rows_nn, rows_shape, rows_state
from .row import Row

ROWS: dict[str, Row] = {
    row.name: row
    for module in (rows_conv, rows_elementwise, rows_index, rows_math, rows_nn, rows_shape, rows_state)
    for row in module.ROWS
}
