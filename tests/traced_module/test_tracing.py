"""What tracing sees, what it leaves as it was, and how traced modules behave."""

from __future__ import annotations

import copy
import io
import threading

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.functional import relu
from tengen.jit import trace
from tengen.module import Module
from tengen.quantization import quantize_qat
from tengen.traced_module import (
    TracedModule,
    disable_default_checker,
    enable_expr_checker,
    tm_config,
    trace_module,
    wrap,
)
from tengen.traced_module.checker import TracedModuleError
from tengen.traced_module.fake_quant import FakeQuantize
from tengen.traced_module.pytree import LeafDef, tree_flatten

X = tengen.tensor(np.arange(8, dtype=np.float32).reshape(2, 4) - 3)


class Of(M.Module):
    """A module whose forward is a function."""

    def __init__(self, function):
        super().__init__()
        self.run = function

    def forward(self, *args):
        return self.run(*args)


def lines(module, *args):
    """The expressions of the graph, without numbers."""
    graph = trace_module(module, *args).graph
    return [repr(expr).partition("\t")[2] for expr in graph.exprs() if type(expr).__name__ != "Input"]


def test_functions_are_seen_under_whatever_name_they_are_called():
    inner = F.exp
    table = {"act": F.sigmoid}

    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.act = F.tanh

        def forward(self, x):
            return self.act(inner(relu(x))) + F.nn.relu(x)

    assert lines(Net(), X) == [
        "relu_out = nn.relu(x, )",
        "exp_out = elemwise.exp(relu_out, )",
        "tanh_out = elemwise.tanh(exp_out, )",
        "relu_out_1 = nn.relu(x, )",
        "add_out = tanh_out.__add__(relu_out_1, )",
    ]
    # By a way that nothing knows of it is still seen: as the operations that it is made of.
    assert lines(Of(lambda x: table["act"](x)), X) == ["sigmoid_out = sigmoid(args_0)"]


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_before_afterwards(fails):
    def state():
        return (
            F.relu,
            relu,
            tengen.functional.nn.relu,
            vars(tengen.Tensor).copy(),
            vars(Module).copy(),
            tengen.core.calls.apply,
        )

    def function(x):
        if fails:
            raise KeyError("on purpose")
        return F.relu(x)

    before = state()
    if fails:
        with pytest.raises(KeyError, match="on purpose"):
            trace_module(Of(function), X)
    else:
        trace_module(Of(function), X)
    assert state() == before
    assert type(X.shape) is tuple
    assert type(X.shape[0]) is int


def test_an_error_while_inserting_leaves_the_graph_as_it_was():
    traced = trace_module(Of(lambda x: F.exp(x)), X)
    text = str(traced.graph)
    with pytest.raises(ValueError, match="reshape"), traced.graph.insert_exprs():
        out = F.exp(traced.graph.inputs[1])
        out.reshape(3, 7)
    assert str(traced.graph) == text
    assert len(traced.graph.inputs[1].users) == 1
    assert F.exp(X).shape == (2, 4)


def test_other_threads_are_not_recorded():
    results = []

    def function(x):
        other = threading.Thread(target=lambda: results.append(F.exp(X) + X.shape[0]))
        other.start()
        other.join()
        return F.relu(x)

    assert lines(Of(function), X) == ["relu_out = nn.relu(args_0, )"]
    assert type(results[0]) is tengen.Tensor


