"""How the threads of a block sort. `kernels/device_sort.py` describes the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ...kernels.device_sort import BINS, DIGIT, ROOM, DeviceSort
from ...kernels.dtypes import KINDS
from ...kernels.target import DeviceTarget
from ..flow import I64, i64
from ..vector import ELEMENT
from .block_flow import Table, i32
from .machine import I32, DeviceFlow

I16 = ir.IntType(16)
ROOM_BITS = ROOM.bit_length() - 1
MOST_FINITE = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF0 << 48}
"""The bits of infinity; those of a NaN are above."""
SIGNED = ("int8", "int16", "int32", "int64")


def emit_device_sort(kernel: DeviceSort, target: DeviceTarget) -> str:
    """LLVM IR text of a step of a sort on a GPU."""
    kinds = {"rows": _Rows, "digits": _Digits, "starts": _Starts, "move": _Move}
    return kinds[kernel.step](kernel).text()


class Words:
    """What a block sorts, in shared memory: words that are compared as unsigned numbers. A word may have two parts, of
    which the second decides where the first are equal."""

    def __init__(self, flow: SortFlow, *types: ir.Type):
        self.at = flow.at
        self.tables = [Table(flow, f"words{i}", type, ROOM) for i, type in enumerate(types)]

    def get(self, place: ir.Value) -> list[ir.Value]:
        return [table.get(place) for table in self.tables]

    def put(self, place: ir.Value, words: Sequence[ir.Value]) -> None:
        for table, word in zip(self.tables, words, strict=True):
            table.put(place, word)

    def is_above(self, a: Sequence[ir.Value], b: Sequence[ir.Value]) -> ir.Value:
        above = self.at.icmp_unsigned(">", a[-1], b[-1])
        for x, y in zip(reversed(a[:-1]), reversed(b[:-1]), strict=True):
            equal = self.at.icmp_unsigned("==", x, y)
            above = self.at.select(equal, above, self.at.icmp_unsigned(">", x, y))
        return above


class SortFlow(DeviceFlow):
    """Names for what a kernel is given: buffers, and numbers, which are i64. mine: the number of the thread along x."""

    BLOCK = 1024

    def __init__(self, spec: DeviceSort):
        super().__init__(tiled=False)
        self.spec = spec
        self.buffers = {name: self.buffer(i) for i, name in enumerate(spec.buffers)}
        self.numbers = {name: self.parameter(i) for i, name in enumerate(spec.numbers)}
        self.key_type = ir.IntType(spec.bits)
        self.position_type = ELEMENT[KINDS[spec.positions][0]]
        self.mine = self.thread("x")

    def text(self) -> str:
        with self.unless_failed(self.buffer(len(self.spec.buffers)) if self.spec.guarded else None):
            self.block()
        self.at.ret_void()
        return self.module_text(len(self.spec.buffers) + self.spec.guarded, len(self.spec.numbers), self.BLOCK, 1)

    def block(self) -> None:
        """Emit what a block does."""
        raise NotImplementedError

    # -- keys ----------------------------------------------------------------------------------------------------------

    def key_of(self, bits: ir.Value) -> ir.Value:
        """The key of an element with these bits: keys as unsigned numbers are in the order of the sort."""
        at, type, dtype = self.at, self.key_type, self.spec.dtype
        top = ir.Constant(type, 1 << self.spec.bits - 1)
        key = bits
        if dtype == "bool":
            key = at.zext(at.icmp_unsigned("!=", bits, ir.Constant(type, 0)), type)
        elif dtype in SIGNED:
            key = at.xor(bits, top)
        elif dtype in MOST_FINITE:
            bits = at.select(at.icmp_unsigned("==", bits, top), ir.Constant(type, 0), bits)  # -0 is 0
            key = at.xor(bits, at.or_(at.ashr(bits, ir.Constant(type, self.spec.bits - 1)), top))
            size = at.and_(bits, ir.Constant(type, (1 << self.spec.bits - 1) - 1))
            is_nan = at.icmp_unsigned(">", size, ir.Constant(type, MOST_FINITE[dtype]))
            key = at.select(is_nan, ir.Constant(type, -1), key)
        return at.not_(key) if self.spec.descending else key

    def load_key(self, name: str, place: ir.Value) -> ir.Value:
        """The key of an element of the rows, or a key that an earlier launch has left."""
        found = self.load(name, place, self.key_type)
        return self.key_of(found) if self.spec.first else found

    def digit(self, key: ir.Value) -> ir.Value:
        """The digit that this launch is about, i32."""
        at = self.at
        shift = at.trunc(self.numbers["shift"], self.key_type) if self.spec.bits < 64 else self.numbers["shift"]
        return self.to_i32(at.and_(at.lshr(key, shift), ir.Constant(self.key_type, BINS - 1)))

    # -- memory --------------------------------------------------------------------------------------------------------

    def load(self, name: str, place: ir.Value, type: ir.Type) -> ir.Value:
        return self.at.load(self._place(name, place, type), typ=type)

    def store(self, value: ir.Value, name: str, place: ir.Value) -> None:
        self.at.store(value, self._place(name, place, value.type))

    def _place(self, name: str, place: ir.Value, type: ir.Type) -> ir.Value:
        return self.at.gep(self.buffers[name], [place], source_etype=type)

    def to_i32(self, number: ir.Value) -> ir.Value:
        if number.type == I32:
            return number
        return self.at.zext(number, I32) if number.type.width < 32 else self.at.trunc(number, I32)

    def to_position(self, number: ir.Value) -> ir.Value:
        """An int64 in the dtype of positions."""
        return number if self.position_type == I64 else self.at.trunc(number, self.position_type)

    # -- threads -------------------------------------------------------------------------------------------------------

    def each(self, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
        """`body` for the numbers below an i32, shared by the threads along x."""

        def turn(number: ir.Value, _: list[Any]) -> tuple[()]:
            body(self.at.trunc(number, I32))
            return ()

        step = self.at.zext(self.threads("x"), I64)
        self.loop(self.at.zext(self.mine, I64), self.at.zext(count, I64), step, turn)

    def sort(self, words: Words, power: ir.Value, base: ir.Value) -> None:
        """Sort 2**power words from `base` on, which the threads along x have put there, together."""
        at = self.at
        pairs = at.lshr(at.shl(i32(1), power), i32(1))

        def exchange(run: ir.Value, distance: ir.Value, pair: ir.Value) -> None:
            above = at.lshr(pair, distance)
            low = at.or_(at.shl(above, at.add(distance, i32(1))), at.sub(pair, at.shl(above, distance)))
            falling = at.trunc(at.lshr(low, run), ir.IntType(1))
            first = at.add(base, low)
            second = at.add(first, at.shl(i32(1), distance))
            a, b = words.get(first), words.get(second)
            with at.if_then(at.xor(words.is_above(a, b), falling)):
                words.put(first, b)
                words.put(second, a)

        def run(number: ir.Value, _: list[Any]) -> tuple[()]:
            size = at.trunc(number, I32)  # runs of 2**size elements, in turn rising and falling

            def stage(turn: ir.Value, _: list[Any]) -> tuple[()]:
                self.barrier()
                distance = at.sub(size, at.add(at.trunc(turn, I32), i32(1)))
                self.each(pairs, lambda pair: exchange(size, distance, pair))
                return ()

            self.loop(i64(0), number, 1, stage)
            return ()

        self.loop(i64(1), at.add(at.zext(power, I64), i64(1)), 1, run)
        self.barrier()

    def scan(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The sum of the i64 of the first BINS threads before this one, and that of all."""
        at, sums = self.at, Table(self, "sums", I64, BINS)
        counts = at.icmp_unsigned("<", self.mine, i32(BINS))
        total = value

        def put() -> None:
            with at.if_then(counts):
                sums.put(self.mine, total)
            self.barrier()

        put()
        for step in range(DIGIT):
            before = self._before(sums, counts, i32(1 << step))
            self.barrier()
            total = at.add(total, before)
            put()
        whole = sums.get(i32(BINS - 1))
        self.barrier()
        return at.sub(total, value), whole

    def _before(self, sums: Table, counts: ir.Value, distance: ir.Value) -> ir.Value:
        """The entry of the thread so far before this one; 0 where there is none."""
        reaches = self.at.and_(counts, self.at.icmp_unsigned(">=", self.mine, distance))
        other = self.at.sub(self.mine, distance)
        return self.choose(reaches, lambda: [sums.get(other)], lambda: [i64(0)])[0]


