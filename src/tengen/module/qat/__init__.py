"""Layers that are trained with rounded weights and results; `quantization.quantize_qat` makes them of the usual ones."""

from .conv_bn import *  # noqa: F403
from .conv_bn import __all__ as _conv_bn
from .layers import *  # noqa: F403
from .layers import __all__ as _layers
from .module import QATModule

__all__ = ["QATModule"]
__all__ += _conv_bn
__all__ += _layers
