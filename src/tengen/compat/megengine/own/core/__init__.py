"""Parts of `megengine.core`."""

from ._imperative_rt.core2 import get_option, set_option

__all__ = ["get_option", "set_option"]
