"""Parts of `megengine.core._imperative_rt.core2`: what programs call of MegEngine's runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import Tensor, config
from ..ops.builtin import OpDef
from ..ops.lowering import run

__all__ = [
    "AsyncError", "Tensor", "TraceError", "apply", "astype_cpp", "broadcast_cpp", "clear_candidates", "close",
    "config_async_level", "dtype_promotion", "expand_dims_cpp", "full_sync", "get_auto_format_convert", "get_device", "get_option",
    "is_tracing_module", "make_shape_tuple", "pop_scope", "push_scope", "reshape_cpp", "set_auto_format_convert", "set_option",
    "split_cpp", "squeeze_cpp", "sync", "transpose_cpp",
]  # fmt: skip

_options: dict[str, Any] = {}


class AsyncError(RuntimeError):
    """Never raised: here, errors come at the call."""


class TraceError(RuntimeError):
    """Never raised: tengen.jit has errors of its own."""


def apply(op: OpDef, *inputs: Any) -> tuple[Any, ...]:
    """The outputs of an op, as a tuple even of one."""
    if not isinstance(op, OpDef) or not inputs:
        raise TypeError(
            f"apply takes one op of core.ops.builtin and at least one tensor, got {op!r} and {len(inputs)} tensors"
        )
    return run(op, inputs)


# -- settings: stored, but without effect except for those that tengen has


def get_option(name: str) -> Any:
    """The value of an option of the runtime."""
    return config.async_level if name == "async_level" else _options.get(name, 0)


def set_option(name: str, value: Any) -> None:
    """Give an option of the runtime a value."""
    if name == "async_level":
        config.async_level = value
    else:
        _options[name] = value


def config_async_level(level: int) -> None:
    """How late errors may come. Here they come at the call, whatever the level."""
    config.async_level = level


def get_auto_format_convert() -> bool:
    """Whether layouts are converted."""
    return bool(_options.get("auto_format_convert", False))


def set_auto_format_convert(enabled: bool) -> None:
    """Without effect: here, layouts follow the operations."""
    _options["auto_format_convert"] = enabled


# -- nothing to wait for, nothing to name


def sync() -> None:
    """Wait until everything has been computed, which is always the case."""


def full_sync() -> None:
    """Wait until everything has been computed, which is always the case."""


def close() -> None:
    """End the runtime. Here, it ends with the process."""


def clear_candidates() -> None:
    """Forget values that may be computed again."""


def push_scope(name: str) -> None:
    """Begin a named part of a profile."""


def pop_scope(name: str) -> None:
    """End a named part of a profile."""


def is_tracing_module() -> bool:
    """Whether a module is being traced into a TracedModule."""
    return False


# -- helpers of MegEngine's own functions


def make_shape_tuple(shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of ints: of a number, a tensor, or a sequence of both."""
    if isinstance(shape, Tensor):
        shape = shape.numpy().reshape(-1).tolist()
    if not isinstance(shape, Iterable):
        shape = [shape]
    return tuple(n for part in shape for n in (make_shape_tuple(part) if isinstance(part, Tensor) else (int(part),)))


def dtype_promotion(inputs: Sequence[Any]) -> np.dtype[Any]:
    """The dtype in which these operands are computed."""
    first, *others = (x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
    for other in others:
        first = F.zeros((), dtype=first.dtype) + F.zeros((), dtype=other.dtype)
    return np.dtype(first.dtype)


def get_device(inputs: Sequence[Any]) -> Any:
    """The device that operands are on."""
    return next(x.device for x in inputs if isinstance(x, Tensor))


def astype_cpp(x: Any, dtype: Any) -> Any:
    """The elements in another dtype."""
    return x.astype(dtype)


def broadcast_cpp(x: Any, shape: Any) -> Any:
    """`x` broadcast to a shape."""
    return F.broadcast_to(x, make_shape_tuple(shape))


def expand_dims_cpp(x: Any, axis: Any) -> Any:
    """`x` with dims of extent 1 in these places."""
    return F.expand_dims(x, axis)


def squeeze_cpp(x: Any, axis: Any) -> Any:
    """`x` without these dims of extent 1."""
    return F.squeeze(x, axis)


def reshape_cpp(x: Any, shape: Any) -> Any:
    """`x` in another shape."""
    return F.reshape(x, make_shape_tuple(shape))


def transpose_cpp(x: Any, pattern: Any) -> Any:
    """The dims of `x` in another order."""
    return F.transpose(x, pattern)


def split_cpp(x: Any, parts: Any, axis: int) -> Any:
    """Parts of `x` along a dim."""
    return F.split(x, parts, axis)
