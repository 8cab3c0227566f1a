"""Parts of `megengine.core.tensor.utils`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import tengen.functional as F

from ...... import Tensor
from .._imperative_rt.core2 import apply, astype_cpp, dtype_promotion, get_device, make_shape_tuple
from ..ops import builtin
from .dtype import is_dtype_equal, is_quantize

__all__ = [
    "_normalize_axis", "apply", "astensor1d", "astype_cpp", "cast_tensors", "convert_inputs", "convert_single_value", "dtype_promotion",
    "get_device", "interpret_subgraph", "is_dtype_equal", "is_quantize", "isscalar", "make_shape_tuple", "result_type", "setscalar",
    "subgraph", "subgraph_fn",
]  # fmt: skip

# The meaning of the strings of a subgraph, by the number of operands.
_MODES = {
    ("-", 1): "NEGATE", ("abs", 1): "ABS", ("exp", 1): "EXP", ("log1p", 1): "LOG1P", ("relu", 1): "RELU", ("cond_leq_mov", 3): "COND_LEQ_MOV",
    ("fma3", 3): "FUSE_MUL_ADD3", ("fma4", 4): "FUSE_MUL_ADD4", ("+", 2): "ADD", ("-", 2): "SUB", ("*", 2): "MUL", ("/", 2): "TRUE_DIV",
    ("//", 2): "FLOOR_DIV", ("**", 2): "POW", ("max", 2): "MAX", ("min", 2): "MIN", ("additive", 2): "ADD", ("exp", 2): "EXP",
    ("switch_gt0", 2): "SWITCH_GT0", ("abs_grad", 2): "ABS_GRAD",
}  # fmt: skip


def isscalar(x: Any) -> bool:
    """Whether `x` is a number or a 0-d tensor."""
    return x.ndim == 0 if isinstance(x, Tensor) else bool(np.isscalar(x))


def setscalar(x: Tensor) -> None:
    """Turn a tensor of one element into a 0-d tensor."""
    x._reset(x.reshape(()))


def convert_single_value(v: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """`v` as a tensor. A tensor keeps its device, and its dtype if it cannot hold the requested dtype without loss."""
    return v if isinstance(v, Tensor) else Tensor(v, dtype=dtype, device=None if device is None else str(device))


def convert_inputs(*args: Any, device: Any = None) -> tuple[Any, ...]:
    """Operands as tensors of one dtype; None stays."""
    present = [x for x in args if x is not None]
    if not present:
        return args
    dtype = dtype_promotion(present)
    tensors = ((x if isinstance(x, Tensor) else Tensor(x, dtype=dtype)) if x is not None else None for x in args)
    return tuple(x if x is None or np.dtype(x.dtype) == dtype else x.astype(dtype) for x in tensors)


def cast_tensors(*args: Any, promote: bool = False) -> tuple[Any, ...]:
    """Operands as tensors of float16 at the least, of float32 with `promote`."""
    return tuple(x.astype("float32") if promote and x is not None else x for x in args)


def result_type(*args: Any) -> Any:
    """The dtype in which these operands are computed."""
    return dtype_promotion(args)


def astensor1d(x: Any, *reference: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of one dim from a tensor, or a sequence of numbers and tensors."""
    if not isinstance(x, (Tensor, np.ndarray)):
        if not isinstance(x, Iterable):
            raise TypeError(f"astensor1d takes a tensor, an array or a sequence, got {type(x).__name__}")
        parts = [part.reshape(-1) if isinstance(part, Tensor) else Tensor([part]) for part in x]
        if any(isinstance(part, Tensor) for part in x):
            x = F.concat([part if dtype is None else part.astype(dtype) for part in parts])
    made = convert_single_value(x, dtype=dtype, device=device)
    if made.ndim != 1:
        raise ValueError(f"astensor1d makes a tensor of one dim, but this one has shape {made.shape}")
    return made if dtype is None else made.astype(dtype)


def _normalize_axis(ndim: int, axis: int | Iterable[int], reverse: bool = False) -> int | list[int]:
    """Axes counted from the front, in order."""
    if isinstance(axis, Iterable):
        found = [_one_axis(ndim, one) for one in axis]
        if len(set(found)) != len(found):
            raise AssertionError(f"axes {found} are not distinct")
        return sorted(found, reverse=reverse)
    return _one_axis(ndim, axis)


def _one_axis(ndim: int, axis: int) -> int:
    if not -ndim <= axis < ndim:
        raise AssertionError(f"axis {axis} is out of bounds for tensor of dimension {ndim}")
    return axis % ndim


def interpret_subgraph(func: Callable[..., Any], dtype: Any, device: Any) -> Callable[..., tuple[Any, ...]]:
    """The function of a subgraph, described by `func(inputs, f, c)` with `f(op, *operands)` and `c(number)`."""

    def constant(value: Any, dtype: Any = dtype, device: Any = device) -> Tensor:
        return Tensor(value, dtype=dtype)

    def called(op: Any, *operands: Any) -> Any:
        if isinstance(op, str):
            op = builtin.Elemwise(_MODES[op, len(operands)])
        elif callable(op) and not isinstance(op, builtin.OpDef):
            return op(*operands)
        made = apply(op, *operands)
        return made[0] if len(made) == 1 else made

    def run(*inputs: Any) -> tuple[Any, ...]:
        outputs, _ = func(inputs, called, constant)
        return tuple(outputs)

    return run


class Subgraph(builtin.OpDef):
    """An op that is made of others."""

    name: str
    rule: Callable[..., tuple[Any, ...]]

    def __init__(self, name: str, rule: Callable[..., tuple[Any, ...]]):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "rule", rule)

    def _key(self) -> tuple[Any, ...]:
        return (id(self.rule),)

    def __repr__(self) -> str:
        return self.name


def subgraph(
    name: str,
    dtype: Any,
    device: Any,
    nr_inputs: int,
    gopt_level: int | None = None,
    jit_fusion: bool = False,
    custom_grad: bool = False,
) -> Callable[[Callable[..., Any]], Callable[[], Subgraph]]:
    """A decorator that turns the description of a subgraph into a function that returns an op for `apply`."""

    def decorated(func: Callable[..., Any]) -> Callable[[], Subgraph]:
        run = subgraph_fn(name, dtype, device, nr_inputs)(func)
        op = Subgraph(name, lambda _, *inputs: run(*inputs))
        return lambda: op

    return decorated


def subgraph_fn(
    name: str,
    dtype: Any,
    device: Any,
    nr_inputs: int,
    gopt_level: int | None = None,
    jit_fusion: bool = False,
    custom_grad: bool = False,
    *,
    interpret: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., tuple[Any, ...]]]:
    """A decorator that turns the description of a subgraph into a function of tensors. Its gradient is that of what it
    is made of."""

    def decorated(func: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        run = interpret_subgraph(func, dtype, device)

        def function(*inputs: Any) -> tuple[Any, ...]:
            if len(inputs) != nr_inputs:
                raise TypeError(f"the subgraph {name} takes {nr_inputs} inputs, got {len(inputs)}")
            return run(*inputs)

        return function

    return decorated
