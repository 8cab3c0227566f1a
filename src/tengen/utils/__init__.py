"""What programs use around training."""

from . import dlpack, hook, weights

__all__ = ["dlpack", "hook", "weights"]
