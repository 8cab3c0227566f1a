"""Traced modules in files: what comes back is the same, and a file brings nothing but data."""

from __future__ import annotations

import io
import json

import models
import numpy as np
import pytest
import record_graphs as record

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.base.errors import SerializationError
from tengen.quantization import ema_fakequant_qconfig, quantize, quantize_qat
from tengen.traced_module import module_tracer, register_as_builtin, register_supported_type, saved, trace_module, wrap

NAMES = record.names_of("tengen")


def again(module):
    file = io.BytesIO()
    tengen.save(module, file)
    file.seek(0)
    return tengen.load(file)


@pytest.mark.parametrize("name", models.models(NAMES))
def test_what_is_loaded_is_the_same(name):
    module, args, kwargs = models.models(NAMES)[name]
    traced = trace_module(module, *args, **kwargs)
    loaded = again(traced)
    assert models.graphs(loaded) == models.graphs(traced)
    assert str(loaded) == str(traced)
    assert models.nodes(loaded.graph) == models.nodes(traced.graph)
    assert list(loaded.argdef_graph_map) == list(traced.argdef_graph_map)
    assert models.plain(loaded(*args, **kwargs)) == models.plain(traced(*args, **kwargs))
    assert str(loaded.flatten().graph) == str(traced.flatten().graph)
    assert list(loaded.state_dict()) == list(traced.state_dict())


def test_what_is_loaded_can_be_changed_and_trained():
    net = M.Sequential(M.Linear(4, 3), M.ReLU())
    loaded = again(trace_module(net, F.ones((2, 4))))
    linear = loaded.graph.get_method_by_type("__call__").as_list()[0]
    with loaded.graph.insert_exprs():
        out = F.exp(linear.outputs[0])
    assert out.id == 6
    loaded.graph.replace_node({linear.outputs[0]: out})
    gm = tengen.autodiff.GradManager().attach(loaded.parameters())
    with gm:
        gm.backward(loaded(F.ones((2, 4))).sum())
    x, w, b = np.ones((2, 4)), net[0].weight.numpy(), net[0].bias.numpy()
    np.testing.assert_allclose(loaded.state_dict()["0.weight"], w)
    grads = {name: parameter.grad.numpy() for name, parameter in loaded.named_parameters()}
    np.testing.assert_allclose(grads["0.bias"], np.exp(x @ w.T + b).sum(axis=0), rtol=1e-4)


def test_shared_parameters_stay_shared():
    class Twice(M.Module):
        def __init__(self):
            super().__init__()
            self.a = M.Linear(3, 3)
            self.b = M.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    loaded = again(trace_module(Twice(), F.ones((1, 3))))
    assert loaded.a.weight is loaded.b.weight


def test_quantised_networks_in_all_stages():
    x = models.image(NAMES, 2, 3, 4, 4)
    net = models.models(NAMES)["quantised"][0]
    for name, parameter in net.named_parameters():
        parameter.set_value(
            F.ones_like(parameter) * 0.1 + 0.1 * models.image(NAMES, *parameter.shape) * ("bn" not in name)
        )
    net.linear.disable_quantize()  # which stands behind the DequantStub
    quantize_qat(net, qconfig=ema_fakequant_qconfig)
    net.train()
    net(x)
    net.eval()
    traced = trace_module(net, x)
    loaded = again(traced)
    assert np.isfinite(net(x).numpy()).all()
    assert np.array_equal(loaded(x).numpy(), net(x).numpy())
    nodes = {node.name: node for node in loaded.graph.nodes() if hasattr(node, "qparams")}
    assert nodes["conv_out"].qparams.scale.item() == pytest.approx(traced.conv.act_observer.get_qparams().scale.item())
    integers = quantize(loaded)
    integers.eval()
    assert isinstance(integers.conv, M.quantized.ConvBnRelu2d)
    assert np.array_equal(again(integers)(x).numpy(), integers(x).numpy())


