"""Quantised networks in ONNX, run by ONNX Runtime: equal, but for what lies in the middle between two integers."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_harness import sound

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import dtype as dt
from tengen.base.errors import ExportError
from tengen.jit import trace
from tengen.quantization import calibrate

RNG = np.random.default_rng(0)


class Net(M.Module):
    """What quantised networks are made of."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant, self.add, self.concat = (
            M.QuantStub(),
            M.DequantStub(),
            M.Elemwise("FUSE_ADD_RELU"),
            M.Concat(),
        )
        self.stem, self.body = M.ConvBnRelu2d(3, 8, 3, 2, 1), M.ConvBn2d(8, 8, 3, padding=1)
        self.depthwise, self.head = M.ConvRelu2d(16, 16, 3, groups=16), M.Linear(32, 5)

    def forward(self, x):
        x = self.stem(self.quant(x))
        x = self.concat([self.add(self.body(x), x), F.relu(x)], 1)
        x = F.max_pool2d(F.avg_pool2d(self.depthwise(x), 3, 2), 2)
        return self.dequant(self.head(F.flatten(x, 1)))


def exported(function, *inputs):
    """What ONNX Runtime computes of a function, what tengen does, and how often the file has each operator."""
    run = trace(capture_as_const=True)(function)
    want, file = run(*inputs).numpy(), io.BytesIO()
    run.dump(file, dump_format="ONNX")
    model = sound(file)
    options = onnxruntime.SessionOptions()
    # it would leave out what is rounded twice
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    found = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [x.name for x in found.get_inputs()]
    (got,) = found.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    return got, want, Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def assert_same_steps(got, want, scale, most=1.0):
    """Equal to a step, and nearly all of them equal."""
    steps = np.abs(got.astype(np.float64) - want) / scale
    assert steps.max() < most + 0.01
    assert np.mean(steps > 0.01) < 0.02


def array(*shape):
    return tengen.tensor(RNG.standard_normal(shape, np.float32))


def test_a_network():
    tengen.random.seed(0)
    net, x = Net(), array(4, 3, 21, 20)
    net.eval()
    made = calibrate(net, [x]).network
    got, want, operators = exported(made, x)
    assert_same_steps(got, want, float(dt.get_scale(made.head.output_dtype)), 2.0)
    assert np.ptp(want) > 0
    assert operators["Conv"] == 3 and operators["Gemm"] + operators["MatMul"] == 1
    assert operators["QuantizeLinear"] >= 6 and operators["DequantizeLinear"] >= 12
    # scales of channels are those of DequantizeLinear
    assert not {"Round", "Floor", "ConvInteger", "MatMulInteger", "Mul"} & set(operators)


@pytest.mark.parametrize("dtype", [dt.qint8(0.05), dt.quint8(0.05, 77)], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        lambda q: q + q,
        lambda q: F.maximum(q, F.relu(q)),
        lambda q: F.max_pool2d(q, 2),
        lambda q: F.avg_pool2d(q, 3, 1),
        lambda q: F.concat([q, F.relu(q)], 1)[:, ::2].transpose(0, 2, 3, 1),
        lambda q: F.vision.interpolate(q, scale_factor=2, mode="nearest"),
        lambda q: F.nn.pad(q, ((0, 0), (0, 0), (1, 1), (2, 0)), constant_value=0.3),
        lambda q: F.where(q > q.transpose(0, 1, 3, 2), q, F.relu(q)),
        lambda q: q.astype(dt.qint8(0.031)),
    ],
    ids=["add", "maximum", "max_pool", "avg_pool", "moved", "nearest", "pad", "where", "requantised"],
)
def test_ops(function, dtype):
    x = array(2, 3, 6, 6)
    got, want, _ = exported(lambda x: function(x.astype(dtype)).astype("float32"), x)
    assert_same_steps(got, want, 0.05)


def test_4_bits_are_refused():
    with pytest.raises(ExportError, match="quantised"):
        exported(lambda x: x.astype(dt.qint4(0.1)).astype("float32"), array(3))
