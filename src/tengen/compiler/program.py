"""The graph IR: a Program is a list of primitive ops in SSA form over typed values.

The class that an op derives from says what it is to the compiler. These are all such classes:

| class | meaning | becomes |
|---|---|---|
| `Elementwise` | out[i] = f(a[i], b[i], …) with broadcasting | part of a map/reduce kernel |
| `Constant`, `Number`, `Iota` | the same number everywhere, in the kernel's code or as its argument; running numbers | part of a kernel |
| `ViewOp` | the same elements under other indices | strides; a copy if no strides can express it |
| `Reduction` | folds axes, which keep extent 1 | part of a map/reduce kernel |
| `Prefix` | folds an axis and keeps what it has at each place | part of a map/reduce kernel, its end |
| `Gather`, `Scatter` | reads, writes at indices that are values | part of a kernel; a kernel |
| `Sort` | where the elements of rows would stand if they were sorted | a kernel of its own |
| `Positions` | where a mask is set, and how many such places there are | two kernels of its own |
| `Concat` | several values side by side in one buffer | one copy each |
| `Contraction` | a sum of products | the contraction template |
| `Attention`, `AttentionGradient` | softmax(q kᵀ) v of heads; what its operands get | kernels of their own |
| `Host` | a Python function over NumPy arrays | a call |
| `Loop` | a formula at each place along an axis, one after the other | the steps of one place, repeated |
| `Composite` | a formula over other ops | disappears while the Program is built |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..base.dtype import COMPLEX
from ..base.quantized import storage
from .geometry import ROLES, ConvShape, Form, MatmulShape, Roles
from .interned import Interned
from .view import View

if TYPE_CHECKING:
    from .kernels.target import Target

ITEM_BYTES = {
    **dict.fromkeys(("bool", "uint8", "int8", "weak_bool"), 1),
    **dict.fromkeys(("uint16", "int16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "float32"), 4),
    **dict.fromkeys(("int64", "float64", "complex64", "weak_int", "weak_float"), 8),
}

ADDRESSABLE = 1 << 47
"""Bytes that a process can address; positions of elements are int64."""


class Type(NamedTuple):
    """The dtype and the shape of a value, without where it lies."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


class CompileLog:
    """Is told of each Plan that an op is compiled to. timed: whether the runtime's Plan keeps the times of its steps."""

    timed: bool = False

    def add(self, views: Sequence[View], plan: Any, seconds: float, runtime: Any, target: Target | None) -> None:
        """A Plan for inputs that lie like `views` was made or found, in this many seconds. runtime: what runs it.
        target: what it was compiled for; None: this machine's CPU."""


