"""What programs use around training."""

from . import bn_fusion, dlpack, hook, module_stats, profiler, weights
from .finite import check_finite

__all__ = ["bn_fusion", "check_finite", "dlpack", "hook", "module_stats", "profiler", "weights"]