def test_sizes_are_computed_anew():
    class Net(M.Module):
        def forward(self, x):
            n, c = x.shape
            rest = x.shape[1:] + (1,)  # noqa: RUF005
            y = F.zeros((n, c * 2 - 1)) if n < 1000 else x
            return x.reshape(*x.shape[:1], *rest), F.ones((n // 2 + 1,)), y, n * 0.5, (3,) + x.shape[1:]  # noqa: RUF005

    net = Net()
    traced = trace_module(net, X)
    big = F.ones((6, 5))
    for ours, wanted in zip(traced(big), net(big), strict=True):
        assert ours == wanted if not isinstance(ours, tengen.Tensor) else ours.shape == wanted.shape


def test_a_function_that_gives_back_what_it_was_given_has_a_node_of_its_own():
    class Net(M.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, training=False) + x

    traced = trace_module(Net(), X)
    assert repr(traced.graph.get_method_by_type("__add__").as_unique()).endswith("dropout_out.__add__(x, )")


def test_what_is_written_into_tensors():
    class Inner(M.Module):
        def forward(self, x):
            x[0] = 5
            return x.sum()

    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
            self.count = tengen.tensor([0.0])

        def forward(self, x):
            y = x * 2
            total = self.inner(y)
            self.count.set_value(self.count + 1)
            return y + total

    net = Net()
    traced = trace_module(net, X)
    assert net.count.item() == 1
    given = tengen.tensor(X.numpy())
    wanted = net(X).numpy()
    assert np.array_equal(traced(given).numpy(), wanted)
    assert np.array_equal(traced.flatten()(given).numpy(), wanted)
    assert net.count.item() == 3


def test_a_module_that_is_called_in_two_ways_has_two_graphs():
    class Inner(M.Module):
        def forward(self, x, k=1):
            return x * k

    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x) + self.inner(x, 3)

    traced = trace_module(Net(), X)
    assert len(traced.inner.argdef_graph_map) == 2
    with pytest.raises(ValueError, match="has 2 graphs"):
        _ = traced.inner.graph
    assert np.array_equal(traced(X).numpy(), X.numpy() * 4)
    assert np.array_equal(traced.flatten()(X).numpy(), X.numpy() * 4)


def test_parameters_are_shared_and_trained_as_those_of_the_module():
    net = M.Sequential(M.Linear(4, 3), M.ReLU(), M.Linear(3, 1))
    traced = trace_module(net, X)
    assert [name for name, _ in traced.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert all(a is b for a, b in zip(traced.parameters(), net.parameters(), strict=True))
    grads = []
    for module in (net, traced, trace(traced.forward)):
        gm = tengen.autodiff.GradManager().attach(net.parameters())
        with gm:
            gm.backward((module(X) ** 2).sum())
        grads.append([parameter.grad.numpy() for parameter in net.parameters()])
        for parameter in net.parameters():
            parameter.grad = None
    for other in grads[1:]:
        for ours, wanted in zip(other, grads[0], strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_a_traced_module_is_traced_by_jit_and_dumped():
    net = M.Sequential(M.Linear(4, 3), M.ReLU())
    traced = trace_module(net, X)
    function = trace(lambda x: traced(x), without_host=True, capture_as_const=True)
    function(X)
    file = io.BytesIO()
    function.dump(file)
    file.seek(0)
    np.testing.assert_allclose(tengen.jit.load(file)(X).numpy(), net(X).numpy(), rtol=1e-6)


def test_a_copy_is_a_module_of_its_own():
    traced = trace_module(M.Sequential(M.Sequential(M.Linear(4, 4))), X)
    made = copy.deepcopy(traced)
    graph = made.graph
    assert graph.module is made
    assert vars(made)["0"].graph.top_graph is graph
    assert next(iter(made.parameters())) is not next(iter(traced.parameters()))
    with graph.insert_exprs():
        out = F.exp(graph.outputs[0])
    graph.reset_outputs(out)
    assert str(traced.graph) != str(graph)
    assert np.array_equal(made(X).numpy(), F.exp(traced(X)).numpy())


def test_layers_of_a_traced_module_are_quantised():
    net = M.Sequential(M.QuantStub(), M.Linear(4, 4), M.DequantStub())
    traced = quantize_qat(trace_module(net, X))
    assert type(vars(traced)["1"]) is M.qat.Linear
    assert type(vars(net)["1"]) is M.Linear
    again = trace_module(quantize_qat(net), X)
    assert [expr.method for expr in again.graph.get_method_by_type()] == ["__call__"] * 3


def test_fake_quantize_without_a_scale_says_so():
    with pytest.raises(ValueError, match="call set_qparams"):
        FakeQuantize("qint8")(X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t(X, 3), r"forward\(Module, Tensor, 2\)\nand got\n  forward\(Module, Tensor, 3\)"),
        (lambda t: t(), "missing a required argument: 'x'"),
        (lambda t: t(X, z=1), "unexpected keyword argument 'z'"),
        (lambda t: trace_module(F.relu, X), "takes a Module, got a function"),
        (lambda t: wrap(M.ReLU), "takes a function that was written with def"),
        (lambda t: t.graph.get_expr_by_id(), "by their id"),
        (lambda t: t.graph.get_function_by_type(F.sin).as_unique(), "0 elements found"),
        (lambda t: t.graph.inputs[1] + 1, "outside of graph.insert_exprs"),
        (lambda t: setattr(t.graph.inputs[1], "name", "1x"), "cannot be the name of a node"),
        (lambda t: t.set_watch_points(["x"]), "a node of a graph is watched"),
        (lambda t: trace_module(Of(lambda x: x.numpy()), X), "returns a NumPy array"),
        (lambda t: trace_module(Of(lambda x: object()), X), "register_supported_type"),
        (lambda t: trace_module(Of(lambda x: M.Linear(4, 4)(x)), X), "is not part of Of"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, message):
    class Net(M.Module):
        def forward(self, x, k=2):
            return x * k

    traced = trace_module(Net(), X)
    with pytest.raises((TypeError, ValueError), match=message):
        call(traced)


def test_a_reader_before_what_it_would_read_is_refused():
    def function(x):
        y = F.relu(x)
        return F.exp(y) + F.tanh(y)

    traced = trace_module(Of(function), X)
    first, _, tanh = traced.graph.get_function_by_type().as_list()
    with pytest.raises(ValueError, match="would read tanh_out, which is made after it"):
        traced.graph.replace_node({first.outputs[0]: tanh.outputs[0]})
    assert "elemwise.exp(relu_out, )" in str(traced.graph)


_calls = [0]


@wrap
def counted(x):
    _calls[0] += 1
    return x * _calls[0]


class Counting(M.Module):
    def forward(self, x):
        return counted(x)


def test_a_graph_that_does_something_else_is_found():
    with pytest.raises(TracedModuleError, match="the graph of Counting: result 0 differs"):
        trace_module(Counting(), X + 1)
    disable_default_checker()
    try:
        assert isinstance(trace_module(Counting(), X + 1), TracedModule)
        enable_expr_checker()
        with pytest.raises(TracedModuleError, match=r"expression .*counted\(args_0|expression .*counted\(x"):
            trace_module(Counting(), X + 1)
    finally:
        tm_config._enable_default_checker()
        tm_config._disable_expr_checker()


def test_random_numbers_are_drawn_anew_and_statistics_counted_once():
    net = M.Sequential(M.Dropout(0.5), M.BatchNorm1d(4))
    traced = trace_module(net, X)
    once = vars(net)["1"].running_mean.numpy().copy()
    assert not np.array_equal(traced(X).numpy(), traced(X).numpy())
    other = M.BatchNorm1d(4)
    tengen.random.seed(3)
    F.dropout(X, 0.5)
    assert np.abs(once).max() > 0
    assert other.running_mean.numpy().max() == 0


def test_structures_of_arguments():
    leaves, structure = tree_flatten({"b": [X, 2], "a": (X, slice(1, X))})
    assert repr(structure) == "{'a':(Tensor, slice(1, Tensor, None)), 'b':[Tensor, 2]}"
    assert structure == tree_flatten({"b": [X + 1, 2], "a": (X, slice(1, X))})[1]
    assert structure != tree_flatten({"b": [X, 3], "a": (X, slice(1, X))})[1]
    assert isinstance(structure.children_defs[1].children_defs[0], LeafDef)
    assert structure.unflatten(leaves)["b"][1] == 2


class Weights(M.Module):
    def __init__(self):
        super().__init__()
        self.weight = tengen.Parameter(np.ones(3, np.float32))

    def forward(self, x):
        return self.weight * 2.0


def test_inputs_that_nothing_reads_can_be_other_ones():
    made = trace_module(Weights(), F.ones((2, 3)))
    one, two = made.graph.reset_inputs(F.ones((3,)), more=F.ones((1,)))
    assert [node.name for node in made.graph.inputs[1:]] == [one.name, two.name] == ["args", "args_1"]
    with made.graph.insert_exprs():
        total = made.graph.outputs[0] + one * two
    made.graph.reset_outputs(total)
    got = made(tengen.tensor([1.0, 2.0, 3.0]), more=tengen.tensor([10.0]))
    np.testing.assert_array_equal(got.numpy(), [12.0, 22.0, 32.0])
    with pytest.raises(ValueError, match="input args is still read"):
        made.graph.reset_inputs()
    with pytest.raises(TypeError, match="takes the arguments that it was traced with"):
        made(F.ones((2, 3)))
