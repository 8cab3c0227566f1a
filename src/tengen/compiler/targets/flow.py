"""The function `kernel` of a module, its arguments, and structured control flow that carries values in SSA form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

I64, PTR = ir.IntType(64), ir.PointerType()


def i64(number: int) -> ir.Constant:
    return ir.Constant(I64, number)


class Flow:
    """Writes `void kernel(ptr buffers, ptr params, i64 tile_begin, i64 tile_end)`. Instructions go where `at` is.

    tiled: whether a call runs a range of tiles; otherwise the last two arguments are missing.
    """

    tile_begin: ir.Value
    tile_end: ir.Value

    def __init__(self, tiled: bool = True) -> None:
        self.module = ir.Module()
        signature = ir.FunctionType(ir.VoidType(), [PTR, PTR, *(I64, I64) * tiled])
        self.function = ir.Function(self.module, signature, "kernel")
        self._buffers, self._params, *tiles = self.function.args
        if tiled:
            self.tile_begin, self.tile_end = tiles
        self.at = ir.IRBuilder(self.function.append_basic_block("entry"))

    def buffer(self, number: int) -> ir.Value:
        """The address of a buffer, read from the table at the current place."""
        return self.at.load(self.at.gep(self._buffers, [i64(number)], source_etype=PTR), typ=PTR)

    def parameter(self, number: int | ir.Value) -> ir.Value:
        """A run-time number, read at the current place."""
        place = i64(number) if isinstance(number, int) else number
        return self.at.load(self.at.gep(self._params, [place], source_etype=I64), typ=I64)

    def minimum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.at.select(self.at.icmp_signed("<", a, b), a, b)

    def loop(
        self,
        low: ir.Value,
        high: ir.Value,
        step: int | ir.Value,
        body: Callable[[ir.Value, list[Any]], Sequence[Any]],
        carry: Sequence[Any] = (),
    ) -> list[Any]:
        """for i in range(low, high, step): carry = body(i, carry). Returns the last carry."""
        before = self.at.block
        inside, after = self.function.append_basic_block("loop"), self.function.append_basic_block("after")
        self.at.cbranch(self.at.icmp_signed("<", low, high), inside, after)
        self.at.position_at_end(inside)
        i = self.at.phi(I64)
        i.add_incoming(low, before)
        phis = [self.at.phi(value.type) for value in carry]
        result = body(i, phis)
        following = self.at.add(i, i64(step) if isinstance(step, int) else step, flags=("nsw",))
        last = self.at.block
        self.at.cbranch(self.at.icmp_signed("<", following, high), inside, after)
        i.add_incoming(following, last)
        self.at.position_at_end(after)
        merged = []
        for phi, start, value in zip(phis, carry, result, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, last)
            merge = self.at.phi(value.type)
            merge.add_incoming(start, before)
            merge.add_incoming(value, last)
            merged.append(merge)
        return merged

    def choose(
        self,
        condition: ir.Value,
        yes: Callable[[], list[ir.Value]],
        no: Callable[[], list[ir.Value]],
        likely: bool = False,
    ) -> list[ir.Value]:
        """The values of `yes()` if `condition` holds, otherwise those of `no()`. Only one of them is executed. likely: it nearly
        always holds."""
        blocks = [self.function.append_basic_block(name) for name in ("yes", "no", "join")]
        branch = self.at.cbranch(condition, blocks[0], blocks[1])
        if likely:
            branch.set_weights([99, 1])
        arms = []
        for block, make in zip(blocks, (yes, no), strict=False):
            self.at.position_at_end(block)
            values = make()
            arms.append((values, self.at.block))
            self.at.branch(blocks[2])
        self.at.position_at_end(blocks[2])
        merged = []
        for i in range(len(arms[0][0])):
            phi = self.at.phi(arms[0][0][i].type)
            for values, block in arms:
                phi.add_incoming(values[i], block)
            merged.append(phi)
        return merged
