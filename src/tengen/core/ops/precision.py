"""Ops and gradients in mixed precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...base.dtype import NARROW_FLOATS
from ...compiler.program import Elementwise, Op, Type, Value
from .base import FLOATS, INTS, Formula, Grads
from .elemwise import POW, Elemwise, cast, where
from .reduce import Reduce, total
from .shape import Concatenate, reshape

ABS = Elemwise("ABS")


class Converted(Formula):
    """`op` on inputs that are converted to `dtype`: floats, and integers that are combined with them.

    Python numbers stay as they are, and so do integers among themselves. If an input is float64, which somebody has
    asked for by name, nothing is converted. Gradients have the dtypes that the inputs had before.
    """

    op: Op
    dtype: str

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value | Sequence[Value]:
        count = len(inputs) if self.op.converted is None else self.op.converted
        dtypes = {x.dtype for x in inputs[:count]}
        if "float64" in dtypes or dtypes.isdisjoint(FLOATS):
            made: Value | Sequence[Value] = self.op(*inputs)
            return made
        moved = [cast(x, self.dtype) if x.dtype in (*FLOATS, *INTS) else x for x in inputs[:count]]
        made = self.op(*moved, *inputs[count:])
        return made


def in_precision(op: Op, low: str, high: str = "float32") -> Op:
    """What runs in the place of an op where products are computed in the dtype `low`, and functions that need digits in `high`."""
    if op.precision == "inside":
        return with_products(op, low)
    return Converted(op, low if op.precision == "low" else high) if op.precision else op


def with_products(op: Op, dtype: str) -> Op:
    """The op of precision "inside" whose products have this dtype."""
    made: Op = type(op)(**{p: getattr(op, p) for p in type(op).parameters} | {"products": dtype})
    return made


class Narrowed(Elementwise):
    """A value rounded to its dtype, whichever kernel computes it: a small float that stays in a register is float32
    there."""

    name = "narrowed"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types[:1]

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        return int(e("round_to", e.cast(args[0], out.dtype), dtype="float32", attr=out.dtype))

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        return None if x.dtype in NARROW_FLOATS and x.op is not self else x

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return list(grads)


class Unscale(Formula):
    """Gradients times a number, the last input. The last output is how many elements are then infinite or NaN."""

    def expand(self, *inputs: Value) -> Sequence[Value]:
        *grads, factor = inputs
        scaled = [g * factor for g in grads]
        # as float32, which never wraps to 0
        wrong = [reshape(total(where(ABS(g) < math.inf, 0.0, 1.0), range(g.ndim)), ()) for g in scaled]
        return [*scaled, sum(wrong[1:], wrong[0])]


class PowerSums(Formula):
    """For each input the sum of |x| to the power `ord`; the count of elements that are not 0 if `ord` is 0; or the
    largest |x| if it is infinite. The result is a vector of float64. Sums of parts, added up, come to the same float32
    as a sum of the whole.
    """

    ord: float

    def expand(self, *inputs: Value) -> Value:
        return Concatenate(0)(*(reshape(self._of(ABS(cast(x, "float64"))), (1,)) for x in inputs))

    def _of(self, x: Value) -> Value:
        if math.isinf(self.ord):
            return Reduce("MAX", tuple(range(x.ndim)))(x) if x.size else cast(x.builder.constant(0.0), "float64")
        return total(x * x if self.ord == 2 else POW(x, self.ord), range(x.ndim))
