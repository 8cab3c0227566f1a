"""A traced network is taken apart and put together, as tools for deployment do it: batch normalisation is folded into convolutions by editing graphs,
activations are replaced, layers are trained, quantised, saved and loaded."""

from __future__ import annotations

import io
from typing import Any

import megengine as mge
import megengine.functional as F
import megengine.module as M
import megengine.quantization as Q
import numpy as np
from common import array, fixed, labels, maybe_traced
from megengine.autodiff import GradManager
from megengine.optimizer import SGD
from megengine.traced_module import TracedModule, trace_module
from megengine.traced_module.expr import CallFunction, CallMethod
from megengine.traced_module.node import ModuleNode, TensorNode
from megengine.traced_module.utils import assign_attr, get_subattr

TOLERANCES = (2e-3, 1e-4)


class Block(M.Module):
    """Convolution, normalisation, activation, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = M.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = M.BatchNorm2d(channels)

    def forward(self, x: Any) -> Any:
        return F.relu(self.bn(self.conv(x))) + x


class Net(M.Module):
    """Blocks in a Sequential, pooling, a classifier, and sizes that are read from shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = M.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = M.BatchNorm2d(8)
        self.blocks = M.Sequential(Block(8), Block(8))
        self.head = M.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        n, c = x.shape[0], x.shape[1]
        return self.head(F.mean(x.reshape(n, c, -1), axis=2))


def fold(module: TracedModule) -> int:
    """Puts each batch normalisation of a flattened module into the convolution before it; says how many there were."""
    graph, count = module.graph, 0
    for node in graph.get_module_by_type(M.BatchNorm2d).as_list():
        assert isinstance(node, ModuleNode)
        call = node.users[0]
        before = call.inputs[1].expr
        assert isinstance(before, CallMethod) and len(before.outputs[0].users) == 1
        bn, conv = node.owner, before.inputs[0].owner
        scale = bn.weight / F.sqrt(bn.running_var + bn.eps)
        new = M.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
        new.weight = mge.Parameter(conv.weight * scale.reshape(-1, 1, 1, 1))
        bias = 0 if conv.bias is None else conv.bias
        new.bias = mge.Parameter((bias - bn.running_mean) * scale + bn.bias)
        assign_attr(new, module, before.inputs[0].expr.name)
        assert get_subattr(module, before.inputs[0].expr.name) is new
        graph.replace_node({call.outputs[0]: before.outputs[0]})
        count += 1
    graph.compile()
    return count


def summary(value: Any) -> list[float]:
    """A few numbers of a tensor."""
    values = value.numpy().astype("float64")
    return [float(values.mean()), float(np.abs(values).mean()), float(values.reshape(-1)[0])]


def run(traced: bool) -> list[float]:
    """Results of the network after each change."""
    x, y = mge.tensor(array(4, 3, 16, 16)), mge.tensor(labels(5, 4))
    net = fixed(Net())
    net(x)
    net.eval()
    module = trace_module(net, x)
    found = summary(module(x)) + summary(module(x[:2]))

    flat = module.flatten()
    found += [float(fold(flat)), *summary(flat(x))]
    graph = flat.graph
    found += [float(len(graph.exprs().as_list())), float(len(graph.nodes().as_list()))]

    for expr in graph.get_function_by_type(F.relu).as_list():
        assert isinstance(expr, CallFunction) and isinstance(expr.outputs[0], TensorNode)
        with graph.insert_exprs():
            new = F.leaky_relu(expr.inputs[0], 0.1) * 0.9
        graph.replace_node({expr.outputs[0]: new})
    graph.compile()
    found += summary(flat(x))

    manager, sgd = GradManager().attach(flat.parameters()), SGD(flat.parameters(), lr=0.05)

    def step(x: Any, y: Any) -> Any:
        with manager:
            loss = F.nn.cross_entropy(flat(x), y)
            manager.backward(loss)
        sgd.step().clear_grad()
        return loss

    step = maybe_traced(step, traced)
    found += [step(x, y).item() for _ in range(3)]

    Q.quantize_qat(flat, qconfig=Q.min_max_fakequant_qconfig)
    flat.train()
    flat(x)
    flat.eval()
    file = io.BytesIO()
    mge.save(flat, file)
    file.seek(0)
    loaded = mge.load(file)
    names = [[node.name for node in one.graph.nodes()] for one in (loaded, flat)]
    assert names[0] == names[1]
    return found + summary(loaded(x))
