"""Map/reduce kernels on GPUs: which thread does what, and how a launch is cut into blocks.

An *item* is one index tuple of the kept dims before `serial_from`; V neighbours along the lane dim, if that is kept, are
one item. The number of a thread becomes the indices of its item by multiplications and shifts, in 32 bits; so are
offsets. If there are 2**31 items or more, or an operand reaches as far, it is another kernel, which counts in 64 bits, and divides.

    lane dim kept, map:      a thread computes an item, V neighbours as one vector
    lane dim kept, reduced:  the threads of a column of a block compute an item: they go round the outermost reduced dim
    with a cross dim:        a block computes an item, a square of SIDE places of the lane dim and of the cross dim; its
                             threads lie along the lane dim, and along the cross dim for what is contiguous along that
    lane dim reduced:        a group of `columns` × `rows` threads computes an item: columns go round the lane dim in
                             steps of V neighbours, rows go round the outermost other reduced dim

A fold ends with exchanges between the threads of a warp, and for larger groups with one round through shared memory, so
that each thread has the result and later passes need nothing else. What waits in memory between passes is read by the
thread that wrote it.

V and the sizes of groups follow from the Nest and the extents alone, so sums have the same order on every GPU, wherever
operands lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from ...base.errors import NoKernelError
from .device import MOST_BLOCKS, WARP, DeviceGrid
from .nest import UNORDERED, Access, AccessNumbers, Nest, has_scan, is_number, mode
from .nest_structure import ONE_LOOP, Structure, bits_in_memory

BLOCK, MOST = 256, 1024  # threads of a block: usually, and at most
VECTOR = 128  # bits that a thread loads at once
CHEAP = 12  # instructions of a body of which eight elements at a time, or as many threads as there may be, need few registers
IN_A_ROW = 8  # vectors that a thread takes before its row gets more threads
ENOUGH = 1 << 17  # threads that keep a large GPU busy
MOST_ITEMS = 1 << 31
FARTHEST = 1 << 31  # elements: offsets have a sign
SIDE, DOWN = 32, 8  # of a square; and threads along it and down
PITCH = SIDE + 1  # elements from one line of a square in shared memory to the next
MOST_SHARED = 48 << 10  # bytes of a block


def plain(nest: Nest) -> Nest:
    """Without what only CPUs make use of: rows side by side and woven places."""
    return nest._replace(rows=1, interleaved=None)


def has_room(nest: Nest) -> bool:
    """Whether the squares of all that is contiguous along the cross dim fit the shared memory of a block."""
    structure = Structure(plain(nest))
    turned = [a for op in ("load", "store") for _, a in structure.crossing(op)]
    return sum(SIDE * PITCH * bits_in_memory(nest.accesses[a]) // 8 for a in turned) <= MOST_SHARED


def neighbours(structure: Structure) -> int:
    """Elements along the lane dim that a thread takes as one vector."""
    nest, lane = structure.nest, structure.nest.lane
    if structure.one_by_one or structure.cost > ONE_LOOP or has_scan(nest) or nest.cross is not None:
        return 1
    if structure.lane_is_kept and (structure.passes or not structure.chunked):
        return 1
    moving = [a for a in nest.accesses if not is_number(a) and a.steps[lane] != "0"]
    if any(a.steps[lane] != "1" for a in moving) or any(lane in b.dims for a in nest.accesses for b in a.bounds):
        return 1
    indexed = (i for i, instr in enumerate(nest.code) if instr.op in ("gather", "scatter"))
    if any(lane in structure.varies[a] for i in indexed for a in nest.code[i].args):
        return 1
    most = 8 if structure.cost <= CHEAP else 4  # the values of all lanes are in registers
    return max(1, min(most, VECTOR // max([16, *map(bits_in_memory, moving)])))


def thread_dims(structure: Structure) -> tuple[int, ...]:
    """The dims that an item's number counts, slowest first. The lane dim stands for its vectors; it and the cross dim for
    their squares."""
    last = [d for d in (structure.nest.cross, structure.nest.lane) if d is not None]
    return (*(d for d in range(structure.parallel) if d not in last), *last[:-1], *last[-1:] * structure.chunked)


def shared_rows(structure: Structure) -> bool:
    """Whether several threads may go round the outermost reduced dim (other than the lane) of one item."""
    nest = structure.nest
    ordered = nest.serial_from is not None or has_scan(nest) or _writes_in_order(structure)
    return not ordered and any(d != nest.lane for d in structure.reduced)


def scans_alone(structure: Structure) -> bool:
    """Whether a thread must scan a whole row, because a product of some of its factors may overflow or vanish where
    that of all from the first on does not."""
    scans = [structure.nest.code[i] for i in structure.scans]
    return any(i.attr == "linear" or (i.attr == "prod" and i.dtype.startswith("float")) for i in scans)


def _writes_in_order(structure: Structure) -> bool:
    """Whether a thread must do all of an item, because what it scatters may meet."""
    scatters = [
        i for i, instr in enumerate(structure.nest.code) if instr.op == "scatter" and mode(instr) not in UNORDERED
    ]
    return any(map(structure.is_full, scatters))


def buffers(nest: Nest) -> int:
    """How many addresses a kernel takes, without that of the status word. What is no memory has one too."""
    return sum(not access.shared for access in nest.accesses)


def magic(divisor: int) -> tuple[int, int]:
    """(m, s) such that n // divisor == n * m >> s for 0 <= n < 2**31 (T. Granlund and P. Montgomery, 1994)."""
    divisor = max(divisor, 1)
    shift = 31 + (divisor - 1).bit_length()
    return -(-(1 << shift) // divisor), shift


def group(structure: Structure, extents: Sequence[int], items: int) -> tuple[int, int]:
    """How many threads of a block compute one item: along the lane dim if that is reduced, along the outermost other
    reduced dim. Powers of 2."""
    nest = structure.nest
    outer = next((extents[d] for d in structure.reduced if d != nest.lane), 1)
    if structure.lane_is_kept:
        rows = min(_power(outer // IN_A_ROW), BLOCK // WARP, _power(ENOUGH // max(items, 1)))
        return 1, rows if shared_rows(structure) else 1
    if _alone(structure):
        return 1, 1
    most = most_threads(structure)
    vectors = max(extents[nest.lane] // neighbours(structure), 1)
    columns = _power(vectors) if vectors <= WARP else WARP
    if vectors > IN_A_ROW * WARP:
        columns = min(most, _power(vectors // 4))
    if not shared_rows(structure):
        return columns, 1
    wanted = _power(-(-vectors * outer // (IN_A_ROW * columns)))
    return columns, min(max(wanted, WARP // columns), _power(outer), most // columns)


def most_threads(structure: Structure) -> int:
    """The threads of a block, at most. A multiprocessor has 65536 registers: 64 for each of 1024 threads, which is enough
    for a short body, and 255 for each of 256, which is all that a thread can have."""
    if structure.lane_is_kept or structure.nest.cross is not None or _alone(structure):
        return BLOCK
    long = (  # a thread holds the values of all elements of a vector at once
        structure.cost > CHEAP
        or structure.cost * neighbours(structure) > 2 * CHEAP
        or any(instr.dtype == "float64" for instr in structure.nest.code)
    )
    return BLOCK if long else MOST


def _alone(structure: Structure) -> bool:
    """Whether one thread must do all of an item."""
    return _writes_in_order(structure) or scans_alone(structure)


def _power(number: int) -> int:
    """The next power of 2."""
    return 1 << max(number - 1, 0).bit_length()


def turns(nest: Nest, extents: Sequence[int], dim: int) -> int:
    """How often a thread goes round the loop over a reduced dim."""
    structure = Structure(plain(nest))
    columns, rows = group(structure, extents, prod(extents[: nest.kept]))
    if dim == nest.lane:
        return -(-extents[dim] // (columns * neighbours(structure)))
    first = next(d for d in structure.reduced if d != nest.lane)
    return -(-extents[dim] // (rows if dim == first else 1))


@lru_cache(1024)  # a new shape often gives the same nest
def _facts(nest: Nest) -> tuple[Structure, int, tuple[int, ...]]:
    structure = Structure(plain(nest))
    return structure, neighbours(structure), thread_dims(structure)


def _counts(nest: Nest, extents: Sequence[int]) -> list[int]:
    """The extents of the dims that an item's number counts."""
    _, width, dims = _facts(nest)
    cross, lane = nest.cross, nest.lane
    sizes = {lane: width} if cross is None else {lane: SIDE, cross: SIDE}
    return [-(-extents[d] // sizes.get(d, 1)) for d in dims]


def is_wide(nest: Nest, extents: Sequence[int], numbers: Sequence[AccessNumbers]) -> bool:
    """Whether the numbers of items, or how far operands reach, need 64 bits in a launch with these extents and operands."""
    return prod(_counts(nest, extents)) >= MOST_ITEMS or any(
        _reach(access, extents, own.strides) >= FARTHEST for access, own in zip(nest.accesses, numbers, strict=True)
    )


def _reach(access: Access, extents: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements an access moves at most, either way."""
    further = iter(strides)
    moved = [next(further) if step == "n" else int(step) for step in access.steps]
    return sum([abs(stride) * max(extent - 1, 0) for stride, extent in zip(moved, extents, strict=True)])


def split(nest: Nest, extents: Sequence[int], params: Sequence[int]) -> DeviceGrid:
    """The launch of a Nest with these extents and these parameters (without those of the split).

    Raises NoKernelError if it is too large for one launch.
    """
    structure, _, _ = _facts(nest)
    counts = _counts(nest, extents)
    items = prod(counts)
    if any(extents[d] == 0 for d in range(nest.kept)):
        items = 0
    columns, rows = group(structure, extents, items)
    if nest.cross is not None:
        block, side_by_side = (SIDE, DOWN), 1
    elif structure.lane_is_kept:
        block = (BLOCK // rows if structure.chunked else WARP), rows
        side_by_side = block[0]
    else:
        block = columns * rows, max(BLOCK // (columns * rows), 1)
        side_by_side = block[1]
    numbers = [items]
    for count in counts:
        numbers += [count, *magic(count)]
    if not structure.lane_is_kept:
        numbers.append(columns.bit_length() - 1)
    grid = -(-items // side_by_side)
    if grid > MOST_BLOCKS:
        raise NoKernelError(f"a kernel over {tuple(extents)} has {grid} blocks; a launch has {MOST_BLOCKS} at most")
    return DeviceGrid((*params, *numbers), (grid, 1, 1), (*block, 1))
