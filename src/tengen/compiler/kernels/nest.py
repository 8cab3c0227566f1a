"""The loop IR: one `Nest` is one map/reduce kernel. This page says what it means.

A Nest has loop dimensions `0 .. dims-1`. The first `kept` are kept: each of their index tuples is computed
independently of the others (unless `serial`), so they can be split into tiles. The rest are reduced. Dimension `lane`
is spread over vector lanes.

`code` is SSA: an instruction may use the values of the instructions before it. For one kept index tuple it means:

- a `load` reads one element per index tuple; a value is *full* if it varies over the reduced dims, otherwise *row*;
- `reduce` folds a full value over all reduced dims into a row value, in an order that depends on the extents and the
  target; each term of a sum of products may be rounded only once, as by instructions that multiply and add;
- a full value that depends on a `reduce` belongs to a later pass over the reduced dims than that reduce; earlier full values that a later pass needs
  are computed again there, unless they are in `spills`: then the first pass that needs them also stores them, and later passes load them;
- a `scan` folds a full value over the one reduced dim up to and including each index tuple, in index order; only stores take its value.
  Terms of a sum may be added in another order. Products are multiplied as if in order: none overflows that would not;
- a `store` of a full value happens at every index tuple; a `store` of a row value happens once per kept index tuple.

Instructions: see UNARY, BINARY and OTHER, and FUNCTIONS, which the op table fills. Sizes and strides are run-time parameters, in the order of
`pack`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from math import copysign
from typing import NamedTuple

from .functions import FUNCTIONS

COMPUTE_DTYPES = ("bool", "int32", "int64", "float32", "float64")


class Bound(NamedTuple):
    """The condition 0 <= offset + sum(coefficient[d] * index[d]) < limit.

    `dims` are the loop dims that take part. `values` are the positions of the index values of a gather or scatter that
    take part, counted from the start of what they index. The numbers are run-time parameters. With `divisor`, the sum
    must also be a multiple of a run-time number, which is one more parameter: a strided window skips the other
    positions.
    """

    dims: tuple[int, ...]
    divisor: bool = False
    values: tuple[int, ...] = ()


class Access(NamedTuple):
    """How one buffer is addressed.

    dtype: the storage dtype. steps: for each loop dim "0" (does not move), "1" (unit stride), "2" (every second element, for the lane
    dim alone; with an interleaved dim also its extent) or "n" (a run-time stride, any sign).
    bounds: if any of them fails, a load gives `fill` and a store does nothing; memory is not touched.
    indirect: how many index values a `gather`/`scatter` supplies; each has a run-time stride and a run-time size (index i must lie in
    -size <= i < size; negative counts from the end; else the status word becomes 1 + the position of the index, whatever the bounds say, a
    gather gives `fill`, a scatter writes nothing).

    Two storage dtypes are not memory and can only be loaded: `iota` is the address itself, the sum of strides times indices; `param_` before a
    compute dtype is a number of the launch, whose bits (as int64 or float64) are the access's only stride in `AccessNumbers`.

    shared: it moves like the access before it, in the same buffer. Instead of strides it has one number: how many
    elements it lies beyond the first access of that buffer.
    """

    dtype: str
    steps: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()
    fill: float = 0.0
    indirect: int = 0
    shared: bool = False


def blank(fill: float) -> bool:
    """Whether this number is zero bits in every dtype."""
    return fill == 0 and copysign(1.0, fill) > 0


class Instr(NamedTuple):
    """One SSA instruction. `dtype` is the compute dtype of its value; `attr` depends on `op` (see OTHER)."""

    op: str
    args: tuple[int, ...] = ()
    dtype: str = "float32"
    attr: object = None


class Nest(NamedTuple):
    """One kernel. `accesses` are the buffers in ABI order, except those that share one. If a gather or scatter needs
    the status word, it is the buffer after them.

    serial: kept indices run in lexicographic order inside one tile (for scatters that may meet); dims before `serial_from` stay parallel.
    cross: a kept dim along which the operands that jump along the lane dim are contiguous (step "1"), in a nest that reduces nothing.
    interleaved: (dim, extent) of a dim of a few places that are written out for each vector of the lane dim. Accesses with step "1" along it and
    its extent along the lane dim are contiguous over both: whole vectors, taken apart or woven in registers.
    spills: pairs (value, access): a full value that several passes need, and the access of a later store in whose place it waits for them. The
    element it is stored to must be this index tuple's alone, so both move along all dims, and the buffer must hold it exactly. As the buffer may be
    the memory of an input that lies alike, no pass after the first that needs the value loads from such an access.
    ends: pairs (dim, value) of reduced or serial dims and int64 values that do not vary along them. From that index on,
    everything that is folded or added to memory is neutral, so the loop may stop there.
    parts: pairs (dim, turns), inner ones first. After `turns` turns of the loop over a reduced dim (vectors, for the
    lane dim) the sums start again, and the sums so far are added to those before. So only few numbers are added in
    sequence, however many there are.
    """

    dims: int
    kept: int
    lane: int
    accesses: tuple[Access, ...]
    code: tuple[Instr, ...]
    serial_from: int | None = None
    spills: tuple[tuple[int, int], ...] = ()
    cross: int | None = None
    rows: int = 1
    interleaved: tuple[int, int] | None = None
    ends: tuple[tuple[int, int], ...] = ()
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def needs_status(self) -> bool:
        return any([access.indirect for access in self.accesses])


class AccessNumbers(NamedTuple):
    """The run-time numbers of one Access.

    Strides (elements) of its "n" steps in order of dims; for each bound (offset, limit, coefficients of dims and of index values,
    divisor or nothing); for each
    indirect index (stride, size).
    """

    strides: tuple[int, ...] = ()
    bounds: tuple[tuple[int, ...], ...] = ()
    indirect: tuple[tuple[int, int], ...] = ()


def pack(extents: tuple[int, ...], numbers: tuple[AccessNumbers, ...]) -> tuple[int, ...]:
    """The params of a launch: extents of all dims, then for each access its strides, bounds and indirect numbers. A target appends its tiling."""
    flat: list[int] = list(extents)
    for n in numbers:
        flat += n.strides
        for bound in n.bounds:
            flat += bound
        for pair in n.indirect:
            flat += pair
    return tuple(flat)


UNORDERED = ("at once", "greatest")  # ways to write

UNARY = "neg abs sqrt square floor ceil trunc isnan isinf not power".split()
"""power: the greatest power of 2 that is not above the size of a float; 0 of a subnormal number."""
BINARY = "add sub mul div max min eq ne lt le gt ge and or xor shl shr".split()
OTHER = {
    "load": "attr: number of the access",
    "const": "attr: the number",
    "index": "attr: loop dim; value int64",
    "cast": "to dtype; attr: None, or 'odd': float64 or an integer to float32 for what is rounded once more (`storage.rounded_to_odd`)",
    "wrap": "attr: int8, uint8, int16 or uint16: the int32 value wrapped to that range",
    "round_to": "attr: float16 or bfloat16: the float32 value rounded to what that dtype holds",
    "select": "mask, if true, if false",
    "fma": "a * b + c",
    "reduce": "attr: sum prod max max_number min any all argmax argmin (max_number: the largest that is not nan, or -inf; the last two: args value, "
    "int64 index; the value is the index of the first extreme)",
    "scan": "attr: sum, prod, or linear: args a, b; the value is a · the value before it + b, which begins as 0",
    "gather": "attr: access; args: int64 index values",
    "store": "attr: access; args: value",
    "scatter": "attr: (access, 'set' | 'add' | 'at once' | 'greatest'); args: value, int64 index values; the last two are for writes that may "
    "meet in any order, on targets that can (`DeviceTarget.at_once`): int32 and int64 are added, or a bool that is True set; or the greatest "
    "positive int32 is what remains",
    "random": "attr: 0 or 1 (which of the two 32-bit outputs); args: counter, seed (int64): Philox2x32-10, value int64 in 0 .. 2**32-1",
}


# -- derived facts ----------------------------------------------------------------------------------------------

SINKS = ("store", "scatter")
MOST_INTERLEAVED = 8  # places of the interleaved dim


def access_number(instr: Instr) -> int:
    """The access of a memory instruction."""
    number = instr.attr[0] if isinstance(instr.attr, tuple) else instr.attr
    assert isinstance(number, int)
    return number


def mode(instr: Instr) -> str:
    """How a memory instruction writes: "set", "add" or one that is UNORDERED."""
    return str(instr.attr[1]) if isinstance(instr.attr, tuple) else "set"


def is_number(access: Access) -> bool:
    """Whether it is not in memory: a parameter, or a running number, which is the address itself."""
    return access.dtype == "iota" or access.dtype.startswith("param_")


def is_float_sum(instr: Instr) -> bool:
    """Whether it may round as often as it adds."""
    return instr.op == "reduce" and instr.attr == "sum" and instr.dtype.startswith("float")


def woven(nest: Nest) -> frozenset[int]:
    """The accesses that are contiguous over the interleaved dim and the lane dim."""
    if nest.interleaved is None:
        return frozenset()
    dim, extent = nest.interleaved
    want = ("1", str(extent))
    found = (i for i, a in enumerate(nest.accesses) if not (a.bounds or a.indirect or is_number(a)))
    return frozenset(i for i in found if (nest.accesses[i].steps[dim], nest.accesses[i].steps[nest.lane]) == want)


def moves_along(access: Access) -> frozenset[int]:
    """The loop dims that decide which element an access means."""
    moving = {d for d, step in enumerate(access.steps) if step != "0"}
    return frozenset(moving.union(*(bound.dims for bound in access.bounds)))


def varies(nest: Nest) -> tuple[frozenset[int], ...]:
    """The loop dims along which each instruction's value (or its effect) varies."""
    result: list[frozenset[int]] = []
    for instr in nest.code:
        dims = frozenset().union(*(result[a] for a in instr.args))
        if instr.op == "index":
            assert isinstance(instr.attr, int)
            dims |= {instr.attr}
        elif instr.op == "reduce":
            dims -= frozenset(range(nest.kept, nest.dims))
        elif instr.op == "scan":
            dims |= frozenset(range(nest.kept, nest.dims))
        elif instr.op in ("load", "gather", *SINKS):
            dims |= moves_along(nest.accesses[access_number(instr)])
        result.append(dims)
    return tuple(result)


