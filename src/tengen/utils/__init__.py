"""What programs use around training."""

from . import dlpack, hook

__all__ = ["dlpack", "hook"]
