"""Networks that are traced by MegEngine and by tengen, and what is noted of each. Written once for both: `names` has their modules."""

from __future__ import annotations

from typing import Any

import numpy as np


def fill(module: Any) -> Any:
    """Give all parameters values that depend on their order and size alone."""
    for index, (_, parameter) in enumerate(sorted(module.named_parameters())):
        shape = tuple(map(int, parameter.numpy().shape))
        values = (np.arange(int(np.prod(shape))) * (3 + index) % 11 - 4) / 8
        parameter.set_value(values.reshape(shape).astype("float32"))
    return module


def image(names: Any, *shape: int) -> Any:
    """A tensor with values of both signs."""
    values = (np.arange(int(np.prod(shape))) * 7 % 13 - 6) / 4
    return names["mge"].tensor(values.reshape(shape).astype("float32"))


def clipped(x, low=0.0, *, high=1.0):
    """What a graph does not show: it decides by values."""
    return x * high + low if float(x.sum()) > -100 else x + 100


def models(names: Any) -> dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Each network with the arguments that it is traced with."""
    F, M, mge, tm = names["F"], names["M"], names["mge"], names["tm"]

    class Block(M.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = M.Conv2d(channels, channels, 3, padding=1)
            self.bn = M.BatchNorm2d(channels)

        def forward(self, x):
            y = F.relu(self.bn(self.conv(x)))
            return y + x

    class Nested(M.Module):
        def __init__(self):
            super().__init__()
            self.stem = M.Conv2d(3, 4, 3, padding=1)
            self.stages = M.Sequential(Block(4), Block(4))
            self.heads = [M.Linear(4, 2), M.Linear(2, 2)]
            self.parts = {"act": M.ReLU(), "block": Block(4)}
            self.scale = mge.Parameter(np.ones(2, "float32"))

        def forward(self, x, factor=2.0, *, flag=True):
            x = self.stages(self.stem(x))
            x = self.parts["act"](self.parts["block"](x))
            x = F.avg_pool2d(x, 2).mean(axis=3).mean(axis=2)
            for head in self.heads:
                x = head(x)
            x = x * self.scale + factor
            a, b = F.split(x, 2, axis=1)
            x = x.reshape(x.shape[0], -1)
            return {"out": x, "halves": (a[0], b)}

    class Base(M.Module):
        def forward(self, x):
            return F.exp(x)

    class Derived(Base):
        def forward(self, x):
            return super().forward(x) + 1

    class Repeated(M.Module):
        def __init__(self):
            super().__init__()
            self.linear = M.Linear(4, 4)
            self.weight = mge.Parameter(np.ones(4, "float32"))
            self.base = Base()

        def forward(self, x):
            x = self.linear(self.linear(x))
            x = x * self.weight
            x = x * self.weight
            return self.base(self.base(x)) + self.base.forward(x)

    class Attributes(M.Module):
        def __init__(self):
            super().__init__()
            self.act = F.relu
            self.times = 3

        def forward(self, x):
            return self.helper(F.relu(self.act(x))) * self.times

        def helper(self, x):
            return F.exp(x)

    class Constants(M.Module):
        def forward(self, x):
            a = mge.tensor([1.0, 2, 3, 4])
            b, c, d = F.zeros(4), F.ones((2, 4)), np.ones(4, "float32")
            return x + a + b + c + d + F.concat([a, b]).sum() + F.arange(4)

    class Shapes(M.Module):
        def forward(self, x):
            n, c = x.shape
            if x.shape[0] > 1:
                x = x * 2
            rest = n * 2 + c // 2
            y = F.zeros((n, c)) + 2
            z = F.flatten(x.reshape(n, c), 1).astype("float32")
            return y, z, x[:n, 1:3], x.T, rest, x.reshape(n, -1), x[..., None]

    class Arguments(M.Module):
        def forward(self, x, more, y=None, *, z=1):
            x = x + z
            x += 1
            x -= 0.5
            return F.maximum(x, more[0]), more[1]["a"] * 2

    class Operators(M.Module):
        def forward(self, x, m):
            above = x > 1
            a = (-x, 2 - x, 2 / x, x**2, F.where(above, x, -x), abs(x), x @ x.T, F.topk(x, 2), x.transpose(1, 0))
            b = (above & ~above, F.squeeze(F.expand_dims(x, 0), 0), F.maximum(m, 0), x.max(axis=1), x.flatten())
            c = (
                F.normalize(x, axis=1),
                F.cond_take(above, x),
                x == 1,
                x[above],
                round(x),
                x.mean(),
                F.stack([x, m], axis=0),
            )
            d = (
                F.vision.interpolate(m.reshape(1, 1, 2, 4), scale_factor=2),
                F.loss.l1_loss(x, m),
                x.sum(axis=(0, 1), keepdims=True),
            )
            return a, b, c, d, x // 2, x % 2, 2**x, x.astype("int32"), x.detach(), 1 + x, x.min(), x.prod(0)

    class Inner(M.Module):
        def __init__(self):
            super().__init__()
            self.l = M.Linear(4, 4)
            self.w = mge.Parameter(np.ones(4, "float32"))
            self.acts = [M.ReLU(), [M.ReLU(), M.Sigmoid()]]

        def forward(self, x, k=1):
            x = self.acts[1][1](self.acts[0](x))
            for act in self.acts[1]:
                x = act(x)
            return self.l(x) * k

        def helper(self, x):
            return x * self.w

    class Names(M.Module):
        def __init__(self):
            super().__init__()
            self.conv_1, self.conv1, self.a_1_2 = M.Linear(4, 4), M.Linear(4, 4), M.Linear(4, 4)
            self.x, self.relu_out, self.p_, self._p = M.ReLU(), M.ReLU(), M.ReLU(), M.ReLU()
            self.inner = Inner()
            self.seq = M.Sequential(Inner(), M.ReLU(), F.relu)

        def forward(self, x, y_1=None):
            x = self.conv1(self.conv_1(x))
            x = self.relu_out(self.x(F.relu(self.conv_1(self.conv_1(x)))))
            x = self.a_1_2(self.a_1_2(self._p(self.p_(x))))
            x = self.inner(x)
            x = self.inner.l(x)
            x = self.inner.helper(self.seq[0](x))
            x = self.seq(x)
            return self.seq[0].l(x)

    class Passing(M.Module):
        def __init__(self):
            super().__init__()
            self.inner = PassingInner()

        def forward(self, given):
            found = self.inner({"a": given["x"], "l": [given["y"], (given["z"],)]}, n=(1,))
            return found["u"], found["v"][0] + found["v"][1], [found["w"]]

    class PassingInner(M.Module):
        def forward(self, d, n):
            return {"v": [d["a"] * 2, d["l"][0] + 1], "u": F.concat([d["a"], d["l"][1][0]], axis=1), "w": d["a"].sum(n)}

    globals()["wrap"] = tm.wrap
    exec("wrap(clipped)", globals())  # which MegEngine wants to see at the top level of a module

    class Wrapped(M.Module):
        def forward(self, x):
            return clipped(x) + clipped(x, low=-1.0, high=0.5)

    class Opaque(M.Module):
        def __init__(self):
            super().__init__()
            self.block = OpaqueBlock()

        def forward(self, x):
            return self.block(x, 2.0) * 3

    class OpaqueBlock(M.Module):
        def forward(self, x, k):
            return F.exp(x) * k

    tm.register_as_builtin(OpaqueBlock)

    class Quantised(M.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = M.QuantStub(), M.DequantStub()
            self.conv, self.point = M.ConvBnRelu2d(3, 4, 3), M.Conv2d(4, 4, 1)
            self.add, self.linear = M.Elemwise("FUSE_ADD_RELU"), M.Linear(16, 2)

        def forward(self, x):
            x = self.conv(self.quant(x))
            x = self.dequant(self.add(x, self.point(x)))
            return self.linear(F.flatten(x, 1))

    x, pixels = image(names, 2, 4), image(names, 2, 3, 4, 4)
    twice, third = image(names, 2, 4), image(names, 2, 4)
    nested, names_net, quantised = Nested(), Names(), Quantised()
    for net in (nested, quantised):
        net.eval()
    return {
        "nested": (fill(nested), (pixels,), {}),
        "derived": (Derived(), (x,), {}),
        "repeated": (fill(Repeated()), (x,), {}),
        "attributes": (Attributes(), (x,), {}),
        "constants": (Constants(), (x,), {}),
        "shapes": (Shapes(), (x,), {}),
        "arguments": (Arguments(), (x, [twice, {"a": third}]), {"z": 3}),
        "operators": (Operators(), (x, twice), {}),
        "names": (fill(names_net), (x,), {}),
        "passing": (Passing(), ({"x": x, "y": twice, "z": third},), {}),
        "wrapped": (Wrapped(), (x,), {}),
        "opaque": (Opaque(), (x,), {}),
        "quantised": (fill(quantised), (pixels,), {}),
    }


def plain(value: Any) -> Any:
    """Results as lists of numbers."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value).astype("float64").round(6).tolist()