def stages(nest: Nest) -> tuple[int, ...]:
    """After how many passes over the reduced dims each value is known."""
    result: list[int] = []
    for instr in nest.code:
        known = max((result[a] for a in instr.args), default=0)
        result.append(known + 1 if instr.op == "reduce" else known)
    return tuple(result)


def sources(
    nest: Nest, sinks: Iterable[int], ready: Container[int] = (), through_reduce: bool = False
) -> frozenset[int]:
    """The values that these instructions are computed from. A value that is `ready` in memory needs no others, and
    neither does a reduce unless `through_reduce`."""
    found: set[int] = set()
    stack = [a for i in sinks for a in nest.code[i].args]
    while stack:
        i = stack.pop()
        if i not in found:
            found.add(i)
            if (through_reduce or nest.code[i].op != "reduce") and i not in ready:
                stack.extend(nest.code[i].args)
    return frozenset(found)


def passes(nest: Nest) -> tuple[tuple[int, ...], ...]:
    """For each pass over the reduced dims, its reduces, stores and scatters.

    Full stores wait for the last pass: their buffer may share memory with one that a later pass still reads.
    """
    known, moving, reduced = stages(nest), varies(nest), frozenset(range(nest.kept, nest.dims))
    used = sources(nest, [i for i, instr in enumerate(nest.code) if instr.op in SINKS], through_reduce=True)
    found: dict[int, list[int]] = {}
    stores = []
    for i, instr in enumerate(nest.code):
        if instr.op == "reduce" and i in used:
            found.setdefault(known[i] - 1, []).append(i)
        elif instr.op == "scatter" and moving[i] & reduced:
            found.setdefault(known[i], []).append(i)
        elif instr.op == "store" and moving[i] & reduced:
            stores.append(i)
    count = max([-1, *found, *(known[i] for i in stores)]) + 1
    return tuple((*found.get(p, ()), *(stores if p == count - 1 else ())) for p in range(count))


