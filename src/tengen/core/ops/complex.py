"""Complex numbers: complex64 is a pair of float32 in memory, real part first.

Kernels only move such pairs, as words of 64 bits. Ops that compute with them become Programs over their parts, which
views show: `Planes` gives complex numbers a last dim (real, imaginary), `Pairs` makes complex numbers of such a last
dim. So the gradient of a complex number is the pair of the gradients of its parts, without any further rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...base.dtype import COMPLEX
from ...compiler.program import COMPLEX_FORMS, Concat, Gather, Op, Type, Value, ViewOp, undefined_for_complex
from ...compiler.view import View
from .base import Formula, Grads
from .elemwise import COS, EQ, SIN, Elemwise, TypeCvt, Where, cast, where
from .index import Put
from .linalg import MatMul
from .reduce import Reduce
from .shape import Copy, Fill, Pad, PlaceView, Slice, broadcast, reshape

PARTS = "float32"
NO_ONNX = "has complex numbers for a few operators only"


class Planes(ViewOp):
    """The parts of complex numbers, as a new last dim of two."""

    no_onnx = NO_ONNX
    fills = True  # it shows two numbers for one, so it is not the same number everywhere

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if x.dtype != COMPLEX:
            raise TypeError(f"real and imag take complex64, got {x.dtype}")
        return (Type(PARTS, (*x.shape, 2)),)

    def view(self, view: View) -> View | None:
        if view.edges:
            return None
        return View((*view.shape, 2), (*(2 * s for s in view.strides), 1), 2 * view.offset)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        return x.operands[0] if isinstance(x.op, Pairs) else None

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and Pairs()(grads[0])]


class Pairs(ViewOp):
    """The complex numbers whose parts are a last dim of two."""

    no_onnx = NO_ONNX

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if x.dtype != PARTS or x.shape[-1:] != (2,):
            raise TypeError(f"complex numbers are pairs of float32, got {x}")
        return (Type(COMPLEX, x.shape[:-1]),)

    def view(self, view: View) -> View | None:
        *strides, last = view.strides
        if view.edges or last != 1 or any(s % 2 for s in (view.offset, *strides)):
            return None
        return View(view.shape[:-1], tuple(s // 2 for s in strides), view.offset // 2)

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        return x.operands[0] if isinstance(x.op, Planes) else None

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        return [grads[0] and Planes()(grads[0])]


def parts(x: Value) -> tuple[Value, Value]:
    """The real and the imaginary parts."""
    if x.dtype != COMPLEX:
        return cast(x, PARTS), x.builder.constant(0.0)
    planes, ones = Planes()(x), (1,) * (x.ndim + 1)
    found = (Slice((0,) * x.ndim + (i,), (*x.shape, 1), ones)(planes) for i in range(2))
    real, imag = (reshape(part, x.shape) for part in found)
    return real, imag


def joined(real: Value, imag: Value) -> Value:
    """The complex numbers with these parts, which broadcast."""
    first = EQ(real.builder.iota((2,)), 0)
    wide = [cast(x, PARTS) for x in (real, imag)]
    return Pairs()(where(first, *(reshape(x, (*x.shape, 1)) for x in wide)))


class Complex(Formula):
    """real + i · imag."""

    name = "complex"

    def expand(self, *inputs: Value) -> Value:
        for x in inputs:
            if x.dtype == COMPLEX:
                raise TypeError("complex: the parts are real numbers, got complex64")
        return joined(*inputs)


class Polar(Formula):
    """The complex numbers with these absolute values and angles."""

    name = "polar"

    def expand(self, *inputs: Value) -> Value:
        size, angle = inputs
        return joined(size * COS(angle), size * SIN(angle))


class Part(Formula):
    """The real (0) or the imaginary (1) part."""

    which: int

    @property
    def name(self) -> str:
        return ("real", "imag")[self.which]

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        if x.dtype != COMPLEX:
            raise TypeError(f"{self.name} takes a tensor of complex64, got {x.dtype}")
        return parts(x)[self.which]


# -- the meaning of ops on complex numbers -------------------------------------------------------------------------


class OnParts(Formula):
    """An element-wise mode of complex numbers, by `parts` of its row."""

    mode: str

    @property
    def name(self) -> str:
        return self.mode.lower()

    def expand(self, *inputs: Value) -> Value:
        row = Elemwise(self.mode).row
        assert row.parts is not None
        if len(inputs) != row.arity:
            raise TypeError(f"{self.name} takes {row.arity} operands, got {len(inputs)}")
        made = row.parts(*map(parts, inputs))
        return made if isinstance(made, Value) else joined(*made)


class OnPlanes(Formula):
    """An op applied to both parts, which are a last dim."""

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        return Pairs()(self.op(*(Planes()(x) if x.dtype == COMPLEX else x for x in inputs)))


class PaddedComplex(Formula):
    """Complex numbers padded with a real number."""

    pad: Pad

    name = "pad"

    def expand(self, *inputs: Value) -> Value:
        real, imag = parts(*inputs)
        return joined(self.pad(real), Pad(self.pad.before, self.pad.after, 0.0)(imag))


class ToComplex(Formula):
    """Real numbers as complex ones."""

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return x if x.dtype == COMPLEX else joined(x, x.builder.constant(0.0))


class ComplexProduct(Formula):
    """Products of complex matrices: four real products."""

    name = "matmul"

    def expand(self, *inputs: Value) -> Value:
        (a, b), (c, d) = (parts(ToComplex()(x)) for x in inputs)
        product = MatMul()
        return joined(product(a, c) - product(b, d), product(a, d) + product(b, c))


class FilledComplex(Formula):
    """A new tensor of complex numbers, filled with the number input 0, real or complex."""

    shape: tuple[int, ...]
    device: str

    name = "full"

    def expand(self, *inputs: Value) -> Value:
        fill = Fill(self.shape, PARTS, self.device)
        return joined(*map(fill, parts(*inputs)))


class WhereComplex(Formula):
    """Input 1 where the mask, input 0, is not zero; elsewhere input 2."""

    name = "where"

    def expand(self, *inputs: Value) -> Value:
        mask, yes, no = inputs
        shape = where.infer(mask.type, Type(PARTS, yes.shape), Type(PARTS, no.shape))[0].shape
        wide = [Planes()(broadcast(ToComplex()(x), shape)) for x in (yes, no)]
        mask = broadcast(mask, shape)
        return Pairs()(where(reshape(mask, (*shape, 1)), *wide))


def _mode(op: Elemwise, inputs: Sequence[Value]) -> Op:
    if op.row.parts is None:
        raise undefined_for_complex(op.name)
    return OnParts(op.mode)


def _converted(op: TypeCvt, inputs: Sequence[Value]) -> Op:
    if op.dtype != COMPLEX:
        raise TypeError(f"complex64 cannot become {op.dtype}; take its real or imag")
    return ToComplex()


def _filled(op: Fill, inputs: Sequence[Value]) -> Op:
    if op.dtype != COMPLEX:
        raise TypeError(f"full: a complex number does not fit into a tensor of {op.dtype}")
    return FilledComplex(op.shape, op.device)


def _summed(op: Reduce, inputs: Sequence[Value]) -> Op:
    if op.mode != "SUM":
        raise undefined_for_complex(op.name)
    return OnPlanes(op)


def _padded(op: Pad, inputs: Sequence[Value]) -> Op:
    return op if op.fill == 0 else PaddedComplex(op)


def _written(op: PlaceView | Put, inputs: Sequence[Value]) -> Op:
    if inputs[0].dtype != inputs[1].dtype:
        raise TypeError(f"{op.name}: values of {inputs[1].dtype} do not fit into a tensor of {inputs[0].dtype}")
    if op.mode == "set":
        return op
    if not isinstance(op, Put):
        raise undefined_for_complex(f"{op.name} (add)")
    return OnPlanes(Put("add", (*op.sources, inputs[0].ndim), op.axes, op.index_dims))


def _itself(op: Op, inputs: Sequence[Value]) -> Op:
    return op


COMPLEX_FORMS.update(
    {
        **dict.fromkeys((ViewOp, Concat, Gather, Copy), _itself),
        **dict.fromkeys((PlaceView, Put), _written),
        Elemwise: _mode,
        TypeCvt: _converted,
        Reduce: _summed,
        Pad: _padded,
        Fill: _filled,
        Where: lambda op, inputs: WhereComplex(),
        MatMul: lambda op, inputs: ComplexProduct(),
    }
)
