"""A function that was recorded, with the weights that it uses: what is written to files and read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._rt import Tensor
from ..base.dtype import NUMPY_CLASS
from ..base.quantized import storage
from ..compiler.program import Builder, Composite, Node, Program, Type, Value
from ..compiler.values import replayed

Array = np.ndarray[Any, Any]


class Frozen(NamedTuple):
    """A Program whose inputs are arguments or have a value that is known.

    arguments: names of the inputs that are in no way known, in order. outputs: a name for each output. constants: the
    elements of the other inputs, in the form in which tensors hold them (`stored_class`). metadata: what users want to
    be kept with it, of the kinds that JSON has. names: what some constants, nodes and their outputs are called, for those who look at
    it. Use `freeze`, which checks all this.
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
        """This function with its composites replaced by what they are made of, except those that `keeps` wants."""
        builder = _PartlyExpanding(keeps)
        inputs = [builder.input(v.type) for v in self.program.inputs]
        made = replayed(self.program, builder, inputs)
        program = builder.finish(made[v] for v in self.program.outputs)
        constants = {made[old]: array for old, array in self.constants.items()}
        return self._replace(program=program, constants=constants, names=self._names_of(made))

    def _names_of(self, made: dict[Value, Value]) -> dict[Value | Node, str]:
        """The names again, for what has become of the values. The first counts, where several have become one."""
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
    """A Frozen of these parts; the constants are tensors or arrays (of bits, for bfloat16). called: names of constants, nodes and outputs of
    nodes.

    Raises ValueError where names are missing, too many or given twice, or a constant does not fit its input.
    """
    arrays = {v: _array(constants[v], v.type) for v in program.inputs if v in constants}
    for kind, names, count in (
        ("argument", tuple(arguments), len(program.inputs) - len(arrays)),
        ("output", tuple(outputs), len(program.outputs)),
    ):
        if len(names) != count:
            raise ValueError(f"{count} {kind}{'s' * (count != 1)} must have as many names, got {len(names)}: {names}")
        if len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
            raise ValueError(f"the name of each {kind} must be another non-empty string, got {names}")
    if set(constants) - set(arrays):
        raise ValueError("a constant is given for a value that is no input of the Program")
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