def first_need(nest: Nest, value: int) -> int:
    """The first pass that computes a value; the number of passes if none does."""
    runs = passes(nest)
    return next((p for p, sinks in enumerate(runs) if value in sources(nest, sinks)), len(runs))


def why_not_spill(nest: Nest, value: int, access: int) -> str | None:
    """Why this pair is not allowed in `spills`, or None."""
    if not 0 <= value < len(nest.code) or nest.code[value].op in ("reduce", *SINKS):
        return "there is no such value"
    if not 0 <= access < len(nest.accesses):
        return "there is no such access"
    place, dtype = nest.accesses[access], nest.code[value].dtype
    if nest.serial_from is not None or any(instr.op == "scatter" for instr in nest.code):
        return "writes of this nest may meet"
    if place.dtype != dtype or dtype == "bool":
        return f"a buffer of {place.dtype} does not hold {dtype} exactly"
    if place.bounds or place.indirect or "0" in place.steps or varies(nest)[value] != frozenset(range(nest.dims)):
        return "an index tuple has no element of its own"
    runs = passes(nest)
    later = [i for sinks in runs[first_need(nest, value) + 1 :] for i in sinks]
    if not any(nest.code[i].op == "store" and nest.code[i].attr == access for i in later):
        return "no later pass stores to the access"
    for i in sources(nest, later, (value,)):
        if i != value and nest.code[i].op in ("load", "gather"):
            other = nest.accesses[access_number(nest.code[i])]
            if (other.dtype, other.steps) == (place.dtype, place.steps):
                return f"a later pass loads {i}, which may have been in its place"
    return None


