"""The settings of tengen as attributes: `tengen.config.num_threads = 1`. `tengen.base.config.KNOBS` lists them."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from . import _rt
from .base import config as _config
from .base.config import override

__all__ = ["override", *(knob.name for knob in _config.KNOBS)]


class _Settings(ModuleType):
    """A module whose attributes are read from and written to the table of settings."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _config.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system sets names such as __spec__ on every module.
        if name.startswith("__"):
            return super().__setattr__(name, value)
        _config.set(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """By its name, as picklers of functions do it with modules of the usual class."""
        return import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


_all_cores = _rt.get_num_threads()
_config.watch("num_threads", lambda number: _rt.set_num_threads(number or _all_cores))
_config.watch("plan_cache_limit", _rt.plan_cache_limit)
_config.watch("winograd", lambda _: _rt.plan_cache_clear())
_config.watch("tf32", lambda _: _rt.plan_cache_clear())
sys.modules[__name__].__class__ = _Settings
