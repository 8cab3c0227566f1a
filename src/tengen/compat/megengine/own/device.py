"""Parts of `megengine.device`."""

from ....device import what_is_xpu

__all__ = ["what_is_xpu"]
