"""What programs ask layers by: isinstance with the bases that MegEngine has."""

from __future__ import annotations

import pytest

import tengen.module as M

# Layer → its bases up to Module, as MegEngine 1.13 has them.
BASES = {
    "Conv1d": "_ConvNd", "Conv2d": "_ConvNd", "Conv3d": "_ConvNd", "ConvTranspose2d": "_ConvNd", "ConvTranspose3d": "_ConvNd",
    "LocalConv2d": "Conv2d _ConvNd", "DeformableConv2d": "_ConvNd", "RegionRestrictedConv": "_ConvNd", "ConvRelu2d": "Conv2d _ConvNd",
    "ConvTransposeRelu2d": "ConvTranspose2d _ConvNd", "AvgPool2d": "_PoolNd", "MaxPool2d": "_PoolNd",
    "AdaptiveAvgPool2d": "_AdaptivePoolNd", "AdaptiveMaxPool2d": "_AdaptivePoolNd", "BatchNorm1d": "_BatchNorm", "BatchNorm2d": "_BatchNorm",
    "SyncBatchNorm": "_BatchNorm", "RNN": "RNNBase", "LSTM": "RNNBase", "RNNCell": "RNNCellBase", "LSTMCell": "RNNCellBase", "Linear": "",
    "LinearRelu": "Linear",
}  # fmt: skip


@pytest.mark.parametrize("layer", BASES)
def test_bases(layer):
    found = [kind.__name__ for kind in getattr(M, layer).__mro__[1:]]
    assert found[: found.index("Module")] == BASES[layer].split()
