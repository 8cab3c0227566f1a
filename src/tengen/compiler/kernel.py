"""The loop IR: one `Nest` is one map/reduce kernel, and this page says what it means.

A Nest has loop dimensions `0 .. dims-1`. The first `kept` are kept: each of their index tuples is computed independently of the others (unless
`serial`), so they are what is split into tiles. The rest are reduced. Dimension `lane` is the one that is spread over vector lanes.

`code` is SSA: instruction i may use the values of instructions before it. For one kept index tuple the meaning is:

- a `load` reads one element per index tuple; a value is *full* if it varies over the reduced dims, otherwise *row*;
- `reduce` folds a full value over all reduced dims into a row value;
- a full value that depends on a `reduce` belongs to a later pass over the reduced dims than that reduce; earlier full values that a later pass needs
  are computed again there;
- a `store` of a full value happens at every index tuple, of a row value once for each kept index tuple.

Instructions: see OPS. Sizes and strides are run-time parameters, packed by `pack` in the order that `parameters` names.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPUTE_DTYPES = ("bool", "int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class Bound:
    """The condition 0 <= offset + sum(coefficient[d] * index[d]) < limit.

    `dims` are the loop dims that take part; the numbers are run-time parameters. With `divisor`, the sum must also be a multiple of a
    run-time number (one parameter more): positions that a strided window skips.
    """

    dims: tuple[int, ...]
    divisor: bool = False


@dataclass(frozen=True)
class Access:
    """How one buffer is addressed.

    dtype: the storage dtype. steps: for each loop dim "0" (does not move), "1" (unit stride) or "n" (a run-time stride, any sign).
    bounds: where any fails, a load gives `fill` and a store does nothing; memory is not touched.
    indirect: how many index values a `gather`/`scatter` supplies; each has a run-time stride and a run-time size (index i must lie in
    -size <= i < size; negative counts from the end; else the status word becomes 1 + the position of the index and 0 is used).
    """

    dtype: str
    steps: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()
    fill: float = 0.0
    indirect: int = 0


@dataclass(frozen=True)
class Instr:
    """One SSA instruction. `dtype` is the compute dtype of its value; `attr` depends on `op` (see OPS)."""

    op: str
    args: tuple[int, ...] = ()
    dtype: str = "float32"
    attr: object = None


@dataclass(frozen=True)
class Nest:
    """One kernel. `accesses` are the buffers in ABI order; the status word, where a gather or scatter needs it, is the buffer after them.

    serial: kept indices run in lexicographic order inside one tile (for scatters that may meet); dims before `serial_from` stay parallel.
    """

    dims: int
    kept: int
    lane: int
    accesses: tuple[Access, ...]
    code: tuple[Instr, ...]
    serial_from: int | None = None

    @property
    def needs_status(self) -> bool:
        return any(access.indirect for access in self.accesses)


@dataclass(frozen=True)
class AccessNumbers:
    """The run-time numbers of one Access: strides (elements) of its "n" steps in order of dims; for each bound (offset, limit, coefficients, divisor or
    nothing); for each indirect index (stride, size)."""

    strides: tuple[int, ...] = ()
    bounds: tuple[tuple[int, ...], ...] = ()
    indirect: tuple[tuple[int, int], ...] = ()


def pack(extents: tuple[int, ...], numbers: tuple[AccessNumbers, ...]) -> tuple[int, ...]:
    """The params of a launch: extents of all dims, then for each access its strides, bounds and indirect numbers."""
    flat: list[int] = list(extents)
    for n in numbers:
        flat += n.strides
        for bound in n.bounds:
            flat += bound
        for pair in n.indirect:
            flat += pair
    return tuple(flat)


UNARY = (
    "neg abs sqrt rsqrt square floor ceil round trunc sign exp expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf "
    "erfinv sigmoid softplus isnan isinf not"
).split()
BINARY = "add sub mul div floor_div mod pow atan2 max min eq ne lt le gt ge and or xor shl shr".split()
OTHER = {
    "load": "attr: number of the access",
    "const": "attr: the number",
    "index": "attr: loop dim; value int64",
    "cast": "to dtype",
    "wrap": "attr: int8, uint8, int16 or uint16: the int32 value wrapped to that range",
    "round_to": "attr: float16 or bfloat16: the float32 value rounded to what that dtype holds",
    "select": "mask, if true, if false",
    "fma": "a * b + c",
    "reduce": "attr: sum prod max min any all argmax argmin (the last two: args value, int64 index; the value is the index of the first extreme)",
    "gather": "attr: access; args: int64 index values",
    "store": "attr: access; args: value",
    "scatter": "attr: (access, 'set' | 'add'); args: value, int64 index values",
    "random": "attr: 0 or 1 (which of the two 32-bit outputs); args: counter, seed (int64): Philox2x32-10, value int64 in 0 .. 2**32-1",
}
OPS = frozenset(UNARY) | frozenset(BINARY) | frozenset(OTHER)

