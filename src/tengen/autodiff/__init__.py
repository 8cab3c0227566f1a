"""Gradients: `GradManager` records what happens to tensors and differentiates it, `Function` holds a gradient of the
user's own.
"""

from .function import Function
from .grad_manager import GradManager, GradManagerGroup

__all__ = ["Function", "GradManager", "GradManagerGroup"]
