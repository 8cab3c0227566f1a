"""Functions that programs call to store images in another order of dims (NHWC), in which GPUs compute faster in float16."""

from __future__ import annotations

from copy import copy, deepcopy

from ..core import Tensor
from ..module import Module

__all__ = ["convert_module_format", "convert_tensor_format"]


def convert_tensor_format(x: Tensor, inplace: bool = True) -> Tensor:
    """The tensor, or with inplace=False another of the same value; there is nothing to convert.

    tengen's convolutions choose how their operands and results lie, channels last among others, and keep a copy of a
    weight that lies as they read it; so the format of tensors is always "default".

    Args:
        x: a tensor of any shape and dtype.
        inplace: whether to return the tensor itself.

    Returns: a tensor.

    Raises:
        TypeError: it is not a tensor.

    >>> from tengen.amp import convert_tensor_format
    >>> convert_tensor_format(F.ones((1, 3, 2, 2))).shape
    (1, 3, 2, 2)
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"convert_tensor_format: x must be a tensor, got {type(x).__name__}")
    return x if inplace else copy(x)


def convert_module_format(module: Module, inplace: bool = True) -> Module:
    """The module, or with inplace=False a deep copy; there is nothing to convert, see convert_tensor_format.

    Args:
        module: a Module.
        inplace: whether to return the module itself.

    Returns: a Module.

    Raises:
        TypeError: it is not a module.

    >>> from tengen.amp import convert_module_format
    >>> convert_module_format(M.ReLU())
    ReLU()
    """
    if not isinstance(module, Module):
        raise TypeError(f"convert_module_format: module must be a Module, got {type(module).__name__}")
    return module if inplace else deepcopy(module)
