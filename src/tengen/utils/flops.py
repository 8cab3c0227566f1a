"""Counts the operations of layers and ops. A multiplication and the addition that follows it count as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ..compiler.program import (
    Composite,
    Contraction,
    Elementwise,
    Op,
    Prefix,
    Program,
    Reduction,
    Scatter,
    Type,
    build,
)
from ..core.ops.loop import Scan
from ..core.ops.pool import AdaptivePooling, Pooling

Shape = tuple[int, ...]


def convolution(outputs: int, window: int, bias: bool) -> int:
    """One sum over a window, with all channels that it sees, for each of `outputs` elements."""
    return outputs * (window + bias)


def transposed_convolution(inputs: int, window: int, outputs: int, bias: bool) -> int:
    """One window of products, for all channels that see it, for each of `inputs` elements."""
    return inputs * window + outputs * bias


def linear(outputs: int, features: int, bias: int) -> int:
    """One sum over the features for each of `outputs` elements, and `bias` additions."""
    return outputs * features + bias


def normalization(inputs: int) -> int:
    """Mean, variance, and the normalisation itself."""
    return 7 * inputs


def pooling(outputs: int, window: Shape) -> int:
    """One window for each of `outputs` elements."""
    return outputs * prod(window)


def adaptive_pooling(outputs: int, have: Shape, want: Shape) -> int:
    """For each of `outputs` elements, the window that reduces the input sizes to the output sizes."""
    return pooling(outputs, tuple(-(-a // b) for a, b in zip(have, want, strict=True) if b))


# -- of ops ------------------------------------------------------------------------------------------------------

Count = Callable[[Op, Sequence[Type], Sequence[Type]], int]


def _window(x: Type, w: Type) -> int:
    """The elements of one output channel of a weight, with or without a dim for groups."""
    return prod(w.shape[-(len(x.shape) - 1) :])


def _convolution(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    return convolution(outputs[0].size, _window(*inputs[:2]), getattr(op, "bias", False))


def _transposed(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    return transposed_convolution(inputs[0].size, _window(*inputs[:2]), outputs[0].size, getattr(op, "bias", False))


def _by_weight(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    """As many products as in the convolution itself: one for each element of dy and tap of the window."""
    dy = max(inputs, key=lambda t: t.size) if len(inputs) < 2 else inputs[1]
    return dy.size * _window(inputs[0], outputs[0])


def _linear(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    return linear(outputs[0].size, inputs[0].shape[-1], inputs[2].size if len(inputs) > 2 else 0)


def _product(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    shape = inputs[0].shape
    return linear(outputs[0].size, shape[-2] if getattr(op, "transpose_a", False) else shape[-1], 0)


def _normalization(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    return normalization(inputs[0].size)


def _pooling(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    assert isinstance(op, Pooling)
    return pooling(outputs[0].size, op.kernel)


def _adaptive_pooling(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    assert isinstance(op, AdaptivePooling)
    return adaptive_pooling(outputs[0].size, inputs[0].shape[2:], outputs[0].shape[2:])


_RULES: dict[str, Count] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "Convolution"), _convolution),
    **dict.fromkeys(("ConvTranspose2d", "ConvTranspose3d", "ConvolutionBackwardData"), _transposed),
    "ConvolutionBackwardFilter": _by_weight,
    "Linear": _linear,
    **dict.fromkeys(("MatMul", "Product"), _product),
    **dict.fromkeys(("BatchNorm", "BatchNormInference", "Normalize", "GroupNorm"), _normalization),
    "Pooling": _pooling,
    "AdaptivePooling": _adaptive_pooling,
}


def flops(op: Op, inputs: Sequence[Type], outputs: Sequence[Type]) -> int:
    """The operations of an op on inputs of these types: the rule of its kind of layer, or the sum over its parts.

    An element-wise op counts its outputs, a reduction its inputs; ops that only move elements count as 0.

    >>> from tengen.compiler.program import Type
    >>> from tengen.core.ops.linalg import MatMul
    >>> flops(MatMul(), [Type("float32", (2, 3)), Type("float32", (3, 4))], [Type("float32", (2, 4))])
    24
    """
    rule = _RULES.get(type(op).__name__)
    if rule is not None:
        return rule(op, inputs, outputs)
    if isinstance(op, Composite):
        return program_flops(build(op, inputs))
    if isinstance(op, Elementwise):
        return 0 if op.converts else outputs[0].size
    if isinstance(op, (Reduction, Prefix)):
        return inputs[0].size
    if isinstance(op, Scatter):
        return inputs[1].size if op.mode == "add" else 0
    if isinstance(op, Scan):
        steps = inputs[op.states].shape[0]
        along = [Type(t.dtype, t.shape[1:]) for t in inputs[op.states : op.states + op.sequences]]
        return steps * program_flops(
            build(op.body, [*inputs[: op.states], *along, *inputs[op.states + op.sequences :]])
        )
    assert not isinstance(op, Contraction), f"{op.name} has no rule"
    return 0


def program_flops(program: Program) -> int:
    """The operations of all nodes of a Program."""
    return sum(flops(n.op, [v.type for v in n.inputs], [v.type for v in n.outputs]) for n in program.nodes)
