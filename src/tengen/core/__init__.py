"""Tensors and the op table. Importing this connects the runtime with the compiler."""

from .._rt import apply
from .build import check_misc
from .tensor import Parameter, Tensor
from .update import fused_update

__all__ = ["Parameter", "Tensor", "apply", "check_misc", "fused_update"]
