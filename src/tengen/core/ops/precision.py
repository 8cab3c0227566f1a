"""What mixed precision does to ops."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Op, Value
from .base import FLOATS, INTS, Formula
from .elemwise import cast


class Converted(Formula):
    """`op` on inputs that are converted to `dtype`: floats, and integers that meet them.

    Python numbers, and integers among themselves, stay; so does all where something is float64, which somebody has asked for by name.
    Gradients have the dtypes of the inputs before that.
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
