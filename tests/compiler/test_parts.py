"""Reductions that are cut into parts, and those that are not."""

from __future__ import annotations

import numpy as np
import pytest
from plans import run_op

from tengen.compiler import compile_program
from tengen.compiler.program import Type, build
from tengen.core.ops.formula import Mean
from tengen.core.ops.reduce import Reduce


@pytest.mark.parametrize(
    "shape, axis, kernels", [((1000, 1000), 1, 1), ((1000, 1000), 0, 2), ((8, 50000), 1, 2), ((64, 40, 300), 2, 1)]
)
@pytest.mark.parametrize("mode", ["SUM", "MAX", "MIN", "MEAN"])
def test_reductions_are_cut_where_results_do_not_keep_the_cores_busy(shape, axis, kernels, mode):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    op = Mean((axis,)) if mode == "MEAN" else Reduce(mode, (axis,))
    plan = compile_program(build(op, [Type("float32", shape)]))
    assert len(plan.steps) == kernels
    of_numpy = {"SUM": np.sum, "MAX": np.max, "MIN": np.min, "MEAN": np.mean}[mode]
    (got,) = run_op(op, x)
    want = of_numpy(x.astype(np.float64), axis, keepdims=True)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-3 if mode == "SUM" else 1e-5)
