"""Automatic mixed precision.

`enabled`, `low_prec_dtype` and `high_prec_dtype` say what holds in this thread, and set it: `tengen.amp.enabled = True` is an
`autocast` without an end.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .autocast import autocast
from .convert_format import convert_module_format, convert_tensor_format
from .grad_scaler import GradScaler
from .precision import current, float_name, switch

__all__ = ["GradScaler", "autocast", "convert_module_format", "convert_tensor_format"]

enabled: bool
low_prec_dtype: str
high_prec_dtype: str


class _Package(ModuleType):
    """The package, with the settings of autocast as attributes."""

    @property
    def enabled(self) -> bool:
        """Whether this thread computes in mixed precision."""
        return current().enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        switch(current()._replace(enabled=bool(value)))

    @property
    def low_prec_dtype(self) -> str:
        """What the low precision was asked to be; "float16" by default."""
        return current().low

    @low_prec_dtype.setter
    def low_prec_dtype(self, dtype: Any) -> None:
        switch(current()._replace(low=float_name("low_prec_dtype", dtype)))

    @property
    def high_prec_dtype(self) -> str:
        """What the high precision was asked to be; "float32" by default."""
        return current().high

    @high_prec_dtype.setter
    def high_prec_dtype(self, dtype: Any) -> None:
        switch(current()._replace(high=float_name("high_prec_dtype", dtype)))


sys.modules[__name__].__class__ = _Package