class _Rows(SortFlow):
    def block(self) -> None:
        at, n = self.at, self.numbers
        power = at.trunc(n["power"], I32)
        room, mine = at.shl(i32(1), power), self.thread("y")
        piece = at.add(at.mul(self._wide(self.block_number()), self._wide(self.threads("y"))), self._wide(mine))
        self.row = at.udiv(piece, n["parts"])
        begin = at.shl(at.sub(piece, at.mul(self.row, n["parts"])), n["power"])
        exists = at.icmp_signed("<", piece, n["pieces"])
        end = at.select(exists, n["count"], begin)
        narrow, half = self.spec.bits <= 16, self.spec.bits < 64
        words = Words(self, I32) if narrow else Words(self, I64) if half else Words(self, I64, I32)
        base = at.shl(mine, power)

        def fill(number: ir.Value) -> None:
            place = at.add(begin, self._wide(number))
            there = at.icmp_signed("<", place, end)
            last = ir.Constant(self.key_type, -1)
            (key,) = self.choose(there, lambda: [self._key(place)], lambda: [last])
            words.put(at.add(base, number), self._word(key, number))

        self.each(room, fill)
        self.sort(words, power, base)

        def write(number: ir.Value) -> None:
            word = words.get(at.add(base, number))[-1]
            place = at.add(begin, self._wide(at.and_(self.to_i32(word), i32(ROOM - 1))))
            there = at.icmp_signed("<", place, end)
            missing = self.to_position(n["length"])
            (position,) = self.choose(there, lambda: [self._position(place)], lambda: [missing])
            self.store(position, "out", at.add(at.mul(piece, n["k"]), self._wide(number)))

        wanted = at.select(at.icmp_signed("<", n["k"], self._wide(room)), n["k"], self._wide(room))
        self.each(at.select(exists, at.trunc(wanted, I32), i32(0)), write)

    def _wide(self, number: ir.Value) -> ir.Value:
        return self.at.zext(number, I64)

    def _position(self, place: ir.Value) -> ir.Value:
        """Of the element at a place among those to sort. What is no element has the length of the row."""
        if self.spec.first:
            return self.to_position(place)
        return self.load(
            "candidates", self.at.add(self.at.mul(self.row, self.numbers["count"]), place), self.position_type
        )

    def _key(self, place: ir.Value) -> ir.Value:
        at, length = self.at, self.numbers["length"]

        def read(position: ir.Value) -> list[ir.Value]:
            return [self.key_of(self.load("x", at.add(at.mul(self.row, length), position), self.key_type))]

        if self.spec.first:
            return read(place)[0]
        position = self._position(place)
        position = position if position.type == I64 else self._wide(position)
        there = at.icmp_signed("<", position, length)
        return self.choose(there, lambda: read(position), lambda: [ir.Constant(self.key_type, -1)])[0]

    def _word(self, key: ir.Value, number: ir.Value) -> list[ir.Value]:
        """Of the element with this number in its piece."""
        at = self.at
        if self.spec.bits == 64:
            return [key, number]
        type = I32 if self.spec.bits <= 16 else I64
        number = number if type == I32 else self._wide(number)
        return [at.or_(at.shl(at.zext(key, type), ir.Constant(type, 16 if type == I32 else 32)), number)]


