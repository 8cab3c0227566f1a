"""`megengine.tensor` as a module; as an attribute of the package it is the function."""

from .... import Parameter, Tensor, tensor

__all__ = ["Parameter", "Tensor", "tensor"]
