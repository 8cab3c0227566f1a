"""What a Nest needs of its kernel, found before any code is written: what varies along which dims, passes, vector width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..kernel import Access, Instr, Nest
from . import arithmetic
from .host import Target
from .storage import KINDS

SINKS = ("store", "scatter")

# Independent accumulators of a reduction hide the latency of an addition. Maps are no faster with more than one vector at a time, and slower
# where memory is the limit.
UNROLL = ((12, 4), (40, 2))  # (most instructions in the body, vectors side by side)
# A body longer than this is written once, under a mask, and not again for whole vectors: that costs it some percent and halves its compile time.
ONE_LOOP = 100


def bits_in_memory(access: Access) -> int:
    return int(KINDS[access.dtype][0][1:])


def is_number(access: Access) -> bool:
    """It is not in memory: a parameter, or the running number that its address would be."""
    return access.dtype == "iota" or access.dtype.startswith("param_")


@dataclass(frozen=True)
class Structure:
    """Facts about a Nest. A *pass* is one run over the reduced dims; stage s of a value: it is known after s passes."""

    nest: Nest

    @property
    def reduced(self) -> range:
        return range(self.nest.kept, self.nest.dims)

    @cached_property
    def varies(self) -> tuple[frozenset[int], ...]:
        """The loop dims along which each instruction's value (or its effect) varies."""
        result: list[frozenset[int]] = []
        for instr in self.nest.code:
            dims = frozenset().union(*(result[a] for a in instr.args))
            if instr.op == "index":
                assert isinstance(instr.attr, int)
                dims |= {instr.attr}
            elif instr.op == "reduce":
                dims -= frozenset(self.reduced)
            elif (access := self.access(instr)) is not None:
                dims |= moves_along(access)
            result.append(dims)
        return tuple(result)

    def access(self, instr: Instr) -> Access | None:
        """The access of a memory instruction."""
        if instr.op in ("load", "gather", "store"):
            return self.nest.accesses[access_number(instr)]
        return self.nest.accesses[access_number(instr)] if instr.op == "scatter" else None

    def is_full(self, number: int) -> bool:
        return not self.varies[number].isdisjoint(self.reduced)

    @cached_property
    def stage(self) -> tuple[int, ...]:
        result: list[int] = []
        for instr in self.nest.code:
            known = max((result[a] for a in instr.args), default=0)
            result.append(known + 1 if instr.op == "reduce" else known)
        return tuple(result)

    @cached_property
    def passes(self) -> tuple[tuple[int, ...], ...]:
        """For each pass over the reduced dims the reduces, stores and scatters in it.

        Full stores wait for the last pass: a buffer may share memory with one that a later pass still reads.
        """
        sinks: dict[int, list[int]] = {}
        stores = []
        for i, instr in enumerate(self.nest.code):
            if instr.op == "reduce" and i in self.live:
                sinks.setdefault(self.stage[i] - 1, []).append(i)
            elif instr.op == "scatter" and self.is_full(i):
                sinks.setdefault(self.stage[i], []).append(i)
            elif instr.op == "store" and self.is_full(i):
                stores.append(i)
        count = max([-1, *sinks, *(self.stage[i] for i in stores)]) + 1
        return tuple((*sinks.get(p, ()), *(stores if p == count - 1 else ())) for p in range(count))

    @cached_property
    def row_sinks(self) -> tuple[int, ...]:
        """Stores and scatters that happen once for each kept index tuple."""
        return tuple(i for i, instr in enumerate(self.nest.code) if instr.op in SINKS and not self.is_full(i))

    @cached_property
    def moves(self) -> tuple[frozenset[int], ...]:
        """The loop dims that decide which element each access means."""
        return tuple(moves_along(access) for access in self.nest.accesses)

    @cached_property
    def live(self) -> frozenset[int]:
        return self.needed([i for i, instr in enumerate(self.nest.code) if instr.op in SINKS], through_reduce=True)

    def needed(self, sinks: list[int] | tuple[int, ...], through_reduce: bool = False) -> frozenset[int]:
        """The values that these instructions are computed from; a reduce among them is known already unless `through_reduce`."""
        found: set[int] = set()
        stack = [a for i in sinks for a in self.nest.code[i].args]
        while stack:
            i = stack.pop()
            if i not in found:
                found.add(i)
                if through_reduce or self.nest.code[i].op != "reduce":
                    stack.extend(self.nest.code[i].args)
        return frozenset(found)

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
        """The lane dim is cut into chunks, which are part of an item's number."""
        return self.nest.lane < self.parallel

    @cached_property
    def item_dims(self) -> tuple[int, ...]:
        """The dims that an item's number counts, slowest first; the lane dim stands for its chunks.

        A copy that jumps along the lanes reads whole cache lines for one element of each: neighbouring rows use the others, so they come
        before the next chunk.
        """
        dims = [d for d in range(self.parallel) if d != self.nest.lane]
        if self.chunked:
            dims.insert(max(len(dims) - 1, 0) if self.jumps else len(dims), self.nest.lane)
        return tuple(dims)

    @cached_property
    def jumps(self) -> bool:
        """Some access has another stride than 1 along the lanes."""
        return any(a.steps[self.nest.lane] == "n" and not is_number(a) for a in self.nest.accesses)

    @cached_property
    def cost(self) -> int:
        """About how many vector instructions one pass of the body takes."""
        return sum(arithmetic.cost(self.nest.code[i]) for i in self.live if self.nest.lane in self.varies[i]) + len(
            self.passes
        )

    @cached_property
    def one_by_one(self) -> bool:
        """Vectors would write to places that may coincide, or in another order than that of the indices."""
        nest = self.nest
        for i, instr in enumerate(nest.code):
            if instr.op != "scatter":
                continue
            apart = nest.accesses[access_number(instr)].steps[nest.lane] == "1"
            if not apart or any(nest.lane in self.varies[a] for a in instr.args[1:]):
                return True
            # Then all lanes write for one place of the reduced dims before the next, which only additions do not mind.
            adds = isinstance(instr.attr, tuple) and instr.attr[1] == "add"
            if self.lane_is_kept and self.is_full(i) and not adds:
                return True
        return False

    def width(self, target: Target) -> int:
        """Lanes of the values in the main loop: one or more registers, which LLVM splits."""
        if self.one_by_one:
            return 1
        lane = self.nest.lane
        per_lane = any(lane in bound.dims for a in self.nest.accesses for bound in a.bounds)
        indexed = any(i.op == "gather" and lane in self.varies[n] for n, i in enumerate(self.nest.code))
        if per_lane or indexed or self.jumps:
            return target.lanes
        unroll = next((count for most, count in UNROLL if self.cost <= most), 1) if self.passes else 1
        wide = any(self.nest.code[i].dtype in ("float64", "int64") for i in self.live if lane in self.varies[i])
        return target.lanes * (max(unroll // 2, 1) if wide else unroll)

    def tail_width(self, target: Target) -> int:
        """Lanes of the loop over what is left: a register under a mask where the target has masked loads, or one."""
        lane = self.nest.lane
        moving = [a for a in self.nest.accesses if a.steps[lane] == "1" and not is_number(a)]
        maskable = target.masked and all(bits_in_memory(a) in target.masked for a in moving)
        return target.lanes if maskable and not self.one_by_one else 1

    def one_loop(self, target: Target) -> bool:
        """The loop of the tail does all the work."""
        width, tail = self.width(target), self.tail_width(target)
        return width == tail and (tail == 1 or self.cost > ONE_LOOP)


def access_number(instr: Instr) -> int:
    number = instr.attr[0] if isinstance(instr.attr, tuple) else instr.attr
    assert isinstance(number, int)
    return number


def moves_along(access: Access) -> frozenset[int]:
    """The loop dims that decide which element an access means."""
    moving = {d for d, step in enumerate(access.steps) if step != "0"}
    return frozenset(moving.union(*(bound.dims for bound in access.bounds)))
