"""Collective operations on arrays in CPU memory, built from the few that MPI has.

Sums are taken in the order of ranks, so a result is bit for bit what a single process gets that adds the same parts, whichever MPI it is and
however many processes there are. Small floats are added as float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base.dtype import bfloat16_bits

Array = Any  # of NumPy

SMALL_BYTES = 8192
"""Arrays of up to this many bytes are sent to everybody whole, which waits less often."""

FOLDS: dict[str, Callable[..., Any]] = {"sum": np.add, "max": np.maximum, "min": np.minimum}
NATIVE = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16")
"""Dtypes for which MPI adds as NumPy does."""


class Exchange(NamedTuple):
    """What one operation needs. mpi, comm: the module and a communicator of mpi4py. dtype: tengen's name, as bfloat16 comes as its bits."""

    mpi: Any
    comm: Any
    dtype: str
    given: Array
    out: Array


def fold(parts: Array, mode: str, dtype: str, out: Array) -> None:
    """The sum, maximum or minimum over the rows of `parts`, from first to last."""
    function = FOLDS[mode]
    if dtype in ("bfloat16", "float16"):
        wide = function(widened(parts[0], dtype), widened(parts[1], dtype))
        for part in parts[2:]:
            function(wide, widened(part, dtype), out=wide)
        out[...] = narrowed(wide, dtype)
        return
    function(parts[0], parts[1], out=out)
    for part in parts[2:]:
        function(out, part, out=out)


def widened(array: Array, dtype: str) -> Array:
    """Small floats as float32."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def narrowed(array: Array, dtype: str) -> Array:
    """float32 as small floats, rounded to nearest even."""
    return bfloat16_bits(array) if dtype == "bfloat16" else array.astype(dtype)


def _bytes(array: Array) -> Array:
    """The memory of an array as MPI sees it: plain bytes."""
    return array.reshape(-1).view(np.uint8)


def _all_reduce(mode: str) -> Callable[[Exchange], None]:
    def run(x: Exchange) -> None:
        if x.comm.size == 2 and mode == "sum" and x.dtype in NATIVE:  # a sum of two terms has only one order
            x.comm.Allreduce(x.mpi.IN_PLACE if x.given is x.out else x.given, x.out)
        elif x.given.nbytes <= SMALL_BYTES:
            fold(_everybody(x), mode, x.dtype, x.out)
        else:
            part = _own_part(x, mode)
            whole = np.empty((x.comm.size, *part.shape), part.dtype)
            x.comm.Allgather(_bytes(part), _bytes(whole))
            x.out.reshape(-1)[...] = whole.reshape(-1)[: x.out.size]

    return run


def _reduce_sum(x: Exchange) -> None:
    if x.given.nbytes <= SMALL_BYTES:
        fold(_everybody(x), "sum", x.dtype, x.out)
        return
    part = _own_part(x, "sum")
    whole = np.empty((x.comm.size, *part.shape), part.dtype) if x.comm.rank == 0 else None
    x.comm.Gather(_bytes(part), None if whole is None else _bytes(whole))
    if whole is not None:
        x.out.reshape(-1)[...] = whole.reshape(-1)[: x.out.size]


def _everybody(x: Exchange) -> Array:
    """What every process gives."""
    parts = np.empty((x.comm.size, *x.given.shape), x.given.dtype)
    x.comm.Allgather(_bytes(np.ascontiguousarray(x.given)), _bytes(parts))
    return parts


def _own_part(x: Exchange, mode: str) -> Array:
    """Fold the part of the elements that belongs to this process; all parts are equally large."""
    size = x.comm.size
    length = -(-x.given.size // size)
    sent = np.zeros((size, length), x.given.dtype)
    sent.reshape(-1)[: x.given.size] = x.given.reshape(-1)
    parts = np.empty_like(sent)
    x.comm.Alltoall(_bytes(sent), _bytes(parts))
    made = np.empty(length, x.given.dtype)
    fold(parts, mode, x.dtype, made)
    return made


def _for_root(run: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """The exchange in which all but the root give zeros: the gradient of one in which only the root gave something."""

    def with_zeros(x: Exchange) -> None:
        run(x)
        if x.comm.rank:
            x.out[...] = 0

    return with_zeros


def _broadcast(x: Exchange) -> None:
    if x.comm.rank == 0 and x.given is not x.out:
        x.out[...] = x.given
    x.comm.Bcast(_bytes(x.out), 0)


def _all_gather(x: Exchange) -> None:
    x.comm.Allgather(_bytes(x.given), _bytes(x.out))


def _gather(x: Exchange) -> None:
    x.comm.Gather(_bytes(x.given), _bytes(x.out) if x.comm.rank == 0 else None, 0)


def _scatter(x: Exchange) -> None:
    x.comm.Scatter(_bytes(x.given) if x.comm.rank == 0 else None, _bytes(x.out), 0)


def _reduce_scatter(x: Exchange) -> None:
    parts = np.empty_like(x.given)
    x.comm.Alltoall(_bytes(x.given), _bytes(parts))
    fold(parts, "sum", x.dtype, x.out)


def _all_to_all(x: Exchange) -> None:
    x.comm.Alltoall(_bytes(x.given), _bytes(x.out))


KINDS: dict[str, Callable[[Exchange], None]] = {
    "all_reduce_sum": _all_reduce("sum"),
    "all_reduce_max": _all_reduce("max"),
    "all_reduce_min": _all_reduce("min"),
    "reduce_sum": _for_root(_reduce_sum),
    "broadcast": _broadcast,
    "all_gather": _all_gather,
    "gather": _for_root(_gather),
    "scatter": _scatter,
    "reduce_scatter_sum": _reduce_scatter,
    "all_to_all": _all_to_all,
    "barrier": lambda x: None,
}
"""What each process gives and gets, of `n` processes. The same shape both ways: reduce_sum and broadcast (the root is the first process),
all_reduce. Shape s to (n, *s): all_gather, gather. (n, *s) to s: scatter, reduce_scatter_sum. (n, *s) both ways: all_to_all. Others than the
root get zeros of reduce_sum and gather.
"""
