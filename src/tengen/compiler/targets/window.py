"""A window that slides over pixels whose channels are columns, as in a depthwise convolution: C[m, n] = sum over k of
A[m, k, n] * B[k, n], where both m and k move A.

The register tile is a few pixels of the result, down and across, so the windows of neighbours overlap: each pixel of A
is loaded once and multiplied by the taps of all the results that see it. Pixels outside of the image are zeros. The last
tile of a line that tiles do not divide begins earlier, and computes some results again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from llvmlite import ir

from ..vector import BITS, Vec, constant, llvm_type, splat
from .column_sums import Rows
from .epilogue import Tile
from .flow import i64
from .products import multiply_add
from .storage import KINDS

if TYPE_CHECKING:
    from .contraction import ContractionEmitter


class Side(NamedTuple):
    """One dimension of a register tile.

    sees: for each result of the tile the (pixel, tap) pairs that it sums over; pixels are counted from the first one of the tile.
    step, per: for `per` results the window moves on by `step` pixels. pixels below `low`, and from `high` on, may lie outside of
    the image. taps: of the window.
    """

    sees: tuple[tuple[tuple[int, int], ...], ...]
    step: int
    per: int
    low: int
    high: int
    taps: int

    @property
    def pixels(self) -> dict[int, list[tuple[int, int]]]:
        """For each pixel the (result, tap) pairs that want it."""
        found: dict[int, list[tuple[int, int]]] = {}
        for result, pairs in enumerate(self.sees):
            for pixel, tap in pairs:
                found.setdefault(pixel, []).append((result, tap))
        return dict(sorted(found.items()))

    @property
    def extent(self) -> int:
        """Pixels from the first to the last one that a tile sees."""
        return 1 + max((pixel for pairs in self.sees for pixel, _ in pairs), default=-1)

    @property
    def advance(self) -> int:
        """Pixels from one tile to the next."""
        return len(self.sees) * self.step // self.per


class Window(NamedTuple):
    """The register tile, down x across. ahead: the images come from memory, so a tile asks early for what the next one touches."""

    down: Side
    across: Side
    ahead: bool = False

    @property
    def rows(self) -> int:
        """Rows of the contraction in one tile."""
        return len(self.down.sees) * len(self.across.sees)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Of each row of the tile where it lies."""
        return list(product(range(len(self.down.sees)), range(len(self.across.sees))))


class _Place(NamedTuple):
    """Where a register tile lies: offsets of its first pixel in A and of its first result in C, whether the pixels that may lie outside
    of the image lie inside, which of its first results, down and across, the tile before has computed, and whether it is the
    first one of the launch tile.
    """

    a: ir.Value
    c: ir.Value
    inside: tuple[dict[int, ir.Value], dict[int, ir.Value]]
    known: tuple[ir.Value, ir.Value]
    begins: ir.Value


Body = Callable[[_Place, list[ir.Value]], Sequence[ir.Value]]


