"""A recorded function together with the weights that it uses: what files hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._rt import Tensor
from ..base.dtype import NUMPY_CLASS
from ..base.quantized import storage
from ..compiler.loop import Loop
from ..compiler.program import Builder, Composite, Node, Program, Type, Value
from ..compiler.values import replayed
from ..core.ops.elemwise import cast
from ..core.ops.precision import in_precision

Array = np.ndarray[Any, Any]


class Frozen(NamedTuple):
    """A Program whose inputs are arguments or have known values.

    arguments: names of the inputs without known values, in order. outputs: a name for each output. constants: the
    elements of the other inputs, in the form in which tensors hold them (`stored_class`). metadata: what users want to
    keep with it, of the kinds that JSON has. names: names of some constants, nodes and their outputs, for people who
    look at the file. Use `freeze`, which checks all this.
    """

    program: Program
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: dict[Value, Array]
    metadata: dict[str, Any]
    names: dict[Value | Node, str]

    @property
    def argument_values(self) -> list[Value]:
        return [v for v in self.program.inputs if v not in self.constants]

    def expanded(self, keeps: Callable[[Composite], bool]) -> Frozen:
        """This function with its composites replaced by what they are made of, except those that `keeps` wants to keep."""
        builder = _PartlyExpanding(keeps)
        inputs = [builder.input(v.type) for v in self.program.inputs]
        made = replayed(self.program, builder, inputs)
        program = builder.finish(made[v] for v in self.program.outputs)
        constants = {made[old]: array for old, array in self.constants.items()}
        return self._replace(program=program, constants=constants, names=self._names_of(made))

    def in_precision(self, dtype: str) -> Frozen:
        """This function with its products in `dtype`, as under autocast. Arguments and outputs keep their dtypes, and so does what a loop gets."""
        builder = _PartlyExpanding(lambda op: True)
        made = {v: builder.input(v.type) for v in self.program.inputs}
        for node in self.program.nodes:
            inputs = [made[v] for v in node.inputs]
            if isinstance(node.op, Loop):
                inputs = [cast(new, v.dtype) for new, v in zip(inputs, node.inputs, strict=True)]
            made.update(zip(node.outputs, builder.repeat(node, inputs, in_precision(node.op, dtype)), strict=True))
        program = builder.finish([cast(made[v], v.dtype) for v in self.program.outputs])
        constants = {made[old]: array for old, array in self.constants.items()}
        return self._replace(program=program, constants=constants, names=self._names_of(made))

    def _names_of(self, made: dict[Value, Value]) -> dict[Value | Node, str]:
        """The names, carried over to what the values have become. If several values have become one, the first name
        counts."""
        names: dict[Value | Node, str] = {}
        for old, new in made.items():
            if old in self.names and (new.node is not None or old.node is None):
                names.setdefault(new, self.names[old])
            if old.node is not None and new.node is not None and old.node in self.names:
                names.setdefault(new.node, self.names[old.node])
        return names


class _PartlyExpanding(Builder):
    def __init__(self, keeps: Callable[[Composite], bool]):
        super().__init__()
        self._wanted = keeps

    def _keeps(self, op: Composite) -> bool:
        return self._wanted(op)


def freeze(
    program: Program,
    arguments: Sequence[str],
    outputs: Sequence[str],
    constants: Mapping[Value, Any],
    metadata: Mapping[str, Any] | None = None,
    called: Mapping[Value | Node, str] | None = None,
) -> Frozen:
    """A Frozen with these parts. The constants are tensors or arrays (of bits, for bfloat16). called: names of
    constants, nodes and outputs of nodes.

    Raises ValueError if names are missing, too many or given twice, or if a constant does not fit its input.
    """
    arrays = {v: _array(constants[v], v.type) for v in program.inputs if v in constants}
    for kind, names, count in (
        ("argument", tuple(arguments), len(program.inputs) - len(arrays)),
        ("output", tuple(outputs), len(program.outputs)),
    ):
        if len(names) != count:
            raise ValueError(
                f"{count} {kind}{'s' * (count != 1)} must have {count} name{'s' * (count != 1)}, got {len(names)}: {names}"
            )
        if len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
            raise ValueError(f"the names of all {kind}s must be different non-empty strings, got {names}")
    if set(constants) - set(arrays):
        raise ValueError("a constant is given for a value that is not an input of the Program")
    return Frozen(program, tuple(arguments), tuple(outputs), arrays, dict(metadata or {}), dict(called or {}))


def stored_class(dtype: str) -> type:
    """The NumPy class of elements as tensors hold them: the bits of a bfloat16, which NumPy does not have."""
    return np.uint16 if dtype == "bfloat16" else NUMPY_CLASS[storage(dtype)]


def _array(constant: Any, type: Type) -> Array:
    array = np.ascontiguousarray(constant._array() if isinstance(constant, Tensor) else constant)
    array = array.reshape(np.shape(constant))  # ascontiguousarray gives a number a dimension
    fits = isinstance(constant, Tensor) and constant.desc.dtype == type.dtype
    if array.shape != type.shape or not (fits or array.dtype == stored_class(type.dtype)):
        raise ValueError(f"a constant of {array.dtype} and shape {array.shape} is given for an input of {type}")
    return array
