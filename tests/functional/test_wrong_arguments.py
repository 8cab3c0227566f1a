"""Arguments of the wrong kind are refused by the name of the function and of the argument."""

from __future__ import annotations

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.optimizer import SGD


@pytest.mark.parametrize("wrong", [None, "a", [1.0, 2.0], np.zeros(3)], ids=str)
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, n: F.leaky_relu(x, n), "leaky_relu: negative_slope"),
        (lambda x, n: F.local_response_norm(x, 3, alpha=n), "local_response_norm: alpha"),
        (lambda x, n: F.dropout(x, n), "dropout: drop_prob"),
        (lambda x, n: F.pad(x, ((1, 1),), constant_value=n), "pad: constant_value"),
        (
            lambda x, n: F.vision.roi_align(x, Tensor([[0.0, 0, 0, 1, 1]]), 1, spatial_scale=n),
            "roi_align: spatial_scale",
        ),
        (lambda x, n: F.loss.cross_entropy(x, Tensor([0]), label_smooth=n), "cross_entropy: label_smooth"),
        (lambda x, n: F.arange(0, 3, n), "arange: a number"),
        (lambda x, n: F.linspace(0, n, 3), "linspace: stop"),
        (lambda x, n: M.Dropout(n), "Dropout: drop_prob"),
        (lambda x, n: M.PReLU(1, n), "PReLU: init"),
        (lambda x, n: M.LSTM(1, 1, dropout=n), "LSTM: dropout"),
        (lambda x, n: M.MultiHeadAttention(2, 1, attn_dropout=n), "MultiHeadAttention: attn_dropout"),
        (lambda x, n: SGD([Parameter([1.0])], lr=n), "SGD: lr"),
    ],
)
def test_what_is_no_number_is_refused_by_name(call, message, wrong):
    with pytest.raises(TypeError, match=f"{message} takes a number, got"):
        call(F.zeros((1, 3, 2, 2)), wrong)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.prelu(x, F.zeros(3)), r"prelu: shapes \(1, 3, 2, 2\) and \(3,\) do not broadcast"),
        (lambda x: F.logaddexp(x, F.zeros(3)), "logaddexp: shapes"),
    ],
)
def test_shapes_that_do_not_broadcast_name_the_function(call, message):
    with pytest.raises(ValueError, match=message):
        call(F.zeros((1, 3, 2, 2)))


@pytest.mark.parametrize("bounds", [(np.nan,), (0, np.inf), (0, 3, np.nan)])
def test_a_range_without_end(bounds):
    with pytest.raises(ValueError, match="arange: start, stop and step must be finite"):
        F.arange(*bounds)
