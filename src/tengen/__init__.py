"""tengen: a small, fast deep-learning framework with MegEngine's API, whose kernels are generated from Python."""

from __future__ import annotations

from .core import Parameter, Tensor
from .core import Tensor as tensor
from .base.device import get_default_device, set_default_device
from . import autodiff, functional, module, optimizer, random

__version__ = "0.1.0"
