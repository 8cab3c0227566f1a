"""An ONNX graph while it is written: nodes as plain data, and operands that know their type and perhaps their value.

The package `onnx` is needed only to make a file of it (model.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._rt import Tensor, apply
from ...base.dtype import FLOATS, WEAK
from ...compiler.program import Constant, Number, Op, Type
from ...core.ops import random
from ...core.ops.elemwise import TypeCvt
from ...core.ops.shape import Broadcast, Fill
from ..frozen import Array, stored_class

#: dtypes that are computed in another dtype, as in tengen's kernels (and because ONNX Runtime has few kernels for them)
WORK = {
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "bool"), "int32"),
    **dict.fromkeys(("float16", "bfloat16"), "float32"),
    **{"weak_bool": "int32", "weak_int": "int64", "weak_float": "float64"},
}
MOST_COMPUTED = 1 << 20
"""The most elements of a constant that is computed at export although it has more elements than its operands."""


class Written(NamedTuple):
    """A node: operator, names of inputs ("" for one left out) and outputs, attributes, and the op that it comes from."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    origin: str


class Stored(NamedTuple):
    """A constant of the graph, with its elements in the form in which tensors hold them: bits for bfloat16."""

    dtype: str
    array: Array


class Operand:
    """A value of the graph. Python's operators write nodes; numbers beside it get its dtype."""

    __array_ufunc__ = None  # NumPy leaves operators with an operand to the operand

    def __init__(self, graph: Graph, type: Type, name: str | None = None, known: Array | None = None):
        self.graph, self.type, self.known, self._name = graph, type, known, name

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def number(self) -> float | int | bool | None:
        """The value, if it is a known number."""
        return self.known.item() if self.known is not None and not self.shape and self.dtype != "bfloat16" else None

    @property
    def name(self) -> str:
        """The name in the graph. A constant gets one when it is first asked for."""
        if self._name is None:
            assert self.known is not None
            self._name = self.graph.store(self.dtype, self.known)
        return self._name

    def _other(self, other: Any) -> Operand:
        return other if isinstance(other, Operand) else self.graph.constant(other, self.dtype)

    def _binary(self, operator: str, other: Any, dtype: str | None = None) -> Operand:
        return self.graph.node(operator, self, self._other(other), dtype=dtype)

    def __add__(self, other: Any) -> Operand:
        return self._binary("Add", other)

    def __sub__(self, other: Any) -> Operand:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any) -> Operand:
        return self._other(other) - self

    def __mul__(self, other: Any) -> Operand:
        return self._binary("Mul", other)

    def __truediv__(self, other: Any) -> Operand:
        return self._binary("Div", other)

    def __neg__(self) -> Operand:
        return self.graph.node("Neg", self)

    def __abs__(self) -> Operand:
        return self.graph.node("Abs", self)

    def __lt__(self, other: Any) -> Operand:
        return self._binary("Less", other, "bool")

    def __gt__(self, other: Any) -> Operand:
        return self._binary("Greater", other, "bool")

    def __ge__(self, other: Any) -> Operand:
        return self._binary("GreaterOrEqual", other, "bool")

    def equals(self, other: Any) -> Operand:
        return self._binary("Equal", other, "bool")

    def __and__(self, other: Operand) -> Operand:
        return self._binary("And", other)

    def __or__(self, other: Operand) -> Operand:
        return self._binary("Or", other)

    def __xor__(self, other: Operand) -> Operand:
        return self._binary("Xor", other)

    def __invert__(self) -> Operand:
        return self.graph.node("Not", self)


