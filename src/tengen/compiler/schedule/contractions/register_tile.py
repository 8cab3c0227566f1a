"""Which register tile (rows x vectors of columns) a contraction uses.

A cost model chooses from a short menu of tiles, so that few distinct kernels are compiled. `choose` is the only entry;
a table of measured tiles could replace `_cycles` without any other change. `benchmarks/kernels_contraction.py --tiles`
measures the menu.
"""

from __future__ import annotations

from functools import cache
from math import inf
from typing import NamedTuple

from ...kernels.contraction import AMX_SIDE

FMA_LATENCY = 4
ISSUE = 2
"""Fused multiply-adds that begin in one cycle; also vector loads."""
FROM_CACHE = 1.5
"""Cycles that a vector of B takes from the level-2 cache, which holds most panels."""
START = 1.0
"""Cycles that beginning and ending a tile adds to each step of a short k."""
REGISTER_ROWS = 8
"""Rows of A whose addresses stay in general registers even if the steps of k are run-time numbers too."""
LEAST_LANES = 8
"""Vectors are not halved below 256 bits of 32-bit numbers."""

# The tiles for 32 and for 16 vector registers: rows * vectors accumulators, one register for each vector of B, and one
# for an element of A. Rows stay within 12, because each needs a general register for its address. Some tiles that would
# fit are left out because LLVM schedules them badly (7x4 and 5x4 spill loads into the inner loop). Among equals the
# first is taken: few rows read few lines of A at a time.
MENU = {
    32: (
        *((6, 4), (8, 3), (12, 2), (12, 1), (8, 2), (8, 1), (4, 4), (4, 2), (4, 1)),
        *((2, 8), (2, 4), (2, 2), (2, 1), (1, 8), (1, 4), (1, 2), (1, 1), (6, 2), (6, 1)),
    ),
    16: (
        *((6, 2), (4, 3), (12, 1), (6, 1), (4, 2), (4, 1)),
        *((2, 4), (2, 2), (2, 1), (1, 8), (1, 4), (1, 2), (1, 1)),
    ),
}

HALF_MENU = ((10, 1), (8, 1), (6, 1), (4, 1), (2, 1), (1, 1))
"""If vectors are halved, which only machines with 32 registers do. Such a tile may begin two multiply-adds in a cycle, so loads
of the addresses of rows that find no general register slow it down: 12 rows reach 56 % of the peak, 10 rows 75 %."""

COLUMNS_MENU = {32: ((9, 2),), 16: ()}
"""If A has the columns too: all taps of a 3 x 3 window as rows, for the gradient by weight."""

FOLDED_MENU = {32: ((4, 6),), 16: ((2, 5),)}
"""If vectors are columns, whose number they must divide."""


class RegisterTile(NamedTuple):
    """`rows` x (`vectors` * `lanes`) accumulators. `unroll` steps of k are written out in a row. folded: lanes are
    steps of k, not columns. amx: the accumulators are AMX registers."""

    rows: int
    vectors: int
    lanes: int
    unroll: int
    folded: bool = False
    amx: bool = False

    @property
    def panel(self) -> int:
        """Columns of the tile."""
        return self.vectors * (1 if self.folded else self.lanes)


AMX_TILE = RegisterTile(2 * AMX_SIDE, 2, AMX_SIDE, 1, amx=True)
NARROW_AMX_TILE = RegisterTile(3 * AMX_SIDE, 1, AMX_SIDE, 1, amx=True)


def choose_amx(n: int) -> RegisterTile:
    """The tile for n columns on AMX."""
    return AMX_TILE if n > AMX_SIDE else NARROW_AMX_TILE


def tile_of_words(tile: RegisterTile, n: int, amx: bool, integers: bool) -> RegisterTile:
    """The tile for n columns where steps of k are words, if it was `tile` else. Outside of AMX a step of words of 8-bit integers is long, and two
    of them want more registers than there are."""
    return choose_amx(n) if amx else tile._replace(unroll=1) if integers else tile


def choose(m: int, n: int, lanes: int, registers: int, run: int | None = None, a_columns: bool = False) -> RegisterTile:
    """The tile with the least estimated time for an m x n result; ties go to the earlier one of the menu.

    run: for an A whose k is not contiguous, how many of its rows lie side by side; if tiles divide that, one address
    serves all their rows. a_columns: A has the columns too. If half a vector holds all columns, half vectors are used:
    no machine multiplies those more slowly, and some do twice as fast.
    """
    half = 2 * n <= lanes and lanes > LEAST_LANES
    if half:
        lanes //= 2
    size = 32 if registers >= 32 else 16
    least, best = inf, (0, 0)
    for rows, vectors, *cycles in _menu(size, a_columns, half):
        scattered = run is not None and run % rows != 0
        cost = -(-m // rows) * -(-n // (vectors * lanes)) * cycles[scattered]
        if cost < least:
            least, best = cost, (rows, vectors)
    rows, vectors = best
    unroll = 1 if a_columns else 2 if rows > REGISTER_ROWS else 4
    return RegisterTile(rows, vectors, lanes, unroll)


@cache
def _menu(size: int, a_columns: bool, half: bool) -> list[tuple[int, int, float, float]]:
    """Rows and vectors of tiles, with the cycles of one step of k; the second number is for scattered rows."""
    menu = (*COLUMNS_MENU[size], *MENU[size]) if a_columns else HALF_MENU if half else MENU[size]
    return [(*tile, _cycles(*tile, False, a_columns), _cycles(*tile, True, a_columns)) for tile in menu]


def choose_folded(m: int, n: int, lanes: int, registers: int) -> RegisterTile:
    """The tile if lanes are steps of k: one whose vectors divide n."""

    def cost(tile: tuple[int, int]) -> float:
        return -(-m // tile[0]) * n // tile[1] * _cycles(*tile, False, False)

    size = 32 if registers >= 32 else 16
    rows, vectors = min((t for t in (*FOLDED_MENU[size], *MENU[size]) if n % t[1] == 0), key=cost)
    return RegisterTile(rows, vectors, lanes, 1, folded=True)


def _cycles(rows: int, vectors: int, scattered: bool, a_columns: bool) -> float:
    """Cycles of one step of k: limited by multiply-adds, by loads (one for each row and each vector), by what the level-2 cache
    gives of B, or by latency."""
    reloaded = max(0, rows - REGISTER_ROWS) if scattered else 0
    loads = (rows * vectors if a_columns else rows) + vectors + reloaded
    return max(rows * vectors / ISSUE, loads / ISSUE, vectors * FROM_CACHE, FMA_LATENCY) + START
