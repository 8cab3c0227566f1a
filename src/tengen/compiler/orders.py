"""Orders and positions as the compiler knows them: kinds of ops beside those of `program`."""

from __future__ import annotations

from .program import Op, Value


class Sort(Op, abstract=True):
    """The positions, along the last axis, of the `k` smallest or largest elements of its input, in order. The sort is
    stable, and NaN is larger than all numbers."""

    k: int
    descending: bool


class Positions(Op, abstract=True):
    """The positions where a mask is set, in row-major order. There is room for all; the second output says how many are
    valid."""

    def in_ops(self, *inputs: Value) -> tuple[Value, ...]:
        """The outputs from other ops."""
        raise NotImplementedError