class Op(metaclass=Interned):
    """An operation with its parameters. Immutable and interned: compare with `is`."""

    if TYPE_CHECKING:  # the metaclass makes the objects

        def __init__(self, *parameters: Any, **named: Any) -> None: ...

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} cannot be changed")

    def __repr__(self) -> str:
        parameters = ", ".join(f"{p}={getattr(self, p)!r}" for p in type(self).parameters)
        return f"{type(self).__name__}({parameters})"

    @property
    def name(self) -> str:
        """What error messages and dumps call this op."""
        return type(self).__name__

    def infer(self, *types: Type) -> tuple[Type, ...]:
        """The types of the outputs. Raises TypeError or ValueError for a wrong call."""
        raise NotImplementedError(f"{self.name} has no shape rule")

    def grad(
        self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        """Gradients with respect to the inputs, written with ops; None where there is none.

        They may still have a broadcast shape or a wider dtype: the caller sums them and casts them to the input's type.

        An op whose class does not override this is not differentiable: its outputs are constants to autodiff, and
        `nondiff` says why.
        """
        raise NotImplementedError(f"{self.name} has no gradient")

    def number_range(self, position: int, out: Type) -> tuple[int, int] | None:
        """(least, greatest) Python int allowed at this position among the inputs, for a result of type `out`; None:
        any."""
        return None

    @property
    def precision(self) -> str:
        """The precision that mixed precision computes it in: "low", "high", or "" for whatever its inputs have.
        "inside": only its products are low; their dtype is its parameter `products`."""
        return ""

    converted: ClassVar[int | None] = None
    """How many of the first inputs mixed precision converts; None: all."""

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        """A simpler value that equals the only output of this op, made from the inputs or from what they were made
        from; None if there is none."""
        return None

    @property
    def nondiff(self) -> str:
        """Why it has no gradient; "" where it has one."""
        return ""

    @property
    def no_onnx(self) -> str:
        """Why it cannot be exported to ONNX, as the end of a sentence that begins "ONNX, which"; "" if it can."""
        return ""

    @property
    def effect(self) -> bool:
        """Whether it does something besides giving its outputs. Then it is never left out, merged with another or
        repeated, and runs in its turn."""
        return False

    @property
    def has_rule(self) -> bool:
        """Whether the op has a gradient rule of its own. A composite without one is differentiated as what it expands
        to."""
        return type(self).grad is not Op.grad

    @classmethod
    def differentiable(cls) -> bool:
        return cls.grad is not Op.grad or issubclass(cls, Composite)

    def as_program(
        self, types: Sequence[Type], views: Sequence[View] | None = None, target: Target | None = None
    ) -> Program:
        """The Program that is compiled to run it on inputs of these types. views: where these lie, if that is known.
        target: what it is compiled for; None: this machine's CPU."""
        return build(self, types)

    def blamed(self, inner: Op) -> Op:
        """The op that errors name if `inner`, a part of its Program, fails."""
        return self

    @property
    def log(self) -> CompileLog | None:
        """The log that is told of the Plans that it is compiled to."""
        return None

    def __call__(self, *inputs: Any) -> Any:
        """Record this op on Values: the one output, or the tuple of several."""
        outputs = record(self, *inputs)
        return outputs[0] if len(outputs) == 1 else outputs


class Elementwise(Op, abstract=True):
    """out[i] = f(a[i], b[i], …); operands broadcast."""

    converts: ClassVar[bool] = False  # gives its operand in another dtype, as storing it there would

    @property
    def cheap(self) -> bool:
        """Whether computing it again costs less than writing and reading the result."""
        return False

    @property
    def costly(self) -> bool:
        """Whether it is a function such as exp, so that reading a result costs less than computing it, even from
        operands in registers."""
        return False

    def emit(self, e: Any, args: Sequence[int], types: Sequence[Type], out: Type) -> int:
        """Append instructions to the kernel through `e` (schedule.lower.Emitter); returns the value's number."""
        raise NotImplementedError


class Constant(Op):
    """A number known when the Program is built."""

    value: float | int | bool
    dtype: str

    nondiff = "it has no input"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, ()),)


class Number(Op):
    """A number that kernels get as an argument, such as a size. Unlike another Constant, another Number needs no new
    kernel."""

    value: float | int
    dtype: str

    nondiff = "it has no input"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type(self.dtype, ()),)


class Iota(Op):
    """0, 1, 2, … in row-major order, as int64. It has no buffer: views of it are arithmetic on loop indices."""

    shape: tuple[int, ...]

    nondiff = "it has no input"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (Type("int64", self.shape),)


class ViewOp(Op, abstract=True):
    """The same elements under other indices."""

    stretches: ClassVar[bool] = False  # only repeats elements, so a kernel that computes the input can continue with it
    regroups: ClassVar[bool] = False  # the same elements in row-major order, in the shape that is the op's parameter
    fills: ClassVar[bool] = False  # may show elements that the input does not have
    waits: ClassVar[bool] = False  # its second input matters only for its time: it is computed before readers run
    rereads: ClassVar[bool] = False  # the same bits in another dtype: one is quantised, and the other stores it

    def view(self, view: View) -> View | None:
        """Where the output's elements lie, given where the input's do; None: the input must be copied to row-major
        order first."""
        raise NotImplementedError


class Reduction(Op, abstract=True):
    """Folds the axes `axes` of its first input with the monoid `monoid`; they stay with extent 1."""

    monoid: str
    axes: tuple[int, ...]

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (Type(x.dtype, tuple(1 if d in self.axes else s for d, s in enumerate(x.shape))),)


class Prefix(Op, abstract=True):
    """Each element becomes the fold of the elements along `axis` up to and including itself, with the monoid `monoid`: "sum" or "prod", or
    of two inputs a and b "linear": y[i] = a[i] · y[i - 1] + b[i], which begins as 0. The axis has at least two elements."""

    monoid: str
    axis: int


