"""Writes the register tiles of a sliding window; `kernels/window.py` describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

from llvmlite import ir

from ...kernels.dtypes import BITS, KINDS
from ...kernels.window import Window
from ..flow import i64
from ..vector import Vec, constant, llvm_type, splat
from .epilogue import EpilogueEmitter
from .products import multiply_add
from .tile import Rows, Tile, TileEmitter


class _Place(NamedTuple):
    """Where a register tile lies.

    Offsets of its first pixel in A and of its first result in C or B; whether the pixels that may lie outside the image
    lie inside; how many of its first results, down and across, the tile before has computed; and whether it is the
    first one of the launch tile.
    """

    a: ir.Value
    result: ir.Value
    inside: tuple[dict[int, ir.Value], dict[int, ir.Value]]
    known: tuple[ir.Value, ir.Value]
    begins: ir.Value


Body = Callable[[_Place, list[ir.Value]], Sequence[ir.Value]]


class WindowEmitter:
    """The launch tiles of one kernel. Created at the beginning of the kernel.

    In `part`, rows are m2 lines of m3 pixels, `rows_per_block` counts lines, and a_k2 and a_k3 lead to the next pixel
    of A. By weight these are k2 lines of k3 pixels, `k2_block`, and a_m2 and a_m3. `over` and `seen` are the letters of
    these loops. Each address is computed from the one before, because there are many addresses and few registers for
    them.
    """

    def __init__(self, emitter: TileEmitter, window: Window, epilogue: EpilogueEmitter | None):
        self.epilogue = epilogue
        self.emitter, self.window, self.spec = emitter, window, emitter.spec
        self.over, self.seen, self.result = ("k", "m", "b") if window.by_weight else ("m", "k", "c")
        element = llvm_type(KINDS[self.spec.a][0], self.spec.lanes)
        self.outside = emitter.reserve(element, 1, "outside")
        emitter.at.store(self._nothing(element), self.outside)

    def launch_tile(
        self, number: ir.Value, at: dict[str, ir.Value], panel: ir.Value, last_panel: ir.Value
    ) -> tuple[()]:
        """Some lines of one image, or by weight of several, in the panels from `panel` on.

        at: offsets of A, B, C, channels and sums over rows. number: of the block of rows, or of the split of k.
        """
        emitter, p = self.emitter, self.emitter.part
        if not self.window.by_weight:
            first, end, at = self.band(number, at, "rows_per_block")
            return self.results(first, end, at, panel, last_panel)
        emitter.loop(panel, last_panel, 1, lambda j, _: self.store_taps(j, at, self.zeros(self.window.taps)))
        low = emitter.mul(number, p.blocks_per_split)
        bands = emitter.mul(self.bands("k2_block"), p.k1)
        high = emitter.minimum(emitter.sum(low, p.blocks_per_split), bands)

        def band(i: ir.Value, _: list[ir.Value]) -> tuple[()]:
            first, end, here = self.band(i, at, "k2_block")

            def panels(place: _Place, _: list[ir.Value]) -> tuple[()]:
                emitter.loop(panel, last_panel, 1, lambda j, _: self.add_tile(j, place, here))
                return ()

            self.tiles(first, end, here, panels, ())
            return ()

        emitter.loop(low, high, 1, band)
        return ()

    def bands(self, lines: str) -> ir.Value:
        """The lines of one image, as many as the parameter says."""
        emitter, p = self.emitter, self.emitter.part
        return emitter.at.udiv(emitter.sum(p.of(f"{self.over}2"), p.of(lines), -1), p.of(lines))

    def band(
        self, number: ir.Value, at: dict[str, ir.Value], lines: str
    ) -> tuple[ir.Value, ir.Value, dict[str, ir.Value]]:
        """The first line, the one after the last, and the offsets of the image."""
        emitter, p = self.emitter, self.emitter.part
        image, band = emitter.divmod(number, self.bands(lines))
        first = emitter.mul(band, p.of(lines))
        end = emitter.minimum(emitter.sum(first, p.of(lines)), p.of(f"{self.over}2"))
        moved = {x: emitter.sum(at[x], emitter.mul(image, p.of(f"{x}_{self.over}1"))) for x in ("a", self.result)}
        return first, end, at | moved

    def results(
        self, first: ir.Value, end: ir.Value, at: dict[str, ir.Value], panel: ir.Value, last_panel: ir.Value
    ) -> tuple[()]:
        """Some lines of one image."""
        emitter, p = self.emitter, self.emitter.part
        column_sums = self.epilogue and self.epilogue.sums
        if not column_sums:  # all channels of a pixel lie side by side

            def panels(place: _Place, _: list[ir.Value]) -> tuple[()]:
                emitter.loop(panel, last_panel, 1, lambda j, _: self.tile(j, place, at, ()))
                return ()

            self.tiles(first, end, at, panels, ())
            return ()

        def one(j: ir.Value, _: list[ir.Value]) -> tuple[()]:
            carry = self.tiles(first, end, at, lambda place, sums: self.tile(j, place, at, sums), column_sums.begin())
            rows, column = emitter.mul(emitter.at.sub(end, first), p.m3), emitter.mul(j, self.spec.panel)
            masks = emitter.masks(emitter.at.sub(p.columns, column))
            column_sums.store(carry, emitter.sum(at["sums"], column), rows, masks)
            return ()

        emitter.loop(panel, last_panel, 1, one)
        return ()

    def tiles(
        self, first: ir.Value, end: ir.Value, at: dict[str, ir.Value], body: Body, carry: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """carry = body(tile, carry) for the register tiles of the lines from `first` to end - 1."""
        emitter, p = self.emitter, self.emitter.part
        down, across = len(self.window.down.sees), len(self.window.across.sees)

        def line(y: ir.Value, carry: list[ir.Value]) -> list[ir.Value]:
            def place(x: ir.Value, carry: list[ir.Value]) -> Sequence[ir.Value]:
                return body(self.place(y, x, first, at), carry)

            return emitter.loop(i64(0), p.of(f"{self.over}3"), across, place, carry)

        return emitter.loop(first, end, down, line, carry)

    def place(self, y: ir.Value, x: ir.Value, first: ir.Value, at: dict[str, ir.Value]) -> _Place:
        """The tile that begins at result (y, x), or somewhat earlier at the end of the image."""
        emitter, p = self.emitter, self.emitter.part
        starts, known, pixels, inside = [], [], [], []
        names = (f"{self.over}2", "top", "height"), (f"{self.over}3", "left", "width")
        for side, result, (extent, base, size) in zip(self.window[:2], (y, x), names, strict=True):
            start = emitter.minimum(result, emitter.sum(p.of(extent), -len(side.sees)))
            moved = emitter.mul(start, side.step)
            pixel = emitter.sum(moved if side.per == 1 else emitter.at.udiv(moved, i64(side.per)), p.of(base))
            unsure = [i for i in side.pixels if i < side.low or i >= side.high]
            inside.append({i: emitter.at.icmp_unsigned("<", emitter.sum(pixel, i), p.of(size)) for i in unsure})
            starts.append(start)
            known.append(emitter.at.sub(result, start))
            pixels.append(pixel)
        begins = emitter.at.and_(emitter.at.icmp_signed("==", y, first), emitter.at.icmp_signed("==", x, i64(0)))
        a, first_result = (
            emitter.sum(at[name], *(emitter.mul(n, p.of(f"{name}_{loop}{i}")) for i, n in enumerate(numbers, 2)))
            for name, loop, numbers in (("a", self.seen, pixels), (self.result, self.over, starts))
        )
        return _Place(a, first_result, (inside[0], inside[1]), (known[0], known[1]), begins)

    # -- one register tile ---------------------------------------------------------------------------------------

    def tile(
        self, panel: ir.Value, place: _Place, at: dict[str, ir.Value], carry: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        emitter, spec, p = self.emitter, self.spec, self.emitter.part
        column = emitter.mul(panel, spec.panel)
        masks = emitter.masks(emitter.at.sub(p.columns, column))
        channel, c = emitter.sum(at["channel"], column), emitter.sum(place.result, column)
        count = i64(spec.rows)
        if self.epilogue:
            self.epilogue.read_ahead(Tile(self._results(c), channel, channel, masks, count, lambda: self._there(place)))
        self._ask_for_results(c)
        b = emitter.sum(at["b"], emitter.mul(panel, p.b_panel))
        start = emitter.element(emitter.buffers["b"], spec.b, b)
        places = [emitter.element(start, spec.b, i * spec.panel) for i in range(self.window.taps)]
        taps = [emitter.load(tap, spec.b, spec.lanes) for tap in places]
        totals = self.sums(place, emitter.sum(place.a, column), taps, self.zeros(spec.rows), masks[0])
        rows = self._results(c)
        if self.epilogue:
            here = Tile(rows, channel, channel, masks, count, lambda: self._there(place))
            return self.epilogue.end(totals, here, carry)
        for i, total in enumerate(totals):
            address = emitter.element(emitter.buffers["c"], spec.c, rows(i))
            emitter.store(Vec(emitter.at, total, emitter.kind, spec.lanes), address, spec.c, masks[0])
        return ()

    def add_tile(self, panel: ir.Value, place: _Place, at: dict[str, ir.Value]) -> tuple[()]:
        """Add the products of a tile's pixels to the sums of the taps."""
        emitter, spec = self.emitter, self.spec
        column = emitter.mul(panel, spec.panel)
        mask = emitter.masks(emitter.at.sub(emitter.part.columns, column))[0]
        result = emitter.sum(place.result, column)
        self._ask_for_results(result)
        offset, held = self._results(result), []
        new = [emitter.at.icmp_signed("==", known, i64(0)) for known in place.known]
        for i, where in enumerate(self.window.places):
            address = emitter.element(emitter.buffers["b"], spec.b, offset(i))
            for side, number, first in zip(self.window[:2], where, new, strict=True):
                if number < side.again:
                    address = emitter.at.select(first, address, self.outside)
            held.append(emitter.load(address, spec.b, spec.lanes, mask))
        totals = [emitter.load(tap, spec.c, spec.lanes, mask).value for tap in self._taps(column, at)]
        self.store_taps(panel, at, self.sums(place, emitter.sum(place.a, column), held, totals, mask))
        return ()

    def store_taps(self, panel: ir.Value, at: dict[str, ir.Value], totals: list[ir.Value]) -> tuple[()]:
        emitter, spec = self.emitter, self.spec
        column = emitter.mul(panel, spec.panel)
        mask = emitter.masks(emitter.at.sub(emitter.part.columns, column))[0]
        for total, address in zip(totals, self._taps(column, at), strict=True):
            emitter.store(Vec(emitter.at, total, emitter.kind, spec.lanes), address, spec.c, mask)
        return ()

    def zeros(self, count: int) -> list[ir.Value]:
        return [constant(0, self.emitter.kind, self.spec.lanes)] * count

    def sums(
        self, place: _Place, a: ir.Value, factors: list[Vec], totals: list[ir.Value], mask: ir.Value | None
    ) -> list[ir.Value]:
        """The totals with the products of a tile added. a: the offset of its first pixel. factors: the taps, or by
        weight the results."""
        emitter, spec, window = self.emitter, self.spec, self.window
        lines, columns = window.down.pixels, window.across.pixels
        down, across = place.inside
        next_line, next_pixel = (emitter.part.of(f"a_{self.seen}{i}") for i in (2, 3))

        def line(i: int, address: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            result = list(totals)
            for j in range(window.across.extent):
                if j in columns:
                    at = emitter.at.select(across[j], address, self.outside) if j in across else address
                    value = emitter.of_a(emitter.load(at, spec.a, spec.lanes, mask))
                    for (t, ky), (r, kx) in product(lines[i], columns[j]):
                        row, factor = t * len(window.across.sees) + r, ky * window.across.taps + kx
                        if window.by_weight:
                            row, factor = factor, row
                        total = value.like(result[row], emitter.kind)
                        result[row] = multiply_add(value, factors[factor], total).value
                    self.emitter.fence()
                address = emitter.element(address, spec.a, next_pixel)
            if i >= window.down.extent - window.down.advance:  # the lines above were read for the tiles above
                self._ask("a", address, next_pixel, window.across.advance)
            return result

        address = emitter.element(emitter.buffers["a"], spec.a, a)
        for i in range(window.down.extent):
            if i in down:
                totals = emitter.choose(down[i], partial(line, i, address, totals), partial(list, totals))
            elif i in lines:
                totals = line(i, address, totals)
            address = emitter.element(address, spec.a, next_line)
        return totals

    def _ask(self, buffer: str, address: ir.Value, step: ir.Value, count: int) -> None:
        """Prefetch this many pixels, from an address on, into the level-2 cache."""
        emitter = self.emitter
        for _ in range(count if self.window.ahead else 0):
            emitter.prefetch(address, level=2)
            address = emitter.element(address, getattr(self.spec, buffer), step)

    def _ask_for_results(self, first: ir.Value) -> None:
        """Prefetch where the results of the next tile lie, or will lie."""
        emitter, name, width = self.emitter, self.result, len(self.window.across.sees)
        dtype, (next_line, next_pixel) = getattr(self.spec, name), self._steps()
        line = emitter.sum(first, emitter.mul(next_pixel, width))
        for _ in self.window.down.sees:
            self._ask(name, emitter.element(emitter.buffers[name], dtype, line), next_pixel, width)
            line = emitter.sum(line, next_line)

    def _steps(self) -> tuple[ir.Value, ir.Value]:
        """The distances from a result to the next one down and across."""
        return self.emitter.part.of(f"{self.result}_{self.over}2"), self.emitter.part.of(f"{self.result}_{self.over}3")

    def _taps(self, column: ir.Value, at: dict[str, ir.Value]) -> list[ir.Value]:
        """Addresses of the taps' sums in C."""
        emitter, p, window = self.emitter, self.emitter.part, self.window
        start = emitter.element(emitter.buffers["c"], self.spec.c, emitter.sum(at["c"], column))
        lines = [emitter.element(start, self.spec.c, emitter.mul(p.c_m2, i)) for i in range(window.down.taps)]
        taps = product(lines, range(window.across.taps))
        return [emitter.element(line, self.spec.c, emitter.mul(p.c_m3, i)) for line, i in taps]

    def _nothing(self, element: ir.Type) -> ir.Value:
        """Pixels that stand for 0."""
        kind, at = KINDS[self.spec.a][0], self.emitter.at
        if self.spec.a_zero == "0":
            return ir.Constant(element, None)
        zero = at.trunc(self.emitter.part.a_zero, llvm_type(kind, 1))
        return splat(at, zero, kind, self.spec.lanes).value

    def _results(self, first: ir.Value) -> Callable[[ir.Value | int], ir.Value]:
        """The offset of each result of a tile."""
        emitter, width = self.emitter, len(self.window.across.sees)
        next_line, next_pixel = self._steps()
        known = {0: first}

        def offset(i: ir.Value | int) -> ir.Value:
            if not isinstance(i, int):
                down, across = emitter.divmod(i, i64(width))
                return emitter.sum(first, emitter.mul(next_line, down), emitter.mul(next_pixel, across))
            if i not in known:
                known[i] = (
                    emitter.sum(offset(i - 1), next_pixel) if i % width else emitter.sum(offset(i - width), next_line)
                )
            return known[i]

        return offset

    def _there(self, place: _Place) -> Rows:
        """The `Rows` of a tile, for sums over rows."""
        emitter, lanes = self.emitter, self.spec.lanes
        kind = {32: "i32", 64: "i64"}[BITS[emitter.kind]]
        known = [Vec(emitter.at, x, "i64", 1).to(kind).value for x in place.known]
        down, across = (splat(emitter.at, x, kind, lanes) for x in known)
        return Rows(place.begins, [(down <= t) & (across <= r) for t, r in self.window.places])
