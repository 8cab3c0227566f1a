"""Quantised numbers: integers q that stand for the real numbers (q - zero point) · scale.

Kernels only see the integers. Ops that compute with quantised numbers become Programs over the integers, which `Bits`
and `Marked` show. If one dtype goes in and comes out, that is exact arithmetic on integers. Contractions are sums of
products of integers. Everything else computes the real numbers and rounds them to the dtype. Scales are arguments of
kernels, so another scale makes no new kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...base.quantized import KINDS, Quantized, make, quantized, storage
from ...compiler.orders import Sort
from ...compiler.program import (
    QUANTIZED_FORMS,
    Concat,
    Forms,
    Gather,
    Op,
    Type,
    Value,
    ViewOp,
    undefined_for_quantized,
)
from ...compiler.view import View
from .base import FLOATS, Formula
from .conv import Convolution, ConvolutionBackwardData
from .elemwise import Elemwise, TypeCvt, Where, cast
from .index import Put
from .integer import IntegerConvolution, IntegerConvolutionBackwardData, IntegerMatMul
from .linalg import Linear, MatMul
from .pool import AdaptivePooling, Pooling
from .reduce import ArgExtreme, Reduce
from .resample import Interpolate
from .shape import Copy, Detach, Fill, Pad, PlaceView, reshape

NO_ONNX = "gets no quantised numbers yet"
ROUND, MAX, MIN = Elemwise("ROUND"), Elemwise("MAX"), Elemwise("MIN")
INTEGER_FORMS: dict[type[Op], Any] = {
    MatMul: IntegerMatMul,
    Convolution: IntegerConvolution,
    ConvolutionBackwardData: IntegerConvolutionBackwardData,
}


class Bits(ViewOp):
    """The integers that store quantised numbers."""

    rereads = True
    no_onnx = NO_ONNX
    nondiff = "it has integers"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        return (Type(storage(x.dtype), x.shape),)

    def view(self, view: View) -> View | None:
        return view

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        (x,) = inputs
        return x.operands[0] if isinstance(x.op, Marked) else None


class Marked(ViewOp):
    """Integers as the quantised numbers of `dtype` that they store."""

    dtype: str

    rereads = True
    no_onnx = NO_ONNX
    nondiff = "it has integers"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        (x,) = types
        if storage(self.dtype) != x.dtype:
            raise TypeError(f"{self.dtype} is stored as {storage(self.dtype)}, not as {x.dtype}")
        return (Type(self.dtype, x.shape),)

    def view(self, view: View) -> View | None:
        return view


def known(dtype: str) -> Quantized:
    """Scale, zero point and storage of a dtype that is quantised."""
    found = quantized(dtype)
    assert found is not None
    return found


def product_dtype(a: str, b: str) -> str:
    """The qint32 of sums of products of numbers of two quantised dtypes."""
    return make(KINDS["qint32"], float(np.float32(known(a).scale) * np.float32(known(b).scale)), None).name


def integers(x: Value) -> Value:
    """The integers that store quantised numbers, as int32."""
    return cast(Bits()(x), "int32")


def marked(q: Value, dtype: str) -> Value:
    """Integers, saturated, as the quantised numbers of `dtype`."""
    kind = known(dtype).kind
    if q.dtype != kind.np_dtype_str:
        q = cast(MIN(MAX(q, kind.qmin), kind.qmax), kind.np_dtype_str)
    return Marked(dtype)(q)


def centred(x: Value, dtype: str) -> Value:
    """The integers minus the zero point, in a dtype that can hold them."""
    zero, q = known(x.dtype).zero, cast(Bits()(x), dtype)
    return q - (float(zero) if dtype in FLOATS else zero) if zero else q


def real(x: Value, dtype: str = "float32") -> Value:
    """The real numbers that quantised ones stand for; any other numbers as they are."""
    if x.dtype[0] != "q":
        return x
    work = "float64" if dtype == "float64" else "float32"
    return cast(centred(x, work) * x.builder.number(float(np.float32(known(x.dtype).scale))), dtype)


def saturated(steps: Value, dtype: str) -> Value:
    """Numbers that are integers except for their dtype, as the quantised numbers of `dtype` that they store."""
    # a conversion to int32 saturates itself, and integers have no nan to keep
    return marked(cast(steps, "int32"), dtype)


def quantize(x: Value, dtype: str) -> Value:
    """Real numbers rounded to quantised ones of `dtype`: to the nearest, halves away from zero, saturated."""
    x, zero = x if x.dtype in ("float32", "float64") else cast(x, "float32"), known(dtype).zero
    steps = ROUND(x * x.builder.number(float(np.float32(1) / np.float32(known(dtype).scale))))
    return saturated(steps + float(zero) if zero else steps, dtype)


class Quantize(Formula):
    """Numbers of any kind as quantised ones of `dtype`."""

    dtype: str

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return x if x.dtype == self.dtype else quantize(real(x), self.dtype)


class Dequantize(Formula):
    """The real numbers that quantised ones stand for, in a dtype that is not quantised; integers by truncation."""

    to: str

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        return cast(real(x, self.to if self.to in FLOATS else "float32"), self.to)


class OnIntegers(Formula):
    """An element-wise mode of quantised numbers of one dtype, exact except for saturation. Comparisons give bool."""

    mode: str

    @property
    def name(self) -> str:
        return self.mode.lower()

    def expand(self, *inputs: Value) -> Value:
        dtype = _common(self.name, inputs)
        zero = known(dtype).zero
        q = [integers(quantize(x, dtype) if x.dtype.startswith("weak_") else x) for x in inputs]
        if storage(dtype) == "int32" and self.mode in ("ADD", "SUB", "NEGATE"):
            return marked(_saturating(self.mode, q), dtype)
        if self.mode == "ADD":
            return marked(q[0] + q[1] - zero if zero else q[0] + q[1], dtype)
        if self.mode == "SUB":
            return marked(q[0] - q[1] + zero if zero else q[0] - q[1], dtype)
        if self.mode == "NEGATE":
            return marked(2 * zero - q[0], dtype)
        if self.mode == "RELU":
            return marked(MAX(q[0], zero), dtype)
        made: Value = Elemwise(self.mode)(*q)
        return made if Elemwise(self.mode).row.result == "compare" else marked(made, dtype)


def _saturating(mode: str, q: Sequence[Value]) -> Value:
    """The sum, difference or negative of int32 numbers. Operands that would lead beyond the ends are first moved so
    near that they do not. How near depends on the second operand alone, which is often a bias."""
    low, high = -(1 << 31), (1 << 31) - 1
    if mode == "NEGATE":
        return -MAX(q[0], low + 1)
    first, second = q
    if mode == "SUB":
        least, greatest = low + MAX(second, 0), high + MIN(second, 0)
        return MIN(MAX(first, least), greatest) - second
    first, second = sorted(q, key=lambda x: -x.size)
    least, greatest = low - MIN(second, 0), high - MAX(second, 0)
    return MIN(MAX(first, least), greatest) + second


class OnBits(Formula):
    """An op that gives the same for the integers as for what they stand for: it compares them, and may choose some."""

    op: Op
    keeps: bool  # the results are some of the operands

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        dtype = _common(self.name, inputs if self.keeps else [x for x in inputs if x.dtype[0] == "q"])
        numbers = [quantize(x, dtype) if x.dtype.startswith("weak_") else x for x in inputs]
        made: Value = self.op(*(Bits()(x) if x.dtype[0] == "q" else x for x in numbers))
        return Marked(dtype)(made) if self.keeps else made


class OnSteps(Formula):
    """A linear op on the distances of the integers from the zero point; its result is rounded."""

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        work, zero = "float64" if storage(x.dtype) == "int32" else "float32", known(x.dtype).zero

        def ended(steps: Value) -> Value:  # the zero point is added before rounding, as in MegEngine
            return saturated(ROUND(steps + float(zero) if zero else steps), x.dtype)

        # The weights of a pixel add up to 1, so the integers themselves are mixed.
        if isinstance(self.op, Interpolate) and self.op.mode == "bilinear" and work == "float32":
            return saturated(ROUND(self.op.at_once(Bits()(x))), x.dtype)
        if not isinstance(self.op, (Pooling, AdaptivePooling)):
            return ended(self.op(centred(x, work)))

        # Windows are taken of the integers, so that neither floats of all pixels nor means before rounding are in
        # memory.
        def steps(windows: Value) -> Value:
            return cast(windows, work) - float(zero) if zero else cast(windows, work)

        return self.op.pooled(Bits()(x), steps, float(zero), ended)


class Rounded(Formula):
    """An op on the real numbers that quantised ones stand for; its result is rounded to the quantised `dtype`."""

    op: Op
    dtype: str

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        return quantize(self.op(*(real(x) for x in inputs)), self.dtype)


class IntegerProduct(Formula):
    """A contraction of quantised numbers. Its result is a qint32 of exact sums, whose scale is the product of the
    operands' scales."""

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        a, b = inputs
        if any(x.dtype[0] != "q" or storage(x.dtype) == "int32" for x in inputs):
            raise TypeError(f"{self.name} takes two quantised operands of at most 8 bits, got {a.dtype} and {b.dtype}")
        self.op.infer(*(Type("float32", x.shape) for x in inputs))  # which checks the shapes
        largest = prod(_largest(known(x.dtype)) for x in inputs) * _count(self.op, a, b)
        sums = (_integer_sums if largest < 1 << 31 else _saturated_sums)(self.op, inputs)
        return Marked(product_dtype(a.dtype, b.dtype))(sums)


