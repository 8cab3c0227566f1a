"""What each op of `megengine.core.ops.builtin` does, said in tengen's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

import tengen
import tengen.functional as F
from tengen import Tensor, _rt
from tengen.core.ops.formula import elementwise, modes

from ....missing import Missing

__all__: list[str] = []

_ALL_AXES = 2**31 - 1  # what MegEngine has for "no axis"
_NO_AXIS = 7

Inputs = Sequence[Any]


def run(op: Any, inputs: Inputs) -> tuple[Any, ...]:
    """The outputs of an op of `builtin`, always as a tuple."""
    rule = RULES.get(type(op).__name__)
    if rule is None:
        _absent(type(op).__name__)
    made = rule(op, *inputs)
    return tuple(made) if isinstance(made, (tuple, list)) else (made,)


def _absent(name: str) -> NoReturn:
    Missing(f"megengine.core.ops.builtin.{name}")._refuse()


def _shape(op: Any, given: Inputs) -> tuple[int, ...]:
    """The shape that an op has as a parameter, or gets as its last input."""
    return tuple(int(n) for n in (given[0].numpy() if given else op.shape))


def _elemwise(op: Any, *inputs: Any) -> Any:
    if op.mode.lower() not in modes():
        _absent(f"Elemwise.Mode.{op.mode}")
    return _rt.apply(elementwise(op.mode), *inputs)


def _multi_type(op: Any, *inputs: Any) -> Any:
    if op.mode.lower() not in modes():
        _absent(f"ElemwiseMultiType.Mode.{op.mode}")
    made = _rt.apply(elementwise(op.mode), *inputs)
    return made if op.dtype is None else made.astype(op.dtype)


def _var_shape(op: Any, *inputs: Any) -> Any:
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    chosen = shape if op.axis == _NO_AXIS else [shape[op.axis]]
    return Tensor(np.array(chosen, np.int32))


def _reshape(op: Any, x: Any, *shape: Any) -> Any:
    return F.reshape(x, _shape(op, shape))


def _add_axis(op: Any, x: Any) -> Any:
    for axis in op.axis:
        x = F.expand_dims(x, axis)
    return x


def _remove_axis(op: Any, x: Any) -> Any:
    for axis in op.axis:  # each is counted when those before it have gone
        x = F.squeeze(x, axis)
    return x


def _reduce(op: Any, x: Any) -> Any:
    if op.mode == "SUM_SQR":
        x = F.square(x)
    name = {"SUM_SQR": "sum", "PRODUCT": "prod"}.get(op.mode, op.mode.lower())
    if op.axis == _ALL_AXES:
        return getattr(x, name)()
    return getattr(x, name)(axis=op.axis, keepdims=op.keepdim)


def _index(op: Any, ndim: int, parts: Inputs) -> tuple[Any, ...]:
    """What stands between brackets, of `items`, (axis, has a start, a stop, a step, an index) of each dim, and their values."""
    index: list[Any] = [slice(None)] * ndim
    rest = iter(parts)
    for axis, *bounds, indexed in op.items:
        start, stop, step = (int(next(rest)) if present else None for present in bounds)
        index[axis] = next(rest) if indexed else slice(start, stop, step)
    return tuple(index)


def _subtensor(op: Any, x: Any, *parts: Any) -> Any:
    index = _index(op, x.ndim, parts)
    return x[tuple(int(i) if isinstance(i, Tensor) else i for i in index)]


def _take(op: Any, x: Any, *parts: Any) -> Any:
    return x[_index(op, x.ndim, parts)]


def _set(op: Any, x: Any, value: Any, *parts: Any) -> Any:
    made = F.copy(x)
    made[_index(op, x.ndim, parts)] = value
    return made


def _increase(op: Any, x: Any, value: Any, *parts: Any) -> Any:
    index = _index(op, x.ndim, parts)
    made = F.copy(x)
    made[index] = made[index] + value
    return made


def _mesh(op: Any, x: Any, *parts: Any) -> Any:
    """Each index by itself, along its own dim."""
    for axis, index in enumerate(_index(op, x.ndim, parts)):
        x = x[(slice(None),) * axis + (index,)]
    return x


def _split(op: Any, x: Any, *sizes: Any) -> Any:
    if not sizes:
        return F.split(x, op.nsections, op.axis)
    ends = np.cumsum([int(size) for size in sizes])[:-1]
    return F.split(x, [int(end) for end in ends], op.axis)


def _dimshuffle(op: Any, x: Any) -> Any:
    x = F.transpose(x, [axis for axis in op.pattern if axis >= 0])
    for place, axis in enumerate(op.pattern):
        if axis < 0:
            x = F.expand_dims(x, place)
    return x


def _topk(op: Any, x: Any, k: Any) -> Any:
    count = int(k)
    values, indices = F.topk(x, abs(count), descending=count < 0, no_sort=op.mode == "VALUE_IDX_NOSORT")
    return values[..., -1] if op.mode == "KTH_ONLY" else (values, indices)


def _argsort(op: Any, x: Any) -> Any:
    return F.sort(x, descending=op.order == "DESCENDING")


def _cumsum(op: Any, x: Any) -> Any:
    ordered = _reversed(x, op.axis) if op.reverse else x
    sums = F.cumsum(ordered, op.axis)
    if op.exclusive:
        sums = sums - ordered
    return _reversed(sums, op.axis) if op.reverse else sums


def _reversed(x: Any, axis: int) -> Any:
    return x[(slice(None),) * (axis % x.ndim) + (slice(None, None, -1),)]


def _matmul(op: Any, a: Any, b: Any) -> Any:
    return F.matmul(a, b, transpose_a=op.transposeA, transpose_b=op.transposeB)


def _set_one_hot(op: Any, x: Any, index: Any, value: Any) -> Any:
    hot = F.expand_dims(F.one_hot(index, x.shape[op.axis]), -1)
    order = [*range(hot.ndim - 2), hot.ndim - 1, hot.ndim - 2]
    order = [*order[: op.axis], order[-1], *order[op.axis : -1]]
    return F.where(F.transpose(hot, order).reshape(x.shape) > 0, F.broadcast_to(value, x.shape), x)


def _pair(op: Any, name: str) -> tuple[int, int]:
    return getattr(op, f"{name}_h"), getattr(op, f"{name}_w")


def _convolution(op: Any, x: Any, weight: Any, *bias: Any) -> Any:
    groups = weight.shape[0] if op.sparse == "GROUP" else 1
    mode = op.mode.lower()
    return F.conv2d(
        x, weight, *(bias or [None]), _pair(op, "stride"), _pair(op, "pad"), _pair(op, "dilate"), groups, mode
    )


def _convolution_backward(op: Any, weight: Any, x: Any, *shape: Any) -> Any:
    groups = weight.shape[0] if op.sparse == "GROUP" else 1
    made = F.conv_transpose2d(
        x, weight, None, _pair(op, "stride"), _pair(op, "pad"), dilation=_pair(op, "dilate"), groups=groups
    )
    return made[:, :, : int(shape[0][2]), : int(shape[0][3])] if shape else made


def _pooling(op: Any, x: Any) -> Any:
    window, stride, padding = _pair(op, "window"), _pair(op, "stride"), _pair(op, "pad")
    if op.mode == "MAX":
        return F.max_pool2d(x, window, stride, padding)
    return F.avg_pool2d(x, window, stride, padding, mode=op.mode.lower())


def _adaptive_pooling(op: Any, x: Any, *shape: Any) -> Any:
    pool = F.adaptive_max_pool2d if op.mode == "MAX" else F.adaptive_avg_pool2d
    return pool(x, _shape(op, shape))


def _padding(op: Any, x: Any) -> Any:
    width = [(getattr(op, f"front_offset_dim{i}"), getattr(op, f"back_offset_dim{i}")) for i in range(x.ndim)]
    return F.nn.pad(x, width, op.padding_mode.lower(), op.padding_val)


def _check_non_finite(op: Any, *inputs: Any) -> Any:
    bad = sum(int(not np.isfinite(x.numpy()).all()) for x in inputs)
    return (*(x * op.scale for x in inputs), Tensor(int(bad > 0)))


def _layer_norm(op: Any, x: Any, *affine: Any) -> Any:
    axes = tuple(range(x.ndim - op.normalized_dim, x.ndim))
    mean = x.mean(axis=axes)
    inverse = 1 / F.sqrt(F.square(x - x.mean(axis=axes, keepdims=True)).mean(axis=axes) + op.eps)
    return F.layer_norm(x, x.shape[-op.normalized_dim :], op.affine, *(affine or (None, None)), op.eps), mean, inverse


def _linspace(op: Any, start: Any, stop: Any, count: Any) -> Any:
    n = int(count)
    return F.linspace(start, stop, n) if op.endpoint else F.linspace(start, stop, n + 1)[:-1]


def _fill(op: Any, shape: Any) -> Any:
    return F.full(tuple(int(n) for n in shape.numpy()), op.value, dtype=op.dtype)


def _eye(op: Any, shape: Any) -> Any:
    rows, columns = (int(n) for n in shape.numpy())
    full = np.eye(rows, columns, op.k)
    return Tensor(full, dtype=op.dtype)


def _same(op: Any, x: Any, *_: Any) -> Any:
    return +x


RULES: dict[str, Callable[..., Any]] = {
    "AdaptivePooling": _adaptive_pooling,
    "AddAxis": _add_axis,
    "Argmax": lambda op, x: F.argmax(x, op.axis, keepdims=True),
    "Argmin": lambda op, x: F.argmin(x, op.axis, keepdims=True),
    "Argsort": _argsort,
    "BatchedMatrixMul": _matmul,
    "Borrow": _same,
    "Broadcast": lambda op, x, *shape: F.broadcast_to(x, _shape(op, shape)),
    "CheckNonFinite": _check_non_finite,
    "Concat": lambda op, *inputs: F.concat(inputs, op.axis),
    "CondTake": lambda op, x, mask: F.cond_take(mask, x),
    "Convolution": _convolution,
    "ConvolutionBackwardData": _convolution_backward,
    "Copy": lambda op, x: F.copy(x),
    "Cumsum": _cumsum,
    "Diag": lambda op, x: F.diag(x, op.k),
    "Dimshuffle": _dimshuffle,
    "Dot": lambda op, a, b: F.dot(a, b),
    "Dropout": lambda op, x: F.dropout(x, op.drop_prob),
    "Elemwise": _elemwise,
    "ElemwiseMultiType": _multi_type,
    "Eye": _eye,
    "FastpathCopy": _same,
    "Fill": _fill,
    "FillLike": lambda op, x: F.full_like(x, op.value),
    "GaussianRNG": lambda op, shape: tengen.random.normal(op.mean, op.std, _shape(op, (shape,))),
    "GetVarShape": _var_shape,
    "Identity": _same,
    "IncrSubtensor": _increase,
    "IndexingIncrMultiAxisVec": _increase,
    "IndexingMultiAxisVec": _take,
    "IndexingOneHot": lambda op, x, index: F.indexing_one_hot(x, index, op.axis, keepdims=True),
    "IndexingSetMultiAxisVec": _set,
    "IndexingSetOneHot": _set_one_hot,
    "InplaceAdd": lambda op, x, delta, alpha, beta: F.inplace._inplace_add_(x, delta, alpha, beta),
    "LayerNorm": _layer_norm,
    "Linspace": _linspace,
    "LRN": lambda op, x: F.local_response_norm(x, op.n, op.k, op.alpha, op.beta),
    "MaskedFill": lambda op, x, mask: F.where(mask, F.full_like(x, op.value), x),
    "MatrixInverse": lambda op, x: F.matinv(x),
    "MatrixMul": _matmul,
    "MeshGrid": lambda op, *inputs: F.meshgrid(*inputs, indexing=op.indexing),
    "MeshIndexing": _mesh,
    "Padding": _padding,
    "PermutationRNG": lambda op, n: tengen.random.permutation(int(n), dtype=op.dtype),
    "PixelShuffle": lambda op, x: F.pixel_shuffle(x, op.factor),
    "Pooling": _pooling,
    "Reduce": _reduce,
    "RemoveAxis": _remove_axis,
    "Reshape": _reshape,
    "SVD": lambda op, x: F.svd(x, op.full_matrices, op.compute_uv),
    "SetSubtensor": _set,
    "Softmax": lambda op, x: F.softmax(x, op.axis),
    "Split": _split,
    "Stack": lambda op, *inputs: F.stack(inputs, op.axis),
    "Subtensor": _subtensor,
    "TopK": _topk,
    "TypeCvt": lambda op, x: x.astype(op.dtype),
    "UniformRNG": lambda op, shape: tengen.random.uniform(size=_shape(op, (shape,))),
}
