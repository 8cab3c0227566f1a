"""What hand-written kernels share: named buffers and parameters, integers, memory."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from ..kernels.dtypes import BITS, KINDS, WORDS
from ..kernels.target import HostTarget
from .flow import PTR, Flow, i64
from .storage import decode, encode
from .vector import ELEMENT, Vec, constant, llvm_type

I32 = ir.IntType(32)


class KernelEmitter(Flow):
    """Named buffers and parameters, and memory that converts between storage dtypes and the kinds of the arithmetic."""

    def __init__(self, target: HostTarget, buffers: Sequence[str], parameters: Sequence[str]):
        super().__init__()
        self.half = target.half
        self.flushes = False  # whether subnormal numbers count as 0 when bfloat16 is stored
        self.buffers = {name: self.buffer(i) for i, name in enumerate(buffers)}
        self.param = {name: self.parameter(i) for i, name in enumerate(parameters)}

    def text(self) -> str:
        self.tiles()
        self.at.ret_void()
        return str(self.module)

    def tiles(self) -> None:
        """Emit the tiles from tile_begin to tile_end."""
        self.loop(self.tile_begin, self.tile_end, 1, lambda tile, _: self.tile(tile))

    def reserve(self, type: ir.Type, count: int, name: str) -> ir.Value:
        """Memory on the stack, for the whole call."""
        here = self.at.block
        self.at.position_at_start(self.function.entry_basic_block)
        memory = self.at.alloca(type, count, name)
        self.at.position_at_end(here)
        return memory

    def tile(self, tile: ir.Value) -> tuple[()]:
        raise NotImplementedError

    # -- integers ------------------------------------------------------------------------------------------------

    def sum(self, *terms: ir.Value | int) -> ir.Value:
        total = _value(terms[0])
        for term in terms[1:]:
            total = self.at.add(total, _value(term))
        return total

    def mul(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.at.mul(a, _value(b))

    def divmod(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        quotient = self.at.udiv(a, b)
        return quotient, self.at.sub(a, self.at.mul(quotient, b))

    def element(self, base: ir.Value, dtype: str, offset: ir.Value | int) -> ir.Value:
        """The address of an element of a buffer of `dtype`."""
        return self.at.gep(base, [_value(offset)], source_etype=ELEMENT[KINDS[dtype][0]])

    # -- memory ------------------------------------------------------------------------------------------------

    def load(self, address: ir.Value, dtype: str, lanes: int, mask: ir.Value | None = None) -> Vec:
        """Elements converted from their storage dtype to the kind used for computing; zero where the mask is not set."""
        kind = KINDS[dtype][0]
        return decode(dtype, self.raw(address, kind, lanes, mask, WORDS.get(dtype, 1)), self.half)

    def raw(self, address: ir.Value, kind: str, lanes: int, mask: ir.Value | None = None, numbers: int = 1) -> Vec:
        """Elements as they lie in memory, where each is as many numbers side by side; zero where the mask is not set."""
        vector, align = llvm_type(kind, lanes), BITS[kind] // 8 // numbers
        if mask is None:
            value = self.at.load(address, align=align, typ=vector)
        else:
            function = self.intrinsic(f"llvm.masked.load.v{lanes}{kind}.p0", vector, [PTR, I32, mask.type, vector])
            value = self.at.call(function, [address, ir.Constant(I32, align), mask, constant(0, kind, lanes)])
        return Vec(self.at, value, kind, lanes)

    def store(self, value: Vec, address: ir.Value, dtype: str, mask: ir.Value | None = None) -> None:
        """Store values rounded (floats) or wrapped (integers) to the storage dtype, where the mask is set."""
        kind = KINDS[dtype][0]
        bits, align = encode(dtype, value, self.half, self.flushes).value, BITS[kind] // 8
        if mask is None:
            self.at.store(bits, address, align=align)
            return
        if isinstance(mask, ir.Constant) and [x.constant for x in mask.constant] == [1] + [0] * (value.lanes - 1):
            # LLVM would store a narrow element with the width that it had before
            self.at.store(self.at.extract_element(bits, ir.Constant(I32, 0)), address, align=align)
            return
        name = f"llvm.masked.store.v{value.lanes}{kind}.p0"
        function = self.intrinsic(name, ir.VoidType(), [bits.type, PTR, I32, mask.type])
        self.at.call(function, [bits, address, ir.Constant(I32, align), mask])

    def prefetch(self, address: ir.Value, level: int = 1) -> None:
        """Prefetch the line at an address, which need not be valid, into the cache of that level."""
        function = self.intrinsic("llvm.prefetch.p0", ir.VoidType(), [PTR, I32, I32, I32])
        self.at.call(function, [address, *(ir.Constant(I32, x) for x in (0, 4 - level, 1))])

    def fence(self) -> None:
        """Keep loads from being moved above this place: all at once, they would need more registers than there are."""
        self.at.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)

    def intrinsic(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        return self.module.globals.get(name) or ir.Function(self.module, ir.FunctionType(result, arguments), name)


def _value(number: ir.Value | int) -> ir.Value:
    return i64(number) if isinstance(number, int) else number