class Graph:
    """Nodes and constants in the order in which they were written. Their names depend on nothing else."""

    def __init__(self) -> None:
        self.nodes: list[Written] = []
        self.constants: dict[str, Stored] = {}
        self.inputs: list[Operand] = []
        self.outputs: list[Operand] = []
        self.origin = ""  # the op that nodes are being written for
        self._count = 0

    def _new_name(self, kind: str) -> str:
        """With a slash, which no name of an argument or output has."""
        self._count += 1
        return f"{kind}/{self._count}"

    # -- constants -----------------------------------------------------------------------------------------

    def store(self, dtype: str, array: Array) -> str:
        name = self._new_name("constant")
        self.constants[name] = Stored(dtype, array)
        return name

    def constant(self, value: Any, dtype: str) -> Operand:
        """A constant from numbers; for bfloat16, from its bits."""
        array = np.asarray(value).astype(_class(dtype))
        return Operand(self, Type(dtype, array.shape), known=array)

    def integers(self, numbers: Sequence[int] | Array) -> Operand:
        """A vector of int64: a shape, axes."""
        return self.constant(np.asarray(numbers, np.int64).reshape(-1), "int64")

    def compute(self, op: Op, operands: Sequence[Operand]) -> tuple[Operand, ...] | None:
        """The outputs of an op on constants, as constants; None if they are not known or better not computed here."""
        if isinstance(op, (Constant, Number)) and op.dtype in WEAK:
            return (
                self.constant(op.value, op.dtype),
            )  # kept as a Python number, which gets its dtype where it is used
        # Repeated elements stay small, and random numbers must not become constants.
        drawn = type(op).__module__ == random.__name__
        if drawn or isinstance(op, (Broadcast, Fill)) or any(x.known is None for x in operands):
            return None
        size = sum(t.size for t in op.infer(*(x.type for x in operands)))
        if size > max(MOST_COMPUTED, sum(x.type.size for x in operands)):
            return None
        made = apply(op, *map(_tensor, operands))
        made = made if isinstance(made, tuple) else (made,)
        return tuple(Operand(self, Type(t.desc.dtype, tuple(t.shape)), known=np.array(t._array())) for t in made)

    # -- nodes ---------------------------------------------------------------------------------------------

    def node(self, operator: str, *inputs: Operand | None, dtype: str | None = None, **attributes: Any) -> Operand:
        """A node with one output, of `dtype` or the dtype of the first input."""
        if dtype is None:
            assert inputs[0] is not None
            dtype = inputs[0].dtype
        return self.node_of(operator, inputs, [dtype], **attributes)[0]

    def node_of(
        self, operator: str, inputs: Sequence[Operand | None], dtypes: Sequence[str], **attributes: Any
    ) -> tuple[Operand, ...]:
        """A node with an output of each of these dtypes. Their shapes are not followed; `typed` states them at the end
        of a rule."""
        names = tuple("" if x is None else x.name for x in inputs)
        outputs = tuple(self._new_name(operator) for _ in dtypes)
        self.nodes.append(Written(operator, names, outputs, attributes, self.origin))
        return tuple(Operand(self, Type(d, ()), name) for name, d in zip(outputs, dtypes, strict=True))

    def identity(self, operand: Operand, name: str) -> Written:
        """A node that gives an operand another name."""
        return Written("Identity", (operand.name,), (name,), {}, self.origin)

    def rename(self, names: Mapping[str, str]) -> None:
        """Give values of the graph other names."""

        def renamed(old: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names.get(name, name) for name in old)

        self.nodes = [n._replace(inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in self.nodes]

    def typed(self, operand: Operand, type: Type) -> Operand:
        """The operand as one of this type: its shape is declared, its dtype is converted."""
        made = self.cast(operand, type.dtype)
        return Operand(self, type, None if made.known is not None else made.name, made.known)

    def cast(self, x: Operand, dtype: str) -> Operand:
        """`x` as `dtype`. From floats to integers, the numbers must be known to fit."""
        if x.dtype == dtype:
            return x
        if x.known is not None and dtype in (*FLOATS, "bool", "int64", "int32") and dtype != "weak_float":
            (made,) = self.compute(TypeCvt(dtype), [x]) or (None,)
            if made is not None:
                return made
        made = self.node("Cast", x, dtype=dtype, to=dtype)
        made.type = Type(dtype, x.shape)
        return made

    def working(self, x: Operand, dtype: str) -> Operand:
        """`x` as an operand of something that is computed in `dtype`."""
        return self.cast(x, WORK.get(dtype, dtype))

    def where(self, mask: Operand, yes: Operand | float, no: Operand | float) -> Operand:
        like = yes if isinstance(yes, Operand) else no
        assert isinstance(like, Operand)
        return self.node("Where", mask, like._other(yes), like._other(no), dtype=like.dtype)

    def reshape(self, x: Operand, shape: Sequence[int]) -> Operand:
        zeros: dict[str, Any] = {"allowzero": 1} if 0 in shape else {}  # otherwise, a 0 would keep the dim as it is
        return self.node("Reshape", x, self.integers(shape), **zeros)

    def transpose(self, x: Operand, order: Sequence[int]) -> Operand:
        if list(order) == sorted(order):
            return x
        return self.node("Transpose", x, perm=list(order))


def _class(dtype: str) -> Any:
    known = {"weak_bool": np.bool_, "weak_int": np.int64, "weak_float": np.float64, "uint32": np.uint32}
    return known.get(dtype) or (np.uint64 if dtype == "uint64" else stored_class(dtype))


def _tensor(x: Operand) -> Any:
    """A known value in the form that `apply` takes."""
    assert x.known is not None
    if x.dtype in WEAK:
        return x.known.item()
    made = Tensor()
    made._assign(np.require(x.known, requirements="C"), x.dtype, "cpu0")
    return made
