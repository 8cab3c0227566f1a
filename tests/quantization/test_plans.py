"""A quantised network is one Program, in whose memory no floats are between the layers."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.compiler import passes
from tengen.compiler.schedule.driver import Scheduler
from tengen.compiler.targets import host
from tengen.compiler.view import contiguous
from tengen.examples.digits.quantized import QuantLeNet
from tengen.jit import trace
from tengen.quantization import calibrate

RNG = np.random.default_rng(0)


class Block(M.Module):
    """Two convolutions and a shortcut. He et al. 2016, figure 5 left."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.first = M.ConvBnRelu2d(i, o, 3, stride, 1, bias=False)
        self.second = M.ConvBn2d(o, o, 3, 1, 1, bias=False)
        self.shortcut = M.Identity() if i == o and stride == 1 else M.ConvBn2d(i, o, 1, stride, bias=False)
        self.add = M.Elemwise("fuse_add_relu")

    def forward(self, x):
        return self.add(self.second(self.first(x)), self.shortcut(x))


class ResNet18(M.Module):
    """He et al. 2016, with an eighth of the channels."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.stem = M.ConvBnRelu2d(3, 8, 7, 2, 3, bias=False)
        widths = [8, 8, 8, 16, 16, 32, 32, 64, 64]
        blocks = [Block(i, o, 1 if i == o else 2) for i, o in itertools.pairwise(widths)]
        self.blocks, self.head = M.Sequential(*blocks), M.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(F.max_pool2d(self.stem(self.quant(x)), 3, 2, 1))
        return self.dequant(self.head(F.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


class Mixed(M.Module):
    """Depthwise and grouped convolutions, what joins values, and images that are resized."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant, self.concat = M.QuantStub(), M.DequantStub(), M.Concat()
        self.wide, self.depthwise = M.ConvBnRelu2d(3, 12, 1), M.ConvBnRelu2d(12, 12, 3, 1, 1, groups=12)
        self.grouped = M.ConvRelu2d(24, 24, 3, groups=2)

    def forward(self, x):
        x = self.wide(self.quant(x))
        x = self.concat([x, self.depthwise(x)], 1)
        x = F.vision.interpolate(F.avg_pool2d(x, 3, 2, 1), scale_factor=2, mode="nearest")
        x = F.vision.interpolate(x, (12, 15), mode="bilinear")
        return self.dequant(self.grouped(x))


def quantised(net, *shape):
    tengen.random.seed(0)
    for seed, (_, tensor) in enumerate(net.named_tensors()):
        tensor.set_value(np.random.default_rng(seed).standard_normal(tensor.shape, np.float32))
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.running_var.set_value(np.abs(module.running_var.numpy()) + 0.5)
    net.eval()
    x = tengen.tensor(RNG.standard_normal(shape, np.float32))
    return calibrate(net, [x]).network, x


NETWORKS = {
    "digits": (QuantLeNet, (3, 1, 32, 32), {"conv2d": 2, "matmul": 3}),
    "resnet18": (ResNet18, (2, 3, 64, 64), {"conv2d": 20, "matmul": 1}),
    "mixed": (Mixed, (2, 3, 16, 18), {"conv2d": 3}),
}


def program_of(net, x):
    run = trace(without_host=True)(net)
    traced = [run(x).numpy() for _ in range(2)]
    (kind,) = run._kinds.values()
    return kind.standalone[0].segment.op.program, traced[-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_floats_are_in_memory_between_layers(name):
    make, shape, products = NETWORKS[name]
    net, x = quantised(make(), *shape)
    program, traced = program_of(net, x)
    np.testing.assert_array_equal(traced, net(x).numpy())
    program = passes.run(program)
    made = Scheduler(program, [contiguous(v.shape) for v in program.inputs], host.host_target())
    made.lower()
    ends = {*program.inputs, *program.outputs}
    inside = [v for v in made.where if v not in ends and v.shape[0] == shape[0]]
    assert inside
    assert {v.dtype for v in inside} <= {"int8", "uint8"}, [(v.op, v.type) for v in inside if v.dtype != "int8"]
    assert dict(Counter(step.name for step in made.steps if step.name in products)) == products