class _TileOfRow(SortFlow):
    """A block with a tile of a row."""

    def find_tile(self) -> None:
        at, n = self.at, self.numbers
        number = at.zext(self.block_number(), I64)
        self.row = at.udiv(number, n["tiles"])
        self.tile = at.sub(number, at.mul(self.row, n["tiles"]))
        begin = at.mul(self.tile, i64(ROOM))
        self.begin = begin  # in the row
        self.first = at.add(at.mul(self.row, n["length"]), begin)  # in all rows
        left = at.sub(n["length"], begin)
        self.count = at.trunc(at.select(at.icmp_signed("<", left, i64(ROOM)), left, i64(ROOM)), I32)

    def bin_place(self, bin: ir.Value) -> ir.Value:
        """Where the number of a digit of this tile is: of each row and digit, the tiles lie side by side."""
        at = self.at
        line = at.add(at.mul(self.row, i64(BINS)), at.zext(bin, I64))
        return at.add(at.mul(line, self.numbers["tiles"]), self.tile)

    def place(self, number: ir.Value) -> ir.Value:
        """Where the element with this number in the tile is among all rows."""
        return self.at.add(self.first, self.at.zext(number, I64))


class _Digits(_TileOfRow):
    def block(self) -> None:
        self.find_tile()
        at, words = self.at, Words(self, I32)

        def fill(number: ir.Value) -> None:
            there = at.icmp_unsigned("<", number, self.count)
            (digit,) = self.choose(
                there, lambda: [self.digit(self.load_key("keys", self.place(number)))], lambda: [i32(BINS)]
            )
            words.put(number, [at.or_(at.shl(digit, i32(16)), number)])

        self.each(i32(ROOM), fill)
        self.sort(words, i32(ROOM_BITS), i32(0))

        def write(number: ir.Value) -> None:
            (word,) = words.get(number)
            self.store(at.trunc(word, I16), "order", self.place(number))

        self.each(self.count, write)

        def count(bin: ir.Value) -> None:
            begin, end = self._first(words, bin), self._first(words, at.add(bin, i32(1)))
            self.store(at.zext(at.sub(end, begin), I64), "counts", self.bin_place(bin))
            self.store(begin, "starts", self.bin_place(bin))

        self.each(i32(BINS), count)

    def _first(self, words: Words, bin: ir.Value) -> ir.Value:
        """How many words have a lower digit, by halving."""
        at, wanted, found = self.at, self.at.shl(bin, i32(16)), i32(0)
        for bit in reversed(range(ROOM_BITS)):
            further = at.add(found, i32(1 << bit))
            (word,) = words.get(at.sub(further, i32(1)))
            found = at.select(at.icmp_unsigned("<", word, wanted), further, found)
        (word,) = words.get(found)  # of ROOM words, all may be lower
        return at.add(found, at.zext(at.icmp_unsigned("<", word, wanted), I32))