# -- verification ------------------------------------------------------------------------------------------------

STORAGE_DTYPES = (
    "bool uint8 int8 uint16 int16 int32 int64 float16 bfloat16 float32 float64 complex64 weak_bool weak_int weak_float "
    "iota param_int32 param_int64 param_float32 param_float64 param_bool"
).split()
MONOIDS = "sum prod max max_number min any all argmax argmin".split()
SCANNED = ("sum", "prod", "linear")
COMPARISONS = "eq ne lt le gt ge isnan isinf".split()
ARITY = {
    "load": 0,
    "const": 0,
    "index": 0,
    "cast": 1,
    "wrap": 1,
    "round_to": 1,
    "scan": 1,
    "select": 3,
    "fma": 3,
    "store": 1,
    "random": 2,
}


def verify(nest: Nest) -> None:
    """Check that a Nest is well formed. Raises ValueError naming the access or instruction and the fault."""
    if not 1 <= nest.kept <= nest.dims:
        raise ValueError(f"a nest keeps at least one of its dims: kept={nest.kept}, dims={nest.dims}")
    if not 0 <= nest.lane < nest.dims:
        raise ValueError(f"lane {nest.lane} is not one of the {nest.dims} loop dims")
    if nest.serial_from is not None:
        if not 0 <= nest.serial_from <= nest.kept:
            raise ValueError(f"serial_from {nest.serial_from} is outside the {nest.kept} kept dims")
        if nest.serial_from <= nest.lane != nest.kept - 1:
            raise ValueError(
                f"a serial nest runs in index order only with the last kept dim as lane, not dim {nest.lane}"
            )
    if nest.rows > 1 and (reason := why_not_rows(nest)):
        raise ValueError(f"{nest.rows} rows cannot run side by side: {reason}")
    if nest.cross is not None and (reason := why_not_cross(nest, nest.cross)):
        raise ValueError(f"dim {nest.cross} cannot be the cross dim: {reason}")
    if nest.interleaved is not None and (reason := why_not_interleave(nest)):
        raise ValueError(f"dim {nest.interleaved[0]} cannot be interleaved: {reason}")
    for i, access in enumerate(nest.accesses):
        _verify_access(nest, i, access, f"access {i}")
    for i, instr in enumerate(nest.code):
        where = f"instruction {i} ({instr.op})"
        _verify_shape(nest, i, instr, where)
        _verify_types(nest, instr, [nest.code[a].dtype for a in instr.args], where)
    if not any(instr.op in SINKS for instr in nest.code):
        raise ValueError("a nest without a store does nothing")
    if has_scan(nest) and (reason := why_not_scan(nest)):
        raise ValueError(f"the nest cannot scan: {reason}")
    for value, place in nest.spills:
        if reason := why_not_spill(nest, value, place):
            raise ValueError(f"value {value} cannot wait in access {place}: {reason}")
    if len({place for _, place in nest.spills}) < len(nest.spills):
        raise ValueError("two values wait in one access")
    for dim, value in nest.ends:
        if reason := why_not_end(nest, dim, value):
            raise ValueError(f"dim {dim} cannot end at value {value}: {reason}")
    for dim, turns in nest.parts:
        if not nest.kept <= dim < nest.dims or turns < 1:
            raise ValueError(
                f"dim {dim} cannot be cut into parts of {turns} turns: it is not reduced, or there are none"
            )


