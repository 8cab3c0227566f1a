"""Tensors and the op table. Importing this connects the runtime with the compiler."""

from .._rt import apply
from .build import check_misc
from .convert import dense_order, inverse, widened
from .tensor import Parameter, Tensor, as_it_lies
from .update import fused_update

__all__ = [
    "Parameter",
    "Tensor",
    "apply",
    "as_it_lies",
    "check_misc",
    "dense_order",
    "fused_update",
    "inverse",
    "widened",
]
