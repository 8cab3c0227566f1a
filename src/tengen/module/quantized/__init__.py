"""Layers that compute with quantised numbers; `quantization.quantize` makes them of those that were trained for it."""

from .layers import *  # noqa: F403
from .layers import __all__ as _layers
from .module import QuantizedModule

__all__ = ["QuantizedModule"]
__all__ += _layers
