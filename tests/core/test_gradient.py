"""Programs of gradients: what they compute, and what they take from the forward run."""

from __future__ import annotations

from tengen.compiler.program import Contraction, Type, ViewOp
from tengen.core.gradient import backward
from tengen.core.ops.create import Diag
from tengen.core.ops.recurrent import LSTMCell


def test_the_gradient_of_a_formula_starts_from_results_that_it_uses_itself():
    """The gates are a result of the cell, and its states are computed from them: four products, none of the forward run again."""
    n, i, h = 3, 4, 5
    gates, state = Type("float32", (n, 4 * h)), Type("float32", (n, h))
    shapes = [(n, i), (4 * h, i), (4 * h,), (n, h), (4 * h, h), (4 * h,)]
    inputs = (*(Type("float32", shape) for shape in shapes), state)
    found = backward(LSTMCell(), inputs, (state, state, gates), (True,) * 7, (True, True, False))
    assert found.op is not None
    products = [node for node in found.op.program.nodes if isinstance(node.op, Contraction)]
    assert len(products) == 4


def test_the_gradient_of_a_diagonal_reads_nothing_else():
    vector, matrix = Type("float32", (1000,)), Type("float32", (1002, 1002))
    found = backward(Diag(-2), (vector,), (matrix,), (True,), (True,))
    assert found.op is not None
    assert all(isinstance(node.op, ViewOp) for node in found.op.program.nodes)
