"""Compares the results of a graph with those of the program when it was traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Tensor
from .node import Node
from .pytree import tree_flatten, tree_map
from .shape import plain
from .tm_config import _get_expr_checker


class TracedModuleError(RuntimeError):
    """The recorded graph does not do what the module does."""


def checks_expressions() -> bool:
    """Whether each expression is run again after it was recorded."""
    return _get_expr_checker()


def check_expression(expr: Any, bound: Any, result: Any, recorder: Any) -> None:
    """Raise TracedModuleError if an expression returns another result for the same arguments."""
    leaves, _ = tree_flatten(tree_map(recorder.value_of, bound))
    inputs = [value for value, leaf in zip(leaves, expr._leaves, strict=True) if isinstance(leaf, Node)]
    recorder.inside += 1
    try:
        again = expr._run(*inputs)
    finally:
        recorder.inside -= 1
    compare(again, result, f"expression {expr._text()}")


def compare(ours: Any, wanted: Any, what: str) -> None:
    """Raise TracedModuleError if the first differs from the second by more than rounding."""
    found, structure = tree_flatten(tree_map(plain, ours))
    expected, expected_structure = tree_flatten(tree_map(plain, wanted))
    if len(found) != len(expected):
        raise TracedModuleError(f"{what} gives {structure}, and the module gave {expected_structure}")
    for place, (a, b) in enumerate(zip(found, expected, strict=True)):
        if not isinstance(b, (Tensor, int, float, np.ndarray)):
            continue
        a, b = np.asarray(_array(a)), np.asarray(_array(b))
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True):
            most = f", by up to {np.abs(a - b).max():.3g}" if a.shape == b.shape and a.dtype.kind == "f" else ""
            raise TracedModuleError(
                f"{what}: result {place} differs from what the module gave{most}. Values that the program reads (item, numpy, bool) or "
                "random numbers may be the reason; wrap() the function that does so, or call disable_default_checker()"
            )


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