def graphs(module: Any, prefix: str = "") -> dict[str, str]:
    """The text of the graph of each module inside, in order of names."""
    found = {}
    for name, child in [("", module), *sorted(module.named_modules())]:
        for graph in getattr(child, "argdef_graph_map", {}).values():
            found[name] = str(graph)
    return found


def nodes(graph: Any) -> list[Any]:
    """Id, name, way, class and shape of each node of a graph."""
    found = []
    for node in graph.nodes().as_list():
        shape = getattr(node, "shape", None) if type(node).__name__ == "TensorNode" else None
        shape = None if shape is None else [int(size) for size in tuple(shape)]
        found.append([node._id, node.name, node.qualname, type(node).__name__, shape])
    return found


def about(names: Any, name: str) -> dict[str, Any]:
    """What is recorded of a network."""
    module, args, kwargs = models(names)[name]
    traced = names["tm"].trace_module(module, *args, **kwargs)
    flat = traced.flatten()
    return {
        "module": str(traced),
        "graphs": graphs(traced),
        "flat": str(flat.graph),
        "nodes": nodes(traced.graph),
        "flat_nodes": nodes(flat.graph),
        "argdef": [repr(key) for key in traced.argdef_graph_map],
        "outdef": [repr(value) for value in traced.argdef_outdef_map.values()],
        "result": plain(traced(*args, **kwargs)),
    }