class Gather(Op, abstract=True):
    """Reads input 0 at positions that the other inputs (int32 or int64, broadcast against each other) give.

    sources: for each output dim, the dim of input 0 that it runs along, or -1 if it is a dim of the index alone. axes:
    the dims of input 0 that are indexed, one for each index input. index_dims: the output dims that the dims of the
    index become. One that runs along input 0 too is a batch: each of its places has indices of its own.
    """

    sources: tuple[int, ...]
    axes: tuple[int, ...]
    index_dims: tuple[int, ...]


class Scatter(Op, abstract=True):
    """Input 0 with input 1 written (`mode` "set") or added ("add") at the positions that a Gather with the same
    parameters reads.

    If positions repeat, they are written in row-major order of input 1.
    """

    mode: str
    sources: tuple[int, ...]
    axes: tuple[int, ...]
    index_dims: tuple[int, ...]


class Place(Op, abstract=True):
    """Input 0 with input 1 written ("set") or added ("add") where the view op `where` of input 0 looks.

    Views that see an element twice need "add".
    """

    where: ViewOp
    mode: str


class Concat(Op, abstract=True):
    """Values side by side along `axis`."""

    axis: int


class Contraction(Op, abstract=True):
    """A sum of products of two operands. The schedule decides how it is computed."""

    form: ClassVar[Form]
    zero = 0  # the integer that stands for 0 in operand A, as it does in padding

    @property
    def roles(self) -> Roles:
        """What its inputs and dims are to the compiler."""
        return ROLES[self.form]

    def geometry(self, types: Sequence[Type], out: Type) -> MatmulShape | ConvShape:
        """Its sizes, for inputs and an output of these types."""
        raise NotImplementedError


