"""What is checked while a module is traced."""

from __future__ import annotations

__all__ = ["disable_default_checker", "enable_expr_checker"]

_expressions = False
_results = True


def enable_expr_checker() -> None:
    """Have each expression run once more when it is recorded, and compared with what the program computed.

    So a call that has not been recorded as it is, is found where it stands. It costs a second run of everything.
    """
    global _expressions
    _expressions = True


def disable_default_checker() -> None:
    """Do not compare what a traced module gives with what the module gave: `trace_module` does that at its end."""
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
