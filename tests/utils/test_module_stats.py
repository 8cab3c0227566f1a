"""module_stats: figures as MegEngine 1.13 gives them, receptive fields by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.utils import module_stats as S


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.c = M.Conv2d(3, 8, 3, padding=1)
        self.bn = M.BatchNorm2d(8)
        self.r = M.ReLU()
        self.p = M.MaxPool2d(2, 2)
        self.g = M.Conv2d(8, 8, 3, groups=8, bias=False)
        self.fc = M.Linear(8 * 6 * 6, 5)

    def forward(self, x):
        x = self.p(self.r(self.bn(self.c(x))))
        return self.fc(F.flatten(self.g(x), 1))


def test_a_network(caplog):
    net = Net()
    with caplog.at_level(logging.INFO):
        total, rows = S.module_stats(net, input_shapes=(2, 3, 16, 16))
    assert total == (7028, 1757, 155525, 39208, 9802)
    assert total.flops == 155525
    names = [(row["name"], row.get("class_name"), row["flops"]) for row in rows.flops]
    assert names == [
        ("c", "Conv2d", "114.688 KOPs"),
        ("bn", "BatchNorm2d", "28.672 KOPs"),
        ("p", "MaxPool2d", "4.096 KOPs"),
        ("g", "Conv2d", "5.184 KOPs"),
        ("fc", "Linear", "2.885 KOPs"),
        ("total", None, "155.525 KOPs"),
    ]
    assert [row["name"] for row in rows.params] == ["bn-b", "bn-w", "c-b", "c-w", "fc-b", "fc-w", "g-w", "total"]
    weight = rows.params[5]
    assert (weight["shape"], weight["param_dim"], weight["size"], weight["percentage"]) == (
        (5, 288),
        1440,
        "5.625 KiB",
        "81.96%",
    )
    assert rows.activations[0]["shape"] == (2, 8, 16, 16)
    for said in (
        "param stats",
        "flops stats",
        "activations stats",
        "total_flops       155.525 KOPs",
        "flops/param_size  22.129",
    ):
        assert said in caplog.text
    assert "####################" in caplog.text


def test_the_network_is_left_as_it_was():
    net = Net()
    net.bn.eval()
    before = net.state_dict()
    S.module_stats(net, inputs=np.ones((1, 3, 16, 16), np.float32), logging_to_stdout=False)
    assert (net.training, net.c.training, net.bn.training) == (True, True, False)
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())
    assert not net.c._forward_hooks


@pytest.mark.parametrize(
    "layer, shape, flops",
    [
        (lambda: M.Conv1d(4, 6, 3), (2, 4, 9), 2 * 6 * 7 * 13),
        (lambda: M.ConvTranspose2d(4, 6, 3, 2, groups=2), (2, 4, 5, 5), 6852),
        (lambda: M.ConvTranspose2d(4, 6, 3, 2, bias=False), (2, 4, 5, 5), 10800),
        (lambda: M.AvgPool2d(3, 1, 1), (2, 3, 8, 8), 3456),
        (lambda: M.LayerNorm(8), (2, 3, 8), 336),
        (lambda: M.GroupNorm(2, 4), (2, 4, 3, 3), 504),
        (lambda: M.InstanceNorm(4), (2, 4, 3, 3), 504),
        (lambda: M.BatchNorm1d(4), (2, 4), 56),
        (lambda: M.ConvRelu2d(3, 4, 3), (1, 3, 5, 5), 1008),
        (lambda: M.ConvBn2d(3, 4, 3), (1, 3, 5, 5), 1260),
        (lambda: M.LinearRelu(3, 4), (2, 3), 28),
        (lambda: M.Linear(3, 4), (2, 5, 3), 124),
        (lambda: M.ReLU(), (2, 3), 0),
        # Here MegEngine counts outputs only: 24.
        (lambda: M.AdaptiveAvgPool2d((2, 2)), (2, 3, 8, 8), 384),
    ],
)
def test_layers(layer, shape, flops):
    assert S.module_stats(M.Sequential(layer()), input_shapes=[shape], logging_to_stdout=False)[0].flops == flops


def test_what_is_counted():
    total, rows = S.module_stats(
        Net(), input_shapes=(1, 3, 16, 16), cal_params=False, cal_activations=False, logging_to_stdout=False
    )
    assert total == (0, 0, 77765, 0, 0)
    assert [row["name"] for row in rows.activations] == ["c", "bn", "p", "g", "fc"]


def test_several_inputs():
    class Two(M.Module):
        def __init__(self):
            super().__init__()
            self.fc = M.Linear(2, 2)

        def forward(self, a, b):
            return self.fc(a + b)

    for how in (
        {"input_shapes": [(1, 2), (1, 2)]},
        {"inputs": [np.ones((1, 2), np.float32), Tensor([[1.0, 2.0]])]},
        {"inputs": {"a": np.ones((1, 2), np.float32), "b": Tensor([[1.0, 2.0]])}},
    ):
        assert S.module_stats(Two(), logging_to_stdout=False, **how)[0].flops == 6
    with pytest.raises(ValueError, match="inputs, or input_shapes"):
        S.module_stats(Two())
    with pytest.raises(ValueError, match="inputs, or input_shapes"):
        S.module_stats(Two(), inputs=1, input_shapes=(1,))


def test_receptive_fields():
    class Deep(M.Module):
        def __init__(self):
            super().__init__()
            self.c = M.Conv2d(1, 2, 3, 2, 1)
            self.p = M.MaxPool2d(2, 2)
            self.d = M.Conv2d(2, 2, (3, 1), dilation=2)

        def forward(self, x):
            return self.d(self.p(F.relu(self.c(x))))

    S.enable_receptive_field()
    try:
        _, rows = S.module_stats(Deep(), input_shapes=(1, 1, 32, 32), logging_to_stdout=False)
    finally:
        S.disable_receptive_field()
    found = [(row["receptive_field"], row["stride"]) for row in rows.flops[:-1]]
    # 3; 3 + 1·2; 5 + 4·4 in height, where the window of three spans five
    assert found == [((3, 3), (2, 2)), ((5, 5), (4, 4)), ((21, 5), (4, 4))]
    assert (
        "receptive_field"
        not in S.module_stats(Deep(), input_shapes=(1, 1, 32, 32), logging_to_stdout=False)[1].flops[0]
    )


def test_numbers_for_people():
    got = [
        S.sizeof_fmt(1500, suffix="OPs"),
        S.sizeof_fmt(2000, ""),
        S.sizeof_fmt(5e9),
        S.sizeof_fmt(1023),
        S.sizeof_fmt(1024),
    ]
    assert got == ["1.500 KOPs", "2.000 K", "4.657 GiB", "1023.000 B", "1.000 KiB"]