class Host(Op, abstract=True):
    """A Python function over NumPy arrays, for rare, irregular work that NumPy does well."""

    late: ClassVar[bool] = False  # waits for something, so it runs when there is nothing else to do, in any order

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Fill the output arrays."""
        raise NotImplementedError


class Composite(Op, abstract=True):
    """A formula over other ops, which replace it while a Program is built."""

    def expand(self, *inputs: Value) -> Value | Sequence[Value]:
        raise NotImplementedError

    def expand_on(self, inputs: Sequence[Value], results: Sequence[Value]) -> Sequence[Value]:
        """`expand` if the results are known, so that a part of it may start from them."""
        return inputs[0].builder.record(self, inputs)

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return tuple(v.type for v in build(self, types).outputs)


#: The ops behind Python's operators on values, entered by the op table: {"add": op, …}.
OPERATORS: dict[str, Op] = {}


def _operator(name: str, reflected: bool = False) -> Callable[..., Value]:
    def method(self: Value, *others: Any) -> Value:
        operands = (*others, self) if reflected else (self, *others)
        return record(OPERATORS[name], *operands)[0]

    return method


#: The meaning of an op of a class on inputs with complex numbers, entered by the op table: a composite, or the op
#: itself if it only moves elements, as composites do.
Forms = dict[type[Op], Callable[[Any, Sequence["Value"]], Op]]
COMPLEX_FORMS: Forms = {Composite: lambda op, inputs: op}
#: The meaning of an op of a class on inputs with quantised numbers.
QUANTIZED_FORMS: Forms = {Composite: lambda op, inputs: op}


def meaning(op: Op, inputs: Sequence[Value]) -> Op:
    """The op that `op` means on these inputs: another one if inputs or results are complex or quantised.

    Raises TypeError if it is not defined for them.
    """
    # no other dtype begins with these letters
    special = [v.dtype for v in inputs if v.dtype[0] in "qc"]
    if (made := getattr(op, "dtype", None)) and made[0] in "qc":
        special.append(made)
    if not special:
        return op  # the usual case
    forms = COMPLEX_FORMS if COMPLEX in special else QUANTIZED_FORMS
    form = next((forms[cls] for cls in type(op).__mro__ if cls in forms), None)
    if form is None:
        raise undefined_for_complex(op.name) if COMPLEX in special else undefined_for_quantized(op.name, special[0])
    return form(op, inputs)


def undefined_for_complex(name: str) -> TypeError:
    """The error for an op that does not take complex numbers."""
    return TypeError(f"{name} is not defined for {COMPLEX}; take the real and the imaginary part with real and imag")


def undefined_for_quantized(name: str, dtype: str) -> TypeError:
    """The error for an op that does not take quantised numbers."""
    return TypeError(f"{name} is not defined for {dtype}; convert first, with x.astype('float32')")


class Value:
    """One SSA value: a Program input (node None) or an output of a node. Python's operators record ops, as they do on
    tensors.
    """

    __slots__ = ("builder", "dtype", "index", "node", "shape", "type")

    def __init__(self, builder: Builder, type: Type, node: Node | None, index: int):
        self.builder, self.type, self.node, self.index = builder, type, node, index
        self.dtype, self.shape = type

    def retype(self, type: Type) -> None:
        """Give it another type."""
        self.type = type
        self.dtype, self.shape = type

    @property
    def op(self) -> Op | None:
        """The op that computes this; None for an input."""
        return self.node.op if self.node else None

    @property
    def operands(self) -> tuple[Value, ...]:
        """The inputs of that op."""
        return self.node.inputs if self.node else ()

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> int:
        return self.type.size

    __add__, __radd__ = _operator("add"), _operator("add", reflected=True)
    __sub__, __rsub__ = _operator("sub"), _operator("sub", reflected=True)
    __mul__, __rmul__ = _operator("mul"), _operator("mul", reflected=True)
    __truediv__, __rtruediv__ = _operator("truediv"), _operator("truediv", reflected=True)
    __floordiv__, __rfloordiv__ = _operator("floordiv"), _operator("floordiv", reflected=True)
    __mod__, __rmod__ = _operator("mod"), _operator("mod", reflected=True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", reflected=True)
    __and__, __rand__ = _operator("and"), _operator("and", reflected=True)
    __or__, __ror__ = _operator("or"), _operator("or", reflected=True)
    __xor__, __rxor__ = _operator("xor"), _operator("xor", reflected=True)
    __neg__ = _operator("neg")
    __abs__ = _operator("abs")
    __invert__ = _operator("invert")
    __lt__ = _operator("lt")
    __le__ = _operator("le")
    __gt__ = _operator("gt")
    __ge__ = _operator("ge")

    def __repr__(self) -> str:
        origin = f"{self.node.op.name}.{self.index}" if self.node else f"input {self.index}"
        return f"<{self.type} of {origin}>"


class Node:
    """One op applied to values. origin: the user's op that it is a part of, for error messages."""

    __slots__ = ("inputs", "op", "origin", "outputs")

    def __init__(self, op: Op, inputs: tuple[Value, ...], origin: Op | None = None):
        self.op, self.inputs, self.origin = op, inputs, origin
        self.outputs: tuple[Value, ...] = ()

    @property
    def reads(self) -> tuple[Value, ...]:
        """The inputs whose elements it reads."""
        return self.inputs[:1] if isinstance(self.op, ViewOp) and self.op.waits else self.inputs


class Program:
    """Inputs, nodes in an order that defines before use, outputs."""

    __slots__ = ("inputs", "nodes", "outputs")

    def __init__(self, inputs: tuple[Value, ...], nodes: tuple[Node, ...], outputs: tuple[Value, ...]):
        self.inputs, self.nodes, self.outputs = inputs, nodes, outputs

    def __str__(self) -> str:
        names: dict[Value, str] = {v: f"%{i}" for i, v in enumerate(self.inputs)}
        lines = ["program(" + ", ".join(f"{names[v]}: {v.type}" for v in self.inputs) + ")"]
        for node in self.nodes:
            for out in node.outputs:
                names[out] = f"%{len(names)}"
            left = ", ".join(f"{names[v]}: {v.type}" for v in node.outputs)
            lines.append(f"  {left} = {node.op!r}({', '.join(names[v] for v in node.inputs)})")
        return "\n".join([*lines, "  return " + ", ".join(names[v] for v in self.outputs)])