class _Starts(SortFlow):
    BLOCK = BINS

    def block(self) -> None:
        at, tiles = self.at, self.numbers["tiles"]
        line = at.zext(self.block_number(), I64)
        first = at.mul(line, tiles)

        def turn(begin: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            tile = at.add(begin, at.zext(self.mine, I64))
            there = at.icmp_signed("<", tile, tiles)
            place = at.add(first, tile)
            (count,) = self.choose(there, lambda: [self.load("counts", place, I64)], lambda: [i64(0)])
            before, total = self.scan(count)
            with at.if_then(there):
                self.store(at.add(carry[0], before), "before", place)
            return [at.add(carry[0], total)]

        (total,) = self.loop(i64(0), tiles, BINS, turn, [i64(0)])
        with at.if_then(at.icmp_unsigned("==", self.mine, i32(0))):
            self.store(total, "totals", line)


class _Move(_TileOfRow):
    def block(self) -> None:
        self.find_tile()
        at, spec = self.at, self.spec
        targets = Table(
            self, "targets", I64, BINS
        )  # where the tile's elements of a digit go, less their places in its order
        is_bin = at.icmp_unsigned("<", self.mine, i32(BINS))
        totals = at.add(at.mul(self.row, i64(BINS)), at.zext(self.mine, I64))
        (total,) = self.choose(is_bin, lambda: [self.load("totals", totals, I64)], lambda: [i64(0)])
        lower, _ = self.scan(total)
        with at.if_then(is_bin):
            place = self.bin_place(self.mine)
            before, start = self.load("before", place, I64), self.load("starts", place, I32)
            targets.put(self.mine, at.sub(at.add(lower, before), at.zext(start, I64)))
        self.barrier()

        def move(number: ir.Value) -> None:
            source = at.zext(self.load("order", self.place(number), I16), I32)
            key = self.load_key("keys", self.place(source))
            target = at.add(targets.get(self.digit(key)), at.zext(number, I64))
            if spec.last:
                k = self.numbers["k"]
                with at.if_then(at.icmp_signed("<", target, k)):
                    self.store(self._position(source), "new_places", at.add(at.mul(self.row, k), target))
            else:
                target = at.add(at.mul(self.row, self.numbers["length"]), target)
                self.store(key, "new_keys", target)
                self.store(self._position(source), "new_places", target)

        self.each(self.count, move)

    def _position(self, number: ir.Value) -> ir.Value:
        if self.spec.first:
            return self.to_position(self.at.add(self.begin, self.at.zext(number, I64)))
        return self.load("places", self.place(number), self.position_type)
