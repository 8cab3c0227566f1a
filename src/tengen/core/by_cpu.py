"""Ops that a GPU has no kernels for yet run on the CPU: as a step of the GPU's Plan that calls Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _rt
from ..base.dtype import WEAK
from ..base.quantized import storage
from ..base.usage import warn
from ..compiler.plan import ITEM_BYTES, Call, Placed, Plan
from ..compiler.program import Op, Program, Type
from ..compiler.view import View, contiguous

if TYPE_CHECKING:
    from ..compiler.kernels.target import Target


class OnCpu(Op):
    """Computes on the CPU what `op` computes on a GPU. It is an op of its own, with Plans of its own, and it names its device: `op` may name
    a GPU, or neither name a device nor read tensors, and would then run on the default device."""

    op: Op
    device = "cpu0"

    @property
    def name(self) -> str:
        return self.op.name

    def as_program(
        self, types: Sequence[Type], views: Sequence[View] | None = None, target: Target | None = None
    ) -> Program:
        return self.op.as_program(types, views)

    def blamed(self, inner: Op) -> Op:
        return self.op.blamed(inner)


def plan_by_cpu(op: Op, program: Program, views: Sequence[View], why: str) -> Plan:
    """A Plan that computes `op` on the CPU. Warns, saying why: the values go there and back."""
    warn(f"{why}: it runs on the CPU, and its inputs and results are copied each time")
    count = len(views)
    given = [
        Placed(i, 0, v.type, tuple(view.strides)) for i, (v, view) in enumerate(zip(program.inputs, views, strict=True))
    ]
    outputs = [Placed(count + i, 0, v.type, contiguous(v.shape).strides) for i, v in enumerate(program.outputs)]
    sizes = tuple(v.type.size * ITEM_BYTES[storage(v.dtype)] for v in program.outputs)
    compute = partial(_compute, OnCpu(op), [v.dtype for v in program.inputs])
    return Plan(count, sizes, (Call(compute, tuple(given), tuple(outputs), op.name),), tuple(outputs), (), ())


def _compute(op: Op, dtypes: Sequence[str], given: Sequence[Any], made: Sequence[Any]) -> None:
    found = _rt.apply(op, *map(_value, given, dtypes))
    for array, tensor in zip(made, [found] if isinstance(found, _rt.Tensor) else found, strict=True):
        array[...] = tensor._array()


def _value(array: np.ndarray[Any, Any], dtype: str) -> Any:
    if dtype in WEAK:
        return array.item()
    tensor = _rt.Tensor()
    tensor._assign(np.ascontiguousarray(array).reshape(array.shape), dtype, "cpu0")
    return tensor