def why_not_end(nest: Nest, dim: int, value: int) -> str | None:
    """Why this pair is not allowed in `ends`, or None. Whether what comes after the end is neutral cannot be checked
    here."""
    if not 0 <= dim < nest.dims or (dim < nest.kept and (nest.serial_from is None or dim < nest.serial_from)):
        return "it is neither reduced nor serial"
    if not 0 <= value < len(nest.code) or nest.code[value].op in SINKS or nest.code[value].dtype != "int64":
        return "there is no such value, or it is no int64"
    if any(d >= nest.kept or d == dim for d in varies(nest)[value]) or stages(nest)[value]:
        return "the value is not known before the loop"
    if any(instr.op == "store" and dim in moving for instr, moving in zip(nest.code, varies(nest), strict=True)):
        return "a store runs along it"
    return None


def has_scan(nest: Nest) -> bool:
    return any(instr.op == "scan" for instr in nest.code)


def why_not_scan(nest: Nest) -> str | None:
    """Why the nest may not have a `scan`, or None."""
    if nest.dims != nest.kept + 1:
        return f"it reduces {nest.dims - nest.kept} dims, not one"
    for instr in nest.code:
        if instr.op in ("reduce", "scatter"):
            return f"it has a {instr.op} too"
        if instr.op != "store" and any(nest.code[a].op == "scan" for a in instr.args):
            return f"the value of a scan goes to a {instr.op}"
    return None


def why_not_rows(nest: Nest) -> str | None:
    """Why `rows` may not be above 1, or None. If too few rows are left, the last one takes the place of the missing
    ones."""
    if nest.lane < nest.kept or nest.interleaved is not None:
        return "the lane dim is kept, or another one is interleaved with it"
    if has_scan(nest):
        return "it scans"
    if nest.serial_from is not None or any(instr.op == "scatter" for instr in nest.code):
        return "writes of this nest may meet"
    return "each row ends elsewhere" if nest.ends else None


def why_not_cross(nest: Nest, cross: int) -> str | None:
    """Why this dim may not be `cross`, or None."""
    if not 0 <= cross < nest.dims or cross == nest.lane:
        return "it is no other dim than the lane"
    if nest.kept < nest.dims or nest.serial_from is not None:
        return "the nest reduces, or runs in order"
    for instr in nest.code:
        if instr.op in ("gather", "scatter"):
            return f"a {instr.op} has no vectors to turn"
        if instr.op in ("load", "store"):
            access = nest.accesses[access_number(instr)]
            if access.bounds and (instr.op == "store" or not blank(access.fill)):
                return "an access with bounds is a store, or not 0 outside of them"
            if instr.op == "store" and "0" in (access.steps[cross], access.steps[nest.lane]):
                return "a store does not move along the square"
            if access.steps[nest.lane] == "n" and access.steps[cross] != "1" and access.dtype != "iota":
                return "an access is contiguous neither along it nor along the lane"
    return None