def _integer_sums(op: Any, inputs: Sequence[Value]) -> Value:
    """The contraction `op` on the integers that store quantised numbers."""
    made, operands = INTEGER_FORMS[type(op)], list(inputs)
    first, second = op.roles.operands
    a, b = known(inputs[first].dtype), known(inputs[second].dtype)
    if b.zero in (0, 128) and (b.zero == 128) == (b.kind.np_dtype_str == "uint8"):
        q = Bits()(inputs[second])
        operands[second] = cast(cast(q, "int32") - 128, "int8") if b.zero else q
        operands[first], zero = Bits()(inputs[first]), a.zero
    else:  # the other operand, counted from its zero point, has more than 8 bits
        operands, zero = [cast(centred(x, "int32"), "int16") for x in inputs], 0
    sums: Value = made(*(getattr(op, name) for name in type(op).parameters), zero=zero)(*operands)
    return sums


def _saturated_sums(op: Any, inputs: Sequence[Value]) -> Value:
    """The contraction if sums may be too large for int32: of floats that hold these integers."""
    return cast(ROUND(op(*(centred(x, "float64") for x in inputs))), "int32")


def _largest(dtype: Quantized) -> int:
    return max(dtype.kind.qmax - dtype.zero, dtype.zero - dtype.kind.qmin)


