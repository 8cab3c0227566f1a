"""Element-wise modes that are formulae: their gradients against central differences."""

from __future__ import annotations

import numpy as np
import pytest
from checks import check_gradient, check_second_gradient

import tengen.module as M
from tengen.core.ops.formula import ACTIVATIONS

POINTS = np.array([[0.53, -0.27, 0.91], [1.37, -1.74, 2.62], [-4.3, 3.7, 5.1]])
FIRST = {"acosh_grad": np.abs(POINTS) + 1.1, "atanh_grad": POINTS / 6}
ARITY = {mode: formula.__code__.co_argcount for mode, formula in ACTIVATIONS.items() if mode != "rmulh"}


#: Straight lines between their corners, which have a second gradient only through their operands.
STRAIGHT = set(
    """relu6 hsigmoid leaky_relu prelu clip abs_grad switch_gt0 cond_leq_mov cond_lt_mov fuse_add_relu prelu_grad relu6_grad
    hsigmoid_grad h_swish_grad""".split()
)


@pytest.mark.parametrize("mode", ARITY)
def test_gradients(mode):
    others = [np.roll(POINTS, 1, (0, 1)) * 0.9, np.roll(POINTS, 2, (0, 1)) * 0.8, POINTS[::-1] * 0.7]
    arrays = [FIRST.get(mode, POINTS), *others][: ARITY[mode]]
    check_gradient(M.Elemwise(mode), arrays)
    power = 3 if mode in STRAIGHT else 1
    check_second_gradient(lambda *xs: M.Elemwise(mode)(*(x**power for x in xs)), arrays)
