"""What programs use around training."""

from . import bn_fusion, dlpack, hook, module_stats, weights

__all__ = ["bn_fusion", "dlpack", "hook", "module_stats", "weights"]
