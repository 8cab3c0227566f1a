"""What each op of `megengine.core.ops.builtin` does, in terms of tengen's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

import tengen.functional as F

from ...... import Tensor, _rt
from ......base.dtype import canonical
from ......core.ops.formula import elementwise, modes
from ......core.ops.quantized import Rounded
from ......optimizer import lamb
from .._imperative_rt.ops import generator
from . import images, indexing, layers
from .helpers import kept, shape_of

__all__: list[str] = []

_ALL_AXES = 2**31 - 1  # megEngine's number for "no axis"
_NO_AXIS = 7

Inputs = Sequence[Any]


def run(op: Any, inputs: Inputs) -> tuple[Any, ...]:
    """The outputs of an op of `builtin`, always as a tuple."""
    rule = getattr(op, "rule", None) or RULES[type(op).__name__]
    made = rule(op, *inputs)
    return tuple(made) if isinstance(made, (tuple, list)) else (made,)


def _refused(reason: str) -> Callable[..., NoReturn]:
    def refuse(op: Any, *_: Any) -> NoReturn:
        raise RuntimeError(f"{op!r} {reason}")

    return refuse


def _elemwise(op: Any, *inputs: Any) -> Any:
    return _rt.apply(elementwise(op.mode.name), *inputs)


def _multi_type(op: Any, *inputs: Any) -> Any:
    name = op.mode.name
    if name.startswith("FUSE_MUL_ADD3"):
        a, b, c = inputs
        made = a * b + c
    elif name.startswith("MUL_"):
        made = inputs[0] * inputs[1]
    elif name.lower() in modes():
        made = _elemwise(op, *inputs)
    elif name.startswith("Q") and name[1:].lower() in modes():  # of quantised numbers
        return _rt.apply(Rounded(elementwise(name[1:]), canonical(op.dtype)), *inputs)
    else:
        raise NotImplementedError(f"{op!r}: {op.mode} shifts and saturates integers, which tengen has no op for")
    return made if op.dtype is None else made.astype(op.dtype)


def _var_shape(op: Any, *inputs: Any) -> Any:
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    chosen = shape if op.axis == _NO_AXIS else [shape[op.axis]]
    return Tensor(np.array(chosen, np.int32))


def _reshape(op: Any, x: Any, *shape: Any) -> Any:
    return F.reshape(x, shape_of(op, shape))


def _add_axis(op: Any, x: Any) -> Any:
    for axis in op.axis:
        x = F.expand_dims(x, axis)
    return x


def _remove_axis(op: Any, x: Any) -> Any:
    for axis in op.axis:  # each axis is counted after those before it have been removed
        x = F.squeeze(x, axis)
    return x


def _reduce(op: Any, x: Any) -> Any:
    if op.mode == "SUM_SQR":
        x = F.square(x)
    name = {"SUM_SQR": "sum", "PRODUCT": "prod"}.get(op.mode.name, op.mode.name.lower())
    if op.axis == _ALL_AXES:
        return getattr(x, name)()
    return getattr(x, name)(axis=op.axis, keepdims=op.keepdim)


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


def _padding(op: Any, x: Any) -> Any:
    width = [(getattr(op, f"front_offset_dim{i}"), getattr(op, f"back_offset_dim{i}")) for i in range(x.ndim)]
    return F.nn.pad(x, width, op.padding_mode.name.lower(), op.padding_val)


def _check_non_finite(op: Any, *inputs: Any) -> Any:
    bad = sum(int(not np.isfinite(x.numpy()).all()) for x in inputs)
    return (*(x * op.scale for x in inputs), Tensor(int(bad > 0)))


def _linspace(op: Any, start: Any, stop: Any, count: Any) -> Any:
    n = int(count)
    return F.linspace(start, stop, n) if op.endpoint else F.linspace(start, stop, n + 1)[:-1]


def _fill(op: Any, shape: Any) -> Any:
    return F.full(shape_of(op, (shape,)), op.value, dtype="float32" if op.dtype is None else op.dtype)


def _eye(op: Any, shape: Any) -> Any:
    rows, columns = shape_of(op, (shape,))
    return Tensor(np.eye(rows, columns, op.k), dtype=op.dtype)


def _same(op: Any, x: Any, *_: Any) -> Any:
    return +x


def _assert_equal(op: Any, expected: Any, found: Any, *_: Any) -> Any:
    """The first input, if the second is about equal."""
    larger = F.maximum(F.maximum(F.abs(expected), F.abs(found)), 1.0)
    error = float(F.max(F.abs(expected - found) / larger))
    if not error <= op.maxerr:
        raise AssertionError(
            f"AssertEqual: values differ by {error:.4g} of their size, which is more than {op.maxerr:.4g}"
        )
    return _same(op, expected)


# -- parameters of an optimizer, in one tensor or separately. `offsets`: where each begins and ends. ---


def _pack(op: Any, *inputs: Any) -> Any:
    """The last input holds the offsets again."""
    *tensors, _ = inputs
    starts, stops = op.offsets[::2], op.offsets[1::2]
    parts = []
    for x, start, before in zip(tensors, starts, [0, *stops[:-1]], strict=True):
        parts += [F.zeros(start - before, dtype=x.dtype)] * (start > before) + [x.reshape(-1)]
    return F.concat(parts)


def _unpack(op: Any, x: Any) -> Any:
    places = zip(op.offsets[::2], op.offsets[1::2], op.shapes, strict=True)
    return tuple(x[start:stop].reshape(tuple(shape)) for start, stop, shape in places)


def _lamb(op: Any, m: Any, v: Any, w: Any, g: Any) -> Any:
    """The moments and the parameter after a step."""
    corrections = [1 - beta**op.step if op.bias_correction else 1.0 for beta in (op.beta_1, op.beta_2)]
    rates = op.lr, op.beta_1, 1 - op.beta_1, op.beta_2, 1 - op.beta_2, *corrections, op.eps, op.weight_decay
    w, m, v = lamb.moments(op.always_adapt or op.weight_decay > 0, w, m, v, g, *rates)
    return m, v, w


# -- random numbers


def _normal(op: Any, shape: Any) -> Any:
    return generator(op.handle).normal(op.mean, op.std, shape_of(op, (shape,)))


def _uniform(op: Any, shape: Any) -> Any:
    return generator(op.handle).uniform(size=shape_of(op, (shape,)))


def _permutation(op: Any, n: Any) -> Any:
    return generator(op.handle).permutation(int(n), dtype=op.dtype)


def _shuffled(op: Any, x: Any) -> Any:
    """The rows in another order, and that order."""
    order = generator(op.handle).permutation(x.shape[0])
    return x[order], order


RULES: dict[str, Callable[..., Any]] = {
    **images.RULES,
    **indexing.RULES,
    **layers.RULES,
    "AddAxis": _add_axis,
    "Argmax": lambda op, x: F.argmax(x, op.axis, keepdims=True),
    "Argmin": lambda op, x: F.argmin(x, op.axis, keepdims=True),
    "Argsort": _argsort,
    "AssertEqual": _assert_equal,
    "Barrier": lambda op, *_: tuple(kept("int32") for _ in range(op.nr_outputs)),
    "BatchedMatrixMul": _matmul,
    "BetaRNG": lambda op, a, b: generator(op.handle).beta(a, b),
    "Borrow": _same,
    "Broadcast": lambda op, x, *shape: F.broadcast_to(x, shape_of(op, shape)),
    "CheckNonFinite": _check_non_finite,
    "CollectiveComm": lambda op, x: F.distributed.collective_comm(x, op.mode, None, None),
    "Concat": lambda op, *inputs: F.concat(inputs, op.axis),
    "CondTake": lambda op, x, mask: F.cond_take(mask, x),
    "Copy": lambda op, x: F.copy(x),
    "Cumsum": _cumsum,
    "Diag": lambda op, x: F.diag(x, op.k),
    "Dimshuffle": _dimshuffle,
    "Dot": lambda op, a, b: F.dot(a, b),
    "Dropout": lambda op, x: (F.dropout(x, op.drop_prob), kept("uint8")),
    "Elemwise": _elemwise,
    "ElemwiseMultiType": _multi_type,
    "Eye": _eye,
    "FastpathCopy": _same,
    "Fill": _fill,
    "FillLike": lambda op, x: F.full_like(x, op.value),
    "GammaRNG": lambda op, shape, scale: generator(op.handle).gamma(shape, scale),
    "GaussianRNG": _normal,
    "GetVarShape": _var_shape,
    "Identity": _same,
    "InplaceAdd": lambda op, x, delta, alpha, beta: F.inplace._inplace_add_(x, delta, alpha, beta),
    "LAMBUpdate": _lamb,
    "Linspace": _linspace,
    "MaskedFill": lambda op, x, mask: F.where(mask, F.full_like(x, op.value), x),
    "MatrixInverse": lambda op, x: F.matinv(x),
    "MatrixMul": _matmul,
    "MeshGrid": lambda op, *inputs: F.meshgrid(*inputs, indexing=op.indexing),
    "Padding": _padding,
    "ParamPackConcat": _pack,
    "ParamPackSplit": _unpack,
    "PermutationRNG": _permutation,
    "PoissonRNG": lambda op, lam: generator(op.handle).poisson(lam),
    "Reduce": _reduce,
    "RemoteRecv": lambda op, *x: F.distributed.remote_recv(op.rank_from, None, *x),
    "RemoteSend": lambda op, x: F.distributed.remote_send(x, op.rank_to),
    "RemoveAxis": _remove_axis,
    "Reshape": _reshape,
    "ShuffleRNG": _shuffled,
    "SVD": lambda op, x: F.svd(x, op.full_matrices, op.compute_uv),
    "Softmax": lambda op, x: F.softmax(x, op.axis),
    "Split": _split,
    "Stack": lambda op, *inputs: F.stack(inputs, op.axis),
    "TopK": _topk,
    "TypeCvt": lambda op, x: x.astype(op.dtype),
    "UniformRNG": _uniform,
}
_LIBRARIES = {
    "AtlasRuntime": "Ascend's",
    "CambriconRuntime": "Cambricon's",
    "ExternOpr": "a loader's own",
    "MagicMindRuntime": "Cambricon's",
    "TensorRTRuntime": "NVIDIA's",
}
REFUSED: dict[str, Callable[..., NoReturn]] = {
    **{
        name: _refused(
            f"runs a network that {owner} compiler has made, by its runtime, which tengen does not use; run the network itself"
        )
        for name, owner in _LIBRARIES.items()
    },
    "PyOpBase": _refused(
        "is what ops written in Python derive from; tengen's are functions, see tengen.autodiff.Function"
    ),
}
RULES |= REFUSED