class Scaled(M.Module):
    def __init__(self):
        super().__init__()
        self.factor = tengen.Parameter([2.0])

    def forward(self, x):
        return x * self.factor


@wrap
def doubled(x):
    return x * 2


class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b


register_supported_type(Pair, lambda pair: ([pair.a, pair.b], None), lambda items, _: Pair(*items))


class Mixed(M.Module):
    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x):
        return Pair(doubled(self.scaled(x)), x)


def test_what_the_program_registers_is_saved_by_name():
    register_as_builtin(Scaled)
    loaded = again(trace_module(Mixed(), F.ones(3)))
    assert type(loaded.scaled) is Scaled
    assert loaded(F.ones(3)).a.tolist() == [4, 4, 4]


def _file(text, tensors=()):
    class Wanted:
        saved_as = "traced_module"

    file = io.BytesIO()
    original = saved.to_data
    saved.to_data = lambda _: (text, list(tensors))
    try:
        tengen.save(Wanted(), file)
    finally:
        saved.to_data = original
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('test_saving.doubled"', 'os.system"', "which is neither tengen's nor given to wrap"),
        ('"name":"factor"', '"name":"__class__"', "does not have"),
        ('"name":"scaled"', '"name":"forward"', "does not have"),
        ('"method":"__mul__"', '"method":"__reduce__"', "it calls the method '__reduce__'"),
        ('"method":"__mul__"', '"method":"set_module_state"', "it calls the method"),
        ('test_saving.Pair"', 'builtins.eval"', "has not given to register_supported_type"),
        ('{"node":2}', '{"node":99}', "which is not made before it"),
        ('{"tensor":0}', '{"tensor":7}', "number 7 of"),
        ('"version":1', '"version":2', "of version 2"),
        ('["training",true]', '["forward",true]', "the attribute 'forward'"),
        ('"inputs":[0,1]', '"inputs":[]', "whose inputs are none"),
    ],
)
def test_a_file_that_says_something_else_is_refused(old, new, message):
    module_tracer._opaque.pop(Scaled, None)
    text, tensors = saved.to_data(trace_module(Mixed(), F.ones(3)))
    changed = text.replace(old, new)
    assert changed != text
    with pytest.raises((SerializationError, ValueError), match=message):
        tengen.load(_file(changed, tensors))(F.ones(3))


def test_classes_that_nobody_registered_are_refused():
    text, tensors = saved.to_data(trace_module(M.Sequential(M.Linear(2, 2)), F.ones((1, 2))))
    with pytest.raises(SerializationError, match=r"'subprocess\.Popen', which is neither"):
        tengen.load(_file(text.replace('"Linear"', '"subprocess.Popen"'), tensors))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version":1}', '{"version":1,"modules":[]}', '{"version":1,"modules":[{}]}', "[" * 100000],
)
def test_a_damaged_text_is_refused(text):
    with pytest.raises(SerializationError):
        tengen.load(_file(text))


def test_every_cut_and_many_changes_of_the_text_are_errors_or_harmless():
    text, tensors = saved.to_data(trace_module(M.Sequential(M.Linear(2, 2), M.ReLU()), F.ones((1, 2))))
    chooser = np.random.default_rng(0)
    for _ in range(300):
        place = int(chooser.integers(len(text)))
        changed = text[:place] + chr(int(chooser.integers(32, 127))) + text[place + 1 :]
        try:
            loaded = tengen.load(_file(changed, tensors))
        except SerializationError:
            continue
        assert json.loads(changed)
        assert isinstance(loaded, M.Module)


def test_what_cannot_be_saved_says_why():
    class Plain(M.Module):
        def forward(self, x):
            return x

    traced = trace_module(M.Sequential(M.ReLU()), F.ones(2))
    traced.other = Plain()
    with pytest.raises(
        SerializationError, match=r"Plain, which is not one of tengen's: trace it, or call register_as_builtin"
    ):
        again(traced)
