"""What programs use around training."""

from . import dlpack, hook, module_stats, weights

__all__ = ["dlpack", "hook", "module_stats", "weights"]
