"""What the code of a Nest depends on, found before any of it is written: what varies along which dims, passes, vector
width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from . import nest as nests
from .dtypes import KINDS
from .nest import SINKS, Access, Instr, Nest, access_number, instruction_cost, is_number, moves_along
from .target import HostTarget

# Vectors side by side: (most instructions in the body, vectors). Independent accumulators of a reduction hide the
# latency of an addition, and independent polynomials that of their steps. Maps of a few instructions gain nothing from
# more than one vector at a time, and lose where memory is the limit.
UNROLL = ((12, 4), (40, 2))
UNROLL_MAP = ((12, 1), (40, 2))
CROSS_BLOCK = 128  # places of the cross dim in one item
# A body longer than this is written once, under a mask, and not again for whole vectors. That costs a few percent of
# its speed and halves its compile time.
ONE_LOOP = 100


def bits_in_memory(access: Access) -> int:
    return int(KINDS[access.dtype][0][1:])


@dataclass(frozen=True)
class Structure:
    """Facts about a Nest. A *pass* is one run over the reduced dims. The stage of a value is the number of passes after
    which it is known."""

    nest: Nest

    @property
    def reduced(self) -> range:
        return range(self.nest.kept, self.nest.dims)

    @cached_property
    def varies(self) -> tuple[frozenset[int], ...]:
        """The loop dims along which each instruction's value (or its effect) varies."""
        return nests.varies(self.nest)

    def access(self, instr: Instr) -> Access | None:
        """The access of a memory instruction."""
        if instr.op in ("load", "gather", "store"):
            return self.nest.accesses[access_number(instr)]
        return self.nest.accesses[access_number(instr)] if instr.op == "scatter" else None

    def is_full(self, number: int) -> bool:
        return not self.varies[number].isdisjoint(self.reduced)

    @cached_property
    def stage(self) -> tuple[int, ...]:
        return nests.stages(self.nest)

    @cached_property
    def passes(self) -> tuple[tuple[int, ...], ...]:
        """For each pass, its reduces, stores and scatters."""
        return nests.passes(self.nest)

    @cached_property
    def scans(self) -> tuple[int, ...]:
        return tuple(i for i, instr in enumerate(self.nest.code) if instr.op == "scan" and i in self.live)

    @cached_property
    def spilled(self) -> dict[int, tuple[int, int]]:
        """The values that wait in memory between passes: (the pass that stores it, access)."""
        return {value: (nests.first_need(self.nest, value), access) for value, access in self.nest.spills}

    def ready(self, number: int) -> frozenset[int]:
        """The values that a pass loads because an earlier one stored them."""
        return frozenset(value for value, (first, _) in self.spilled.items() if first < number)

    def needed(self, number: int) -> frozenset[int]:
        """The values that a pass uses."""
        return nests.sources(self.nest, self.passes[number], self.ready(number))

    @cached_property
    def row_sinks(self) -> tuple[int, ...]:
        """Stores and scatters that happen once per kept index tuple."""
        return tuple(i for i, instr in enumerate(self.nest.code) if instr.op in SINKS and not self.is_full(i))

    @cached_property
    def moves(self) -> tuple[frozenset[int], ...]:
        """The loop dims that decide which element each access means."""
        return tuple(moves_along(access) for access in self.nest.accesses)

    @cached_property
    def fresh(self) -> tuple[int, ...]:
        """The accesses from which the first pass loads vectors that differ from row to row."""
        first = [self.nest.code[i] for i in nests.sources(self.nest, self.passes[0])]
        loaded = {access_number(instr) for instr in first if instr.op == "load"}
        moving = [a for a in sorted(loaded) if self.nest.accesses[a].steps[self.nest.lane] == "1"]
        return tuple(a for a in moving if self.nest.kept - 1 in self.moves[a] and not self.nest.accesses[a].bounds)

    @cached_property
    def live(self) -> frozenset[int]:
        sinks = [i for i, instr in enumerate(self.nest.code) if instr.op in SINKS]
        return nests.sources(self.nest, sinks, through_reduce=True)

    # -- the shape of the code -----------------------------------------------------------------------------------

    @property
    def lane_is_kept(self) -> bool:
        return self.nest.lane < self.nest.kept

    @property
    def parallel(self) -> int:
        """The kept dims before this one are split into items."""
        return self.nest.kept if self.nest.serial_from is None else self.nest.serial_from

    @property
    def chunked(self) -> bool:
        """Whether the lane dim is cut into chunks, which are part of an item's number."""
        return self.nest.lane < self.parallel

    @cached_property
    def item_dims(self) -> tuple[int, ...]:
        """The dims that an item's number counts, slowest first. The lane dim stands for its chunks.

        A copy that jumps along the lanes reads whole cache lines for one element of each. Neighbouring rows use the
        others, so they come before the next chunk. Maps of short rows have one chunk each; there the innermost loop
        should run over rows.
        """
        dims = [d for d in range(self.parallel) if d not in (self.nest.lane, self.interleaved)]
        if self.chunked:
            rows_first = self.jumps or self.interleaved is not None or self.nest.kept == self.nest.dims
            dims.insert(max(len(dims) - 1, 0) if rows_first else len(dims), self.nest.lane)
        return tuple(dims)

    @property
    def interleaved(self) -> int | None:
        return self.nest.interleaved and self.nest.interleaved[0]

    @cached_property
    def woven(self) -> frozenset[int]:
        """The accesses that are contiguous over the interleaved dim and the lane dim."""
        return nests.woven(self.nest)

    @cached_property
    def crossed(self) -> frozenset[int]:
        """The accesses that are contiguous along the cross dim and jump along the lane dim."""
        cross, lane = self.nest.cross, self.nest.lane
        if cross is None:
            return frozenset()
        turned = [
            i
            for i, a in enumerate(self.nest.accesses)
            if a.steps[cross] == "1" and a.steps[lane] in ("2", "n") and not is_number(a)
        ]
        return frozenset(turned)

    def crossing(self, op: str) -> list[tuple[int, int]]:
        """The instructions that load or store along the cross dim, with their accesses."""
        numbered = ((i, instr) for i, instr in enumerate(self.nest.code) if instr.op == op)
        wanted = numbered if op == "load" else ((i, instr) for i, instr in numbered if i in self.row_sinks)
        return [(i, a) for i, instr in wanted if (a := access_number(instr)) in self.crossed]

    @cached_property
    def jumps(self) -> bool:
        """Whether some access has a stride other than 1 along the lanes."""
        return any(a.steps[self.nest.lane] == "n" and not is_number(a) for a in self.nest.accesses)

    @cached_property
    def cost(self) -> int:
        """About how many vector instructions it takes per vector of the lane dim."""
        return self._cost(self.live) + len(self.passes)

    def _cost(self, values: frozenset[int]) -> int:
        return sum(instruction_cost(self.nest.code[i]) for i in values if self.nest.lane in self.varies[i])

    @cached_property
    def led(self) -> int:
        """How many gathers and scatters go from lane to lane, each to a place of its own."""
        return sum(instr.op in ("gather", "scatter") and self.is_led(instr) for instr in self.nest.code)

    @cached_property
    def one_by_one(self) -> bool:
        """Whether vectors would write to places that may coincide, or not in the order of the indices. In a nest that
        reduces nothing, a vector whose indices move along the lanes is written lane by lane.
        """
        nest = self.nest
        for i, instr in enumerate(nest.code):
            if instr.op != "scatter" or nests.mode(instr) in nests.UNORDERED:
                continue
            apart, led = nest.accesses[access_number(instr)].steps[nest.lane] in ("1", "2"), self.is_led(instr)
            if (led or not apart) and (nest.kept < nest.dims or not led):
                return True
            # Then all lanes write for one place of the reduced dims before the next, which only additions tolerate.
            if self.lane_is_kept and self.is_full(i) and nests.mode(instr) != "add":
                return True
        return False

    def is_led(self, instr: Instr) -> bool:
        """Whether the indices of a gather or scatter move along the lanes."""
        indices = instr.args[1:] if instr.op == "scatter" else instr.args
        return any(self.nest.lane in self.varies[a] for a in indices)

    def widths(self, target: HostTarget) -> tuple[int, ...]:
        """Lanes of the values in the main loop of each pass: one or more registers, which LLVM splits.

        If the lane dim is kept, all passes are inside one loop over it; without passes that is the only loop.
        """
        if self.lane_is_kept or not self.passes:
            return (self._width(target, self.live, self.cost),) * max(len(self.passes), 1)
        needed = [self.needed(p) | frozenset(self.passes[p]) for p in range(len(self.passes))]
        return tuple(self._width(target, values, self._cost(values)) for values in needed)

    def _width(self, target: HostTarget, values: frozenset[int], cost: int) -> int:
        if self.one_by_one:
            return 1
        lane = self.nest.lane
        per_lane = any(lane in bound.dims for a in self.nest.accesses for bound in a.bounds)
        indexed = any(i.op == "gather" and lane in self.varies[n] for n, i in enumerate(self.nest.code))
        indexed |= any(i.op == "scatter" and self.is_led(i) for i in self.nest.code)
        if per_lane or indexed or self.jumps or self.nest.interleaved:
            return target.lanes
        menu = UNROLL if self.passes else UNROLL_MAP
        unroll = next((count for most, count in menu if cost <= most), 1)
        wide = any(self.nest.code[i].dtype in ("float64", "int64") for i in values if lane in self.varies[i])
        unroll = max(unroll // self.nest.rows, 1)  # rows side by side are independent as well
        return target.lanes * (max(unroll // 2, 1) if wide else unroll)

    def tail_width(self, target: HostTarget) -> int:
        """Lanes of the loop over the rest: a register under a mask if the target has masked loads, or one."""
        lane = self.nest.lane
        moving = [a for a in self.nest.accesses if a.steps[lane] not in ("0", "n") and not is_number(a)]
        maskable = target.masked and all(bits_in_memory(a) in target.masked for a in moving)
        return target.lanes if maskable and not self.one_by_one else 1

    def side(self, target: HostTarget) -> int:
        """Vectors of a square: as many as a register has lanes for the widest elements that are turned."""
        return target.lanes * 32 // max([32, *(bits_in_memory(self.nest.accesses[i]) for i in self.crossed)])

    def one_loop(self, width: int, target: HostTarget) -> bool:
        """Whether the loop of the tail does all the work, without a main loop of this width."""
        tail = self.tail_width(target)
        places = self.nest.interleaved[1] if self.nest.interleaved else 1
        return width == tail and (tail == 1 or self.cost * places > ONE_LOOP)
