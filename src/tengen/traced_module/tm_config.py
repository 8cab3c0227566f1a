"""Settings: what is checked while a module is traced."""

from __future__ import annotations

__all__ = ["disable_default_checker", "enable_expr_checker"]

_expressions = False
_results = True


def enable_expr_checker() -> None:
    """Run each expression once more when it is recorded, and compare the result with that of the program.

    This finds a call that was recorded wrongly at the place where it happens. It doubles the time of tracing.
    """
    global _expressions
    _expressions = True


def disable_default_checker() -> None:
    """Do not compare the results of a traced module with those of the module, which `trace_module` does at its end."""
    global _results
    _results = False


def _enable_default_checker() -> None:
    global _results
    _results = True


def _disable_expr_checker() -> None:
    global _expressions
    _expressions = False


def _get_default_checker() -> bool:
    return _results


def _get_expr_checker() -> bool:
    return _expressions