def _count(op: Op, a: Value, b: Value) -> int:
    """The most products in one sum."""
    if isinstance(op, MatMul):
        return a.shape[-1]
    weight = a if isinstance(op, ConvolutionBackwardData) else b
    return prod(weight.shape) // (1 if isinstance(op, ConvolutionBackwardData) else max(weight.shape[0], 1))


class OfChannels(Formula):
    """A layer's product `op` of quantised numbers whose weight has a scale for each channel of the result, besides that of its dtype.

    Inputs: x, weight, the scales (channels,), and perhaps a bias of as many floats. Its sums, and the bias in steps of them, are integers;
    the result is the float32 that they stand for.
    """

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    def expand(self, *inputs: Value) -> Value:
        x, weight, scale, *bias = inputs
        if any(v.dtype[0] != "q" for v in (x, weight)):
            raise TypeError(
                f"{self.name} with scales of channels takes quantised numbers, got {x.dtype} and {weight.dtype}"
            )
        sums = product_dtype(x.dtype, weight.dtype)
        for b in bias:
            self._need(b.size, scale)
        steps = [quantize(reshape(b, scale.shape) / scale, sums) for b in bias]
        y: Value = self.op(x, weight, *steps)
        axis = y.ndim - 1 if isinstance(self.op, Linear) else 1
        self._need(y.shape[axis], scale)
        return real(y) * reshape(scale, [n if d == axis else 1 for d, n in enumerate(y.shape)])

    def _need(self, channels: int, scale: Value) -> None:
        if scale.shape != (channels,):
            raise ValueError(f"{self.name.lower()}: {channels} channels need as many scales, got shape {scale.shape}")


