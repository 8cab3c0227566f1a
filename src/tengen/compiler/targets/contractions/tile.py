"""A register tile of a contraction while its code is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llvmlite import ir

from ...kernels.dtypes import BITS
from ..flow import i64
from ..vector import Vec, splat

if TYPE_CHECKING:
    from .emit import ContractionEmitter


I32 = ir.IntType(32)


class Rows(NamedTuple):
    """Rows of a register tile: whether they are the first ones of the launch tile, and masks: whether each of them exists, None if
    it does."""

    begin: ir.Value
    exist: Sequence[Vec | None]


def rows_there(emitter: ContractionEmitter, row: ir.Value, row_count: ir.Value) -> Rows:
    """What there is to say of the rows of a register tile from `row` of its launch tile on, which has `row_count`."""
    at, left = emitter.at, emitter.at.sub(row_count, row)
    kind = {32: "i32", 64: "i64"}[BITS[emitter.kind]]
    count = splat(at, left if kind == "i64" else at.trunc(left, I32), kind, emitter.spec.lanes)
    return Rows(at.icmp_signed("==", row, i64(0)), [count > i for i in range(emitter.spec.rows)])


class Tile(NamedTuple):
    """Where a register tile lies: element offsets of its rows in C, the offset of its first channel (of the first column,
    or with `channel_rows` of the first row) and of the last one that there is, which lanes of each vector count, how many
    of its rows there are, the others being the last one again, and what there is to say of them.
    """

    rows: Callable[[ir.Value | int], ir.Value]
    channel: ir.Value
    last_channel: ir.Value
    masks: Sequence[ir.Value | None]
    count: ir.Value
    there: Callable[[], Rows]