class Builder:
    """Collects nodes. Equal ops on equal values are recorded once (ops are pure functions, except those with an
    effect).

    keep_rules: keep composites with a gradient rule of their own as nodes, for differentiation.
    keep_composites: keep all composites as nodes, for exporters, which know them by name.
    """

    def __init__(self, keep_rules: bool = False, keep_composites: bool = False) -> None:
        self.keep_rules, self.keep_composites = keep_rules, keep_composites
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self._known: dict[tuple[Any, ...], Node] = {}
        self._origin: Op | None = None  # of what is being recorded

    def input(self, type: Type) -> Value:
        value = Value(self, type, None, len(self.inputs))
        self.inputs.append(value)
        return value

    def record(self, op: Op, inputs: Sequence[Any]) -> tuple[Value, ...]:
        """The outputs of `op`. Python numbers among the inputs become constants.

        Raises MemoryError for an output that is too large to be addressed, even if it would only be a view.
        """
        values = tuple([v if isinstance(v, Value) else self.constant(v) for v in inputs])
        if (form := meaning(op, values)) is not op:
            return self.record(form, values)
        if isinstance(op, Composite) and not self._keeps(op):
            outer, self._origin = self._origin, self._origin or op
            try:
                made = op.expand(*values)
            finally:
                self._origin = outer
            return (made,) if isinstance(made, Value) else tuple(made)
        key = (op, *values)
        node = None if op.effect else self._known.get(key)
        if node is None:
            origin = self._origin or op
            types = op.infer(*[v.type for v in values])
            for type in types:
                need_addressable(origin, type)
            node = Node(op, values, origin)
            node.outputs = tuple([Value(self, t, node, i) for i, t in enumerate(types)])
            self._known[key] = node
            self.nodes.append(node)
        return node.outputs

    def _keeps(self, op: Composite) -> bool:
        return self.keep_composites or (self.keep_rules and op.has_rule)

    def repeat(self, node: Node, inputs: Sequence[Value], op: Op | None = None) -> tuple[Value, ...]:
        """The outputs of a node of another Program on other inputs, perhaps of another op. They keep its origin."""
        outer, self._origin = self._origin, node.origin
        try:
            return self.record(op or node.op, inputs)
        finally:
            self._origin = outer

    def number(self, number: float | int) -> Value:
        """A number that is an argument of the kernels that use it (see Number)."""
        return self.record(Number(number, "weak_int" if isinstance(number, int) else "weak_float"), ())[0]

    def iota(self, shape: Sequence[int]) -> Value:
        """0, 1, 2, … in row-major order."""
        return self.record(Iota(tuple(shape)), ())[0]

    def constant(self, number: float | int | bool) -> Value:
        for kind, dtype in ((bool, "weak_bool"), (int, "weak_int"), (float, "weak_float")):
            if isinstance(number, kind):  # numPy's float64 is a subclass of float
                return self.record(Constant(kind(number), dtype), ())[0]
        raise TypeError(f"a Program cannot hold a {type(number).__name__}: {number!r}")

    def finish(self, outputs: Iterable[Value]) -> Program:
        """The Program with these outputs, without nodes that neither they nor effects need. All inputs stay."""
        outputs = tuple(outputs)
        effects = [v for node in self.nodes if node.op.effect for v in node.outputs]
        return Program(tuple(self.inputs), needed(self.nodes, (*outputs, *effects)), outputs)


def need_addressable(op: Op, type: Type) -> None:
    """Raises MemoryError for a result of `op` whose strides or bytes would overflow. Strides count extents of 0 as 1."""
    size = ITEM_BYTES.get(type.dtype) or ITEM_BYTES[storage(type.dtype)]
    for extent in type.shape:
        size *= extent or 1
    if size > ADDRESSABLE:
        raise MemoryError(
            f"{op.name}: {type.dtype} of shape {type.shape} would take {size} bytes, more than can be addressed ({ADDRESSABLE})"
        )


def needed(nodes: Iterable[Node], outputs: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes that these values depend on."""
    found, stack = set(), [v.node for v in outputs]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack += [v.node for v in node.inputs]
    return tuple([n for n in nodes if n in found])


def record(op: Op, *inputs: Any) -> tuple[Value, ...]:
    """Apply `op` to inputs of which at least one is a Value."""
    builder = next(v.builder for v in inputs if isinstance(v, Value))
    return builder.record(op, inputs)


def build(op: Op, types: Sequence[Type]) -> Program:
    """The Program of one op on inputs of these types: one node, or for a Composite what it expands to."""
    builder = Builder()
    return builder.finish(builder.record(op, [builder.input(t) for t in types]))