class FilledQuantized(Formula):
    """A new tensor of `dtype`, filled with the number input 0, rounded to the dtype."""

    shape: tuple[int, ...]
    dtype: str
    device: str

    name = "full"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        fill = Fill(self.shape, storage(self.dtype), self.device)
        return Marked(self.dtype)(fill(Bits()(x if x.dtype == self.dtype else quantize(x, self.dtype))))


def _common(name: str, inputs: Sequence[Value]) -> str:
    """The quantised dtype that all inputs share, apart from Python numbers and bool. TypeError if there are several."""
    dtypes = list(dict.fromkeys(x.dtype for x in inputs if not x.dtype.startswith("weak_") and x.dtype != "bool"))
    if not all(_as_good_as(dtypes[0], dtype) for dtype in dtypes[1:]):
        raise TypeError(f"{name}: the operands have dtypes {' and '.join(dtypes)}; convert them to one, with astype")
    return dtypes[0]


def _as_good_as(first: str, second: str) -> bool:
    """Whether two dtypes differ only by the rounding of a scale that is a product, such as that of a bias."""
    a, b = quantized(first), quantized(second)
    if a is None or b is None or (a.kind, a.zero_point) != (b.kind, b.zero_point):
        return False
    return abs(a.scale - b.scale) <= 1e-6 * a.scale


def _mode(op: Elemwise, inputs: Sequence[Value]) -> Op:
    if op.mode in ("ADD", "SUB", "NEGATE", "RELU", "MAX", "MIN") or (op.row.result == "compare" and op.row.arity == 2):
        return OnIntegers(op.mode)
    raise undefined_for_quantized(op.name, next(x.dtype for x in inputs if x.dtype[0] == "q"))


def _converted(op: TypeCvt, inputs: Sequence[Value]) -> Op:
    return Quantize(op.dtype) if op.dtype[0] == "q" else Dequantize(op.dtype)


def _reduced(op: Reduce, inputs: Sequence[Value]) -> Op:
    if op.mode in ("MAX", "MIN"):
        return OnBits(op, True)
    if op.mode == "SUM":
        return OnSteps(op)
    raise undefined_for_quantized(op.name, inputs[0].dtype)


def _padded(op: Pad, inputs: Sequence[Value]) -> Op:
    found = known(inputs[0].dtype)
    steps = np.float32(op.fill) * (np.float32(1) / np.float32(found.scale))
    fill = np.clip(np.copysign(np.floor(np.abs(steps) + 0.5), steps) + found.zero, found.kind.qmin, found.kind.qmax)
    return OnBits(Pad(op.before, op.after, float(fill)), True)


def _itself(op: Op, inputs: Sequence[Value]) -> Op:
    return op


def _joined(op: Concat, inputs: Sequence[Value]) -> Op:
    _common(op.name, inputs)
    return op


def _placed(op: Op, inputs: Sequence[Value]) -> Op:
    _common(op.name, inputs[:2])
    if op.mode != "set":  # type: ignore[attr-defined]
        raise undefined_for_quantized(f"{op.name} (add)", inputs[0].dtype)
    return op


_FORMS: Forms = {
    **dict.fromkeys((ViewOp, Gather, Copy), _itself),
    Detach: _itself,
    Concat: _joined,
    **dict.fromkeys((PlaceView, Put), _placed),
    Elemwise: _mode,
    TypeCvt: _converted,
    Reduce: _reduced,
    Pad: _padded,
    Where: lambda op, inputs: OnBits(op, True),
    Fill: lambda op, inputs: FilledQuantized(op.shape, op.dtype, op.device),
    **dict.fromkeys((ArgExtreme, Sort), lambda op, inputs: OnBits(op, False)),
    **dict.fromkeys((MatMul, Convolution, ConvolutionBackwardData), lambda op, inputs: IntegerProduct(op)),
    **dict.fromkeys(
        (Pooling, AdaptivePooling), lambda op, inputs: OnBits(op, True) if op.mode == "max" else OnSteps(op)
    ),
    Interpolate: lambda op, inputs: OnBits(op, True) if op.mode == "nearest" else OnSteps(op),
}
QUANTIZED_FORMS.update(_FORMS)
