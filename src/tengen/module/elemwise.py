"""Element-wise functions as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import functional as F
from ..core import Tensor
from .module import Module


def _after_add(activation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: activation(x + y)


# Names of modes that are not names of functions.
_MODES: dict[str, Callable[..., Any]] = {
    "true_div": F.div,
    "max": F.maximum,
    "min": F.minimum,
    "negate": F.neg,
    "lt": F.less,
    "leq": F.less_equal,
    "eq": F.equal,
    "h_swish": F.hswish,
    "fast_tanh": F.tanh,
    "switch_gt0": lambda x, y: F.where(x > 0, y, F.zeros_like(y)),
    "cond_leq_mov": lambda x, y, z: F.where(x <= y, z, F.zeros_like(z)),
    "log_sum_exp": F.logaddexp,
    "fuse_add_relu": _after_add(F.relu),
    "fuse_add_sigmoid": _after_add(F.sigmoid),
    "fuse_add_tanh": _after_add(F.tanh),
    "fuse_add_h_swish": _after_add(F.hswish),
    "fuse_mul_add3": lambda x, y, z: x * y + z,
    "fuse_mul_add4": lambda x, y, z, w: x * y + z * w,
}
_FUNCTIONS = [
    "abs",
    "acos",
    "add",
    "asin",
    "atan2",
    "ceil",
    "cos",
    "exp",
    "expm1",
    "floor",
    "floor_div",
    "gelu",
    "hsigmoid",
    "log",
    "log1p",
    "logsigmoid",
    "mod",
    "mul",
    "pow",
    "prelu",
    "relu",
    "relu6",
    "round",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "sub",
    "tanh",
]


class Elemwise(Module):
    """An element-wise function as a layer, so that quantisation can find it.

    Args:
        method: its name, in upper or lower case: "add", "sub", "mul", "true_div", "relu", "exp" …, or a fused one such
        as
            "fuse_add_relu" (relu(x + y)) and "fuse_mul_add3" (x · y + z).
    """

    def __init__(self, method: str, name: str | None = None):
        super().__init__(name)
        mode = str(method).lower()
        if mode not in _MODES and mode not in _FUNCTIONS:
            raise ValueError(
                f"{method!r} is not an element-wise method; those are {', '.join(sorted([*_MODES, *_FUNCTIONS]))}"
            )
        self.method = method

    def forward(self, *inps: Tensor) -> Tensor:
        mode = str(self.method).lower()
        function = _MODES.get(mode) or getattr(F, mode)
        return function(*inps)
