"""Modules as graphs that may be read, changed, run, trained and saved."""

from . import (
    checker,
    expr,
    fake_quant,
    module_tracer,
    node,
    pytree,
    saved,
    serialization,
    tm_config,
    traced_module,
    utils,
)
from .pytree import register_supported_type
from .tm_config import disable_default_checker, enable_expr_checker
from .traced_module import TracedModule, register_as_builtin, trace_module, wrap

__all__ = [
    "TracedModule",
    "disable_default_checker",
    "enable_expr_checker",
    "register_as_builtin",
    "register_supported_type",
    "trace_module",
    "wrap",
]