def why_not_interleave(nest: Nest) -> str | None:
    """Why `interleaved` is not allowed, or None."""
    assert nest.interleaved is not None
    dim, extent = nest.interleaved
    if not 0 <= dim < nest.dims or dim == nest.lane:
        return "it is no other dim than the lane"
    if not 2 <= extent <= MOST_INTERLEAVED:
        return f"{extent} places are not a few"
    if dim < nest.kept < nest.dims:
        return "the nest reduces other dims than it"
    if nest.serial_from is not None or any(instr.op == "scatter" for instr in nest.code):
        return "the nest runs in order"
    if nest.cross is not None or nest.spills:
        return "the nest has a cross dim, or values that wait"
    return None if woven(nest) else "no access is contiguous over it and the lane"


def _verify_access(nest: Nest, number: int, access: Access, where: str) -> None:
    if access.dtype not in STORAGE_DTYPES:
        raise ValueError(f"{where}: {access.dtype} is not a storage dtype")
    if len(access.steps) != nest.dims or any(
        step not in ("0", "1", "n") for d, step in enumerate(access.steps) if d != nest.lane
    ):
        raise ValueError(
            f"{where}: steps {access.steps} must be '0', '1' or 'n' for each of {nest.dims} dims, '2' for the lane dim"
        )
    if access.steps[nest.lane] not in ("0", "1", "2", "n") and number not in woven(nest):
        raise ValueError(f"{where}: a step of {access.steps[nest.lane]!r} along the lane dim")
    for bound in access.bounds:
        if any(not 0 <= d < nest.dims for d in bound.dims) or len(set(bound.dims)) != len(bound.dims):
            raise ValueError(f"{where}: a bound over dims {bound.dims}, but there are {nest.dims} dims")
        if any(not 0 <= v < access.indirect for v in bound.values):
            raise ValueError(f"{where}: a bound over index values {bound.values}, but there are {access.indirect}")
    if access.shared and not (number and _moves_alike(nest.accesses[number - 1], access)):
        raise ValueError(f"{where}: no access before it moves alike, so it has no buffer to share")
    if access.dtype.startswith("param_") and (set(access.steps) != {"0"} or access.bounds or access.indirect):
        raise ValueError(f"{where}: a parameter is one number, without steps or bounds")
    if access.dtype == "iota" and access.bounds:
        raise ValueError(f"{where}: a running number has no bounds")


def _moves_alike(before: Access, access: Access) -> bool:
    in_memory = not (is_number(access) or access.indirect or before.indirect)
    return in_memory and (before.dtype, before.steps) == (access.dtype, access.steps)


def _is_arithmetic(op: str) -> bool:
    return op in UNARY or op in BINARY or op in FUNCTIONS


def _arity(op: str) -> int | None:
    """How many arguments it takes; None if that depends on its attribute."""
    if op in FUNCTIONS:
        return FUNCTIONS[op].arity
    return ARITY.get(op, 1 if op in UNARY else 2 if op in BINARY else None)