class WindowEmitter:
    """The launch tiles of one kernel. Made where the kernel begins.

    In `param`, rows are m1 lines of m2 pixels, `rows_per_block` counts lines, and a_k1 and a_k2 lead to the next pixel of A.
    Addresses are made by adding to the one before: there are many, and few registers for them.
    """

    def __init__(self, emitter: ContractionEmitter, window: Window):
        self.emitter, self.window, self.spec = emitter, window, emitter.spec
        element = llvm_type(KINDS[self.spec.a][0], self.spec.lanes)
        self.outside = emitter.reserve(element, 1, "outside")
        emitter.at.store(ir.Constant(element, None), self.outside)

    def launch_tile(self, block: ir.Value, at: dict[str, ir.Value], panel: ir.Value, last_panel: ir.Value) -> tuple[()]:
        """Some lines of one image in the panels from `panel` on; `at` are the offsets of A, B, C, channels and sums over rows."""
        emitter, p = self.emitter, self.emitter.param
        bands = emitter.at.udiv(emitter.sum(p["m1"], p["rows_per_block"], -1), p["rows_per_block"])
        image, band = emitter.divmod(block, bands)
        first = emitter.mul(band, p["rows_per_block"])
        end = emitter.minimum(emitter.sum(first, p["rows_per_block"]), p["m1"])
        at = at | {x: emitter.sum(at[x], emitter.mul(image, p[f"{x}_m0"])) for x in "ac"}
        column_sums = emitter.epilogue and emitter.epilogue.sums
        if not column_sums:  # all channels of a pixel lie side by side

            def panels(place: _Place, _: list[ir.Value]) -> tuple[()]:
                emitter.loop(panel, last_panel, 1, lambda j, _: self.tile(j, place, at, ()))
                return ()

            self.tiles(first, end, at, panels, ())
            return ()

        def one(j: ir.Value, _: list[ir.Value]) -> tuple[()]:
            carry = self.tiles(first, end, at, lambda place, sums: self.tile(j, place, at, sums), column_sums.begin())
            rows, column = emitter.mul(emitter.at.sub(end, first), p["m2"]), emitter.mul(j, self.spec.panel)
            masks = emitter.masks(emitter.at.sub(p["columns"], column))
            column_sums.store(carry, emitter.sum(at["sums"], column), rows, masks)
            return ()

        emitter.loop(panel, last_panel, 1, one)
        return ()

    def tiles(
        self, first: ir.Value, end: ir.Value, at: dict[str, ir.Value], body: Body, carry: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """carry = body(tile, carry) for the register tiles of the lines first .. end - 1."""
        emitter, p = self.emitter, self.emitter.param
        down, across = len(self.window.down.sees), len(self.window.across.sees)

        def line(y: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            def place(x: ir.Value, carry: list[ir.Value]) -> Sequence[ir.Value]:
                return body(self.place(y, x, first, at), carry)

            return emitter.loop(i64(0), p["m2"], across, place, carry)

        return emitter.loop(first, end, down, line, carry)

    def place(self, y: ir.Value, x: ir.Value, first: ir.Value, at: dict[str, ir.Value]) -> _Place:
        """That of the tile from result (y, x) on, or somewhat before where the image ends."""
        emitter, p = self.emitter, self.emitter.param
        starts, known, pixels, inside = [], [], [], []
        names = ("m1", "top", "height"), ("m2", "left", "width")
        for side, result, (extent, base, size) in zip(self.window[:2], (y, x), names, strict=True):
            start = emitter.minimum(result, emitter.sum(p[extent], -len(side.sees)))
            moved = emitter.mul(start, side.step)
            pixel = emitter.sum(moved if side.per == 1 else emitter.at.udiv(moved, i64(side.per)), p[base])
            unsure = [i for i in side.pixels if i < side.low or i >= side.high]
            inside.append({i: emitter.at.icmp_unsigned("<", emitter.sum(pixel, i), p[size]) for i in unsure})
            starts.append(start)
            known.append(emitter.at.sub(result, start))
            pixels.append(pixel)
        begins = emitter.at.and_(emitter.at.icmp_signed("==", y, first), emitter.at.icmp_signed("==", x, i64(0)))
        a, c = (
            emitter.sum(at[name], *(emitter.mul(n, p[f"{name}_{loop}{i}"]) for i, n in enumerate(numbers, 1)))
            for name, loop, numbers in (("a", "k", pixels), ("c", "m", starts))
        )
        return _Place(a, c, (inside[0], inside[1]), (known[0], known[1]), begins)

    # -- one register tile ---------------------------------------------------------------------------------------

    def tile(
        self, panel: ir.Value, place: _Place, at: dict[str, ir.Value], carry: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        emitter, spec, p = self.emitter, self.spec, self.emitter.param
        column = emitter.mul(panel, spec.panel)
        masks = emitter.masks(emitter.at.sub(p["columns"], column))
        channel, c = emitter.sum(at["channel"], column), emitter.sum(place.c, column)
        count = i64(spec.rows)
        if emitter.epilogue:
            emitter.epilogue.read_ahead(
                Tile(self._results(c), channel, channel, masks, count, lambda: self._there(place))
            )
        self._ask_for_results(c)
        b = emitter.sum(at["b"], emitter.mul(panel, p["b_panel"]))
        totals = self.sums(place, emitter.sum(place.a, column), b, masks[0])
        rows = self._results(c)
        if emitter.epilogue:
            here = Tile(rows, channel, channel, masks, count, lambda: self._there(place))
            return emitter.epilogue.end(totals, here, carry)
        for i, total in enumerate(totals):
            address = emitter.element(emitter.buffers["c"], spec.c, rows(i))
            emitter.store(Vec(emitter.at, total, emitter.kind, spec.lanes), address, spec.c, masks[0])
        return ()

    def sums(self, place: _Place, a: ir.Value, b: ir.Value, mask: ir.Value | None) -> list[ir.Value]:
        """The sums of products of a tile; a, b: offsets of its first pixel and of the taps in the panel."""
        emitter, spec, p, window = self.emitter, self.spec, self.emitter.param, self.window
        lines, columns = window.down.pixels, window.across.pixels
        down, across = place.inside
        start = emitter.element(emitter.buffers["b"], spec.b, b)
        count = window.down.taps * window.across.taps
        taps = [emitter.load(emitter.element(start, spec.b, i * spec.panel), spec.b, spec.lanes) for i in range(count)]

        def line(i: int, address: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            result = list(totals)
            for j in range(window.across.extent):
                if j in columns:
                    at = emitter.at.select(across[j], address, self.outside) if j in across else address
                    value = emitter.load(at, spec.a, spec.lanes, mask)
                    for (t, ky), (r, kx) in product(lines[i], columns[j]):
                        row = t * len(window.across.sees) + r
                        total = value.like(result[row], emitter.kind)
                        result[row] = multiply_add(value, taps[ky * window.across.taps + kx], total).value
                    self._fence()
                address = emitter.element(address, spec.a, p["a_k2"])
            if i >= window.down.extent - window.down.advance:  # lines above have been read for the tiles above
                self._ask("a", address, "a_k2", window.across.advance)
            return result

        totals = [constant(0, emitter.kind, spec.lanes)] * window.rows
        address = emitter.element(emitter.buffers["a"], spec.a, a)
        for i in range(window.down.extent):
            if i in down:
                totals = emitter.choose(down[i], partial(line, i, address, totals), partial(list, totals))
            elif i in lines:
                totals = line(i, address, totals)
            address = emitter.element(address, spec.a, p["a_k1"])
        return totals

    def _ask(self, buffer: str, address: ir.Value, step: str, count: int) -> None:
        """Begin to bring so many pixels from an address on into the level-2 cache."""
        emitter = self.emitter
        for _ in range(count if self.window.ahead else 0):
            emitter.prefetch(address, level=2)
            address = emitter.element(address, getattr(self.spec, buffer), emitter.param[step])

    def _ask_for_results(self, c: ir.Value) -> None:
        """The same for where the results of the next tile will lie."""
        emitter, spec, width = self.emitter, self.spec, len(self.window.across.sees)
        line = emitter.sum(c, emitter.mul(emitter.param["c_m2"], width))
        for _ in self.window.down.sees:
            self._ask("c", emitter.element(emitter.buffers["c"], spec.c, line), "c_m2", width)
            line = emitter.sum(line, emitter.param["c_m1"])

    def _fence(self) -> None:
        """No load is moved up over this: all at once they would need more registers than there are."""
        nothing = ir.FunctionType(ir.VoidType(), [])
        self.emitter.at.asm(nothing, "", "~{memory}", [], True)

    def _results(self, first: ir.Value) -> Callable[[ir.Value | int], ir.Value]:
        """The offset of each row of a tile in C."""
        emitter, p, width = self.emitter, self.emitter.param, len(self.window.across.sees)
        known = {0: first}

        def offset(i: ir.Value | int) -> ir.Value:
            if not isinstance(i, int):
                down, across = emitter.divmod(i, i64(width))
                return emitter.sum(first, emitter.mul(p["c_m1"], down), emitter.mul(p["c_m2"], across))
            if i not in known:
                known[i] = (
                    emitter.sum(offset(i - 1), p["c_m2"]) if i % width else emitter.sum(offset(i - width), p["c_m1"])
                )
            return known[i]

        return offset

    def _there(self, place: _Place) -> Rows:
        """What sums over rows want to know of a tile."""
        emitter, lanes = self.emitter, self.spec.lanes
        kind = {32: "i32", 64: "i64"}[BITS[emitter.kind]]
        known = [Vec(emitter.at, x, "i64", 1).to(kind).value for x in place.known]
        down, across = (splat(emitter.at, x, kind, lanes) for x in known)
        return Rows(place.begins, [(down <= t) & (across <= r) for t, r in self.window.places])
