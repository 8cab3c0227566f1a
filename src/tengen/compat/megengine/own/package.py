"""Parts of the package `megengine` itself."""

from typing import Any

import tengen

from .core._imperative_rt.core2 import full_sync as _full_sync
from .core._imperative_rt.core2 import sync as _sync

__version__ = "1.13.0"
tensor: Any = tengen.tensor

__all__ = ["__version__", "_full_sync", "_sync", "tensor"]
