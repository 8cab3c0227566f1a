"""Tensors and the op table. Importing this connects the runtime with the compiler."""

from .._rt import apply
from .tensor import Parameter, Tensor
from .update import fused_update

__all__ = ["Parameter", "Tensor", "apply", "fused_update"]
