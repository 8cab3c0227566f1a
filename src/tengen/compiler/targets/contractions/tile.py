"""The register tile of a contraction, while its code is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from ...kernels.contraction import MAX_BLOCK_ROWS, ContractionKernel, PartParameters
from ...kernels.dtypes import BITS, KINDS, PAIR
from ...kernels.target import HostTarget
from ..flow import I64, i64
from ..kernel_emitter import KernelEmitter
from ..vector import Vec, llvm_type, splat
from .products import multiplier_of

I32 = ir.IntType(32)


class TileEmitter(KernelEmitter):
    """What all register tiles of a kernel share. part: the numbers of the part whose tiles are written. a_rows, c_rows:
    tables of where the rows of the launch tile are in A and C."""

    part: PartParameters

    def __init__(self, spec: ContractionKernel, target: HostTarget):
        self.spec = spec
        self.kind = KINDS[spec.sum_dtype][1]
        epilogue = spec.epilogue
        extra, numbers = (epilogue.buffers, epilogue.numbers) if epilogue else ((), ())
        if epilogue and epilogue.sums:
            extra = (*extra, "sums")
        super().__init__(target, ("a", "b", "c", *extra), numbers)
        self.flushes = spec.a == PAIR  # so do the sums
        self.multiplier = multiplier_of(spec, target)
        self.capacity = MAX_BLOCK_ROWS + spec.rows
        self.a_rows, self.c_rows = (self.reserve(I64, self.capacity, name) for name in ("a_rows", "c_rows"))

    def of_a(self, value: Vec, part: int = 0) -> Vec:
        """The elements of A as factors: numbers, less what stands for 0 if that is not 0."""
        if self.spec.a_zero == "n" and self.spec.product == "plain":
            zero = Vec(self.at, self.part.a_zero, "i64", 1).to(value.kind)
            value = value - splat(self.at, zero.value, value.kind, value.lanes)
        return self.multiplier.a(value, part)

    def offset(self, table: ir.Value, row: ir.Value, i: ir.Value | int) -> ir.Value:
        return self.at.load(self.at.gep(table, [self.sum(row, i)], source_etype=I64), typ=I64)

    def masks(self, columns: ir.Value) -> list[ir.Value | None]:
        """For each vector of the panel, which of its lanes lie within the `columns` that are left."""
        spec = self.spec
        if spec.last_panel == "whole":
            return [None] * spec.vectors
        left = splat(self.at, columns, "i64", spec.lanes)
        masks: list[ir.Value | None] = []
        for j in range(spec.vectors):
            index = ir.Constant(llvm_type("i64", spec.lanes), [j * spec.lanes + i for i in range(spec.lanes)])
            masks.append((Vec(self.at, index, "i64", spec.lanes) < left).value)
        return masks


class Rows(NamedTuple):
    """Rows of a register tile.

    begin: whether they are the first ones of the launch tile; None: they are not. exist: a mask for each row that says
    whether it exists; None if it does.
    """

    begin: ir.Value | None
    exist: Sequence[Vec | None]


def rows_there(emitter: TileEmitter, row: ir.Value, row_count: ir.Value) -> Rows:
    """The `Rows` of a register tile that begins at `row` of its launch tile, which has `row_count` rows."""
    at, left = emitter.at, emitter.at.sub(row_count, row)
    kind = {32: "i32", 64: "i64"}[BITS[emitter.kind]]
    count = splat(at, left if kind == "i64" else at.trunc(left, I32), kind, emitter.spec.lanes)
    return Rows(at.icmp_signed("==", row, i64(0)), [count > i for i in range(emitter.spec.rows)])


class Tile(NamedTuple):
    """Where a register tile lies.

    Element offsets of its rows in C; the offset of its first channel (of the first column, or with `channel_rows` of
    the first row) and of the last existing one; which lanes of each vector count; how many of its rows exist (the
    others repeat the last one); and its `Rows`.
    """

    rows: Callable[[ir.Value | int], ir.Value]
    channel: ir.Value
    last_channel: ir.Value
    masks: Sequence[ir.Value | None]
    count: ir.Value
    there: Callable[[], Rows]