def _verify_shape(nest: Nest, number: int, instr: Instr, where: str) -> None:
    """Check arguments and attribute."""
    if not (_is_arithmetic(instr.op) or instr.op in OTHER):
        raise ValueError(f"{where}: unknown instruction")
    if instr.dtype not in COMPUTE_DTYPES:
        raise ValueError(f"{where}: {instr.dtype} is not a compute dtype")
    for a in instr.args:
        if not 0 <= a < number or nest.code[a].op in SINKS:
            raise ValueError(f"{where}: argument {a} is not a value computed before it")
    count = _arity(instr.op)
    if instr.op == "reduce":
        if instr.attr not in MONOIDS:
            raise ValueError(f"{where}: {instr.attr!r} is not one of {', '.join(MONOIDS)}")
        count = 2 if str(instr.attr).startswith("arg") else 1
    elif instr.op == "scan":
        if instr.attr not in SCANNED:
            raise ValueError(f"{where}: {instr.attr!r} is not one of {', '.join(SCANNED)}")
        count = 2 if instr.attr == "linear" else 1
    elif instr.op in ("load", "gather", "store", "scatter"):
        access, mode = instr.attr if instr.op == "scatter" and isinstance(instr.attr, tuple) else (instr.attr, "set")
        if (
            not isinstance(access, int)
            or not 0 <= access < len(nest.accesses)
            or mode not in ("set", "add", *UNORDERED)
        ):
            raise ValueError(f"{where}: {instr.attr!r} is not one of the {len(nest.accesses)} accesses")
        indirect, dtype = nest.accesses[access].indirect, nest.accesses[access].dtype
        if instr.op != "load" and (dtype == "iota" or dtype.startswith("param_")):
            raise ValueError(f"{where}: access {access} ({dtype}) can only be loaded")
        if instr.op in ("load", "store") and indirect:
            raise ValueError(f"{where}: access {access} is indexed by {indirect} values: use gather or scatter")
        count = {"load": 0, "store": 1, "gather": indirect, "scatter": 1 + indirect}[instr.op]
    elif instr.op == "index" and (not isinstance(instr.attr, int) or not 0 <= instr.attr < nest.dims):
        raise ValueError(f"{where}: {instr.attr!r} is not a loop dim")
    if len(instr.args) != count:
        raise ValueError(f"{where}: takes {count} arguments, got {len(instr.args)}")


def _verify_types(nest: Nest, instr: Instr, args: list[str], where: str) -> None:
    """Check that the dtypes of the arguments and of the value fit together."""
    op, dtype = instr.op, instr.dtype
    if op in ("gather", "scatter"):
        expected = [*args[:1], *["int64"] * (len(args) - 1)] if op == "scatter" else ["int64"] * len(args)
    elif op == "reduce":
        expected = [args[0], "int64"] if len(args) == 2 else [dtype]
        if (instr.attr in ("any", "all")) != (args[0] == "bool"):
            raise ValueError(f"{where}: {instr.attr} of {args[0]}")
    elif op == "select":
        expected = ["bool", dtype, dtype]
    elif op in ("index", "random"):
        expected = ["int64"] * len(args)
    elif op == "cast" and instr.attr is not None:
        expected = args if args[0] in ("int32", "int64") else ["float64"]
        if (instr.attr, dtype) != ("odd", "float32"):
            raise ValueError(f"{where}: {instr.attr!r} to {dtype}")
    elif op in ("wrap", "round_to"):
        expected = ["int32" if op == "wrap" else "float32"]
    elif op in COMPARISONS:
        expected = args[:1] * len(args)
    elif _is_arithmetic(op) or op in ("fma", "scan"):
        expected = [dtype] * len(args)
    else:
        expected = args
    if args != expected:
        raise ValueError(f"{where}: arguments are {', '.join(args)}, expected {', '.join(expected)}")
    result = (
        "bool"
        if op in COMPARISONS
        else "int64"
        if op in ("index", "random") or instr.attr in ("argmax", "argmin")
        else dtype
    )
    if dtype != result:
        raise ValueError(f"{where}: the value is {result}, not {dtype}")
    if (
        dtype == "bool"
        and (_is_arithmetic(op) or op == "scan")
        and op not in COMPARISONS
        and op not in ("and", "or", "xor", "not")
    ):
        raise ValueError(f"{where}: not defined for bool")


def instruction_cost(instr: Instr) -> int:
    """About how many vector instructions it takes."""
    if instr.op in ("const", "index", "load", "store"):
        return 0
    if instr.op == "reduce":
        return 6 if str(instr.attr).startswith("arg") else 1
    if instr.op in ("div", "sqrt"):
        return 4
    if instr.op == "scan":
        return 24 if instr.attr == "linear" else 12
    if instr.op in ("cast", "wrap", "round_to", "gather", "scatter"):
        return 2
    return 1 if instr.op in UNARY or instr.op in BINARY or instr.op in ("select", "fma") else 20
