"""Networks in files: taken apart, changed, written again, told of and drawn. What MegEngine gives is in tests/reference."""

from __future__ import annotations

import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.base.errors import SerializationError
from tengen.base.usage import UsageWarning
from tengen.jit import load, trace
from tengen.utils import comp_graph_tools, network_node
from tengen.utils.module_stats import module_stats
from tengen.utils.network import Network
from tengen.utils.network.__main__ import main
from tengen.utils.network.draw import draw
from tengen.utils.network.info import info, operations
from tengen.utils.network.layout import _across

X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


def written(function, *arrays, names=("x",), **options) -> io.BytesIO:
    traced = trace(function, without_host=True, capture_as_const=True)
    traced(*map(Tensor, arrays))
    file = io.BytesIO()
    traced.dump(file, arg_names=list(names), **options)
    file.seek(0)
    return file


def network(function, *arrays, names=("x",)) -> Network:
    return Network.load(written(function, *arrays, names=names, keep_opr_name=True))


def run(net: Network, *arrays):
    file = io.BytesIO()
    net.dump(file)
    file.seek(0)
    found = load(file)(*arrays)
    return [y.numpy() for y in found] if isinstance(found, tuple) else found.numpy()


def text(net: Network) -> str:
    return str(net.frozen().program)


class Attention(M.Module):
    """A class token, heads that are dims cut and joined, the token alone in the end."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = M.Linear(8, 24), M.Linear(8, 3)

    def forward(self, x):
        n, length, width = x.shape
        token = F.broadcast_to(Tensor(np.full((1, 1, width), 0.5, np.float32)), (n, 1, width))
        x = F.concat([token, x], 1)
        qkv = self.qkv(x).reshape(n, length + 1, 3, 2, width // 2).transpose(2, 0, 3, 1, 4)
        weights = F.softmax(F.matmul(qkv[0], qkv[1].transpose(0, 1, 3, 2)), -1)
        heads = F.matmul(weights, qkv[2]).transpose(0, 2, 1, 3).reshape(n * (length + 1), width)
        return self.out(heads).reshape(n, length + 1, 3)[:, 0]


class Convolutional(M.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = M.Conv2d(3, 4, 3, padding=1, groups=1), M.BatchNorm2d(4)
        self.pool, self.fc = M.MaxPool2d(2), M.Linear(16, 5)

    def forward(self, x):
        y = F.relu(self.bn(self.conv(x)) + F.mean(x, axis=1, keepdims=True))
        return self.fc(F.flatten(self.pool(y)[::-1], 1))[::-1]


class Recurrent(M.Module):
    """States that are zeros of the batch's size."""

    def __init__(self):
        super().__init__()
        self.lstm, self.fc = M.LSTM(5, 4, batch_first=True), M.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("old, new", [(2, 5), (1, 3), (3, 1)])
@pytest.mark.parametrize(
    "make, shape",
    [(Attention, (6, 8)), (Convolutional, (3, 4, 4)), (Recurrent, (7, 5))],
    ids=["attention", "convolutional", "recurrent"],
)
def test_another_batch_size_gives_for_each_sample_what_it_gave(make, shape, old, new):
    module = make()
    module.eval()
    samples = np.random.default_rng(1).standard_normal((new, *shape)).astype(np.float32)
    net = network(module, samples[:old] if old <= new else np.repeat(samples, old, 0))
    net.reset_batch_size(new)
    expected = np.concatenate([module(Tensor(samples[i : i + 1])).numpy() for i in range(new)])
    assert net.dest_vars[0].shape == expected.shape
    np.testing.assert_allclose(run(net, samples), expected, rtol=1e-5, atol=1e-6)


def test_a_batch_size_that_an_op_cannot_have_changes_nothing():
    table = Tensor(X)
    net = network(lambda x: F.exp(x) + table, X)
    before = text(net)
    with pytest.raises(
        ValueError, match=r"ADD cannot take inputs of the shapes \(3, 8\), \(4, 8\).*dump the function once more"
    ):
        net.reset_batch_size(3)
    assert text(net) == before
    assert net.data_providers_filter.as_unique().shape == (4, 8)


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises((ValueError, TypeError), match="batchsize"):
        network(F.exp, X).reset_batch_size(size)


def test_arguments_that_are_no_batch_are_named():
    net = network(lambda x, w: F.matmul(x, w), X, X.T, names=("x", "w"))
    net.reset_batch_size(2, blacklist=["w"])
    assert [v.shape for v in net.arguments] == [(2, 8), (8, 4)]
    with pytest.raises(ValueError, match=r"\['y'\] are not arguments"):
        net.reset_batch_size(2, blacklist=["y"])


def test_shapes_of_arguments_are_free_where_ops_allow_it():
    file = written(lambda x: F.avg_pool2d(F.relu(x), 2), np.ones((1, 1, 4, 4), np.float32), output_names=["y"])
    graph = comp_graph_tools.GraphInference(file)
    image = np.arange(48, dtype=np.float32).reshape(2, 1, 4, 6)
    expected = image.reshape(2, 1, 2, 2, 3, 2).mean((3, 5))
    np.testing.assert_array_equal(graph.run(image)["y"], expected)
    with pytest.raises(ValueError, match="cannot take inputs"):
        graph.run(np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(graph.run(inp_dict={"x": image})["y"], expected)


def test_what_a_value_is_computed_into_may_take_its_place():
    net = network(lambda x: F.exp(x) * 2, X)
    y = net.get_opr_by_name("EXP").outputs[0]
    net.replace_vars({y: F.log(y) + y})
    np.testing.assert_allclose(run(net, X), (X + np.exp(X)) * 2, rtol=1e-5, atol=1e-6)


def test_one_op_takes_the_place_of_another():
    net = network(lambda x: F.exp(x), X)
    op = net.get_opr_by_name("EXP")
    net.replace_oprs({op: (op.inputs[0] * 3).owner})
    np.testing.assert_allclose(run(net, X), X * 3)
    with pytest.raises(ValueError, match="has 2 outputs and cannot take the place"):
        net.replace_oprs({net.dest_vars[0].owner: F.topk(op.inputs[0], 2)[0].owner})


def test_a_circle_is_refused_and_nothing_changes():
    net = network(lambda x: F.exp(F.relu(x)) + 1, X)
    before, relu, exp = text(net), net.get_opr_by_name("RELU"), net.get_opr_by_name("EXP")
    with pytest.raises(ValueError, match=r"has a cycle: (RELU -> EXP -> RELU|EXP -> RELU -> EXP)"):
        net.replace_vars({relu.inputs[0]: exp.outputs[0]})
    assert text(net) == before


def test_a_value_that_does_not_fit_is_refused_and_nothing_changes():
    net = network(lambda x: F.exp(x) + x, X)
    before, exp = text(net), net.get_opr_by_name("EXP")
    with pytest.raises(ValueError, match=r"ADD cannot take inputs of the shapes \(2, 8\), \(4, 8\)"):
        net.replace_vars({exp.outputs[0]: exp.outputs[0][:2]})
    assert text(net) == before


def test_inputs_may_be_moved_by_hand():
    net = network(lambda x: F.exp(x) - F.relu(x), X)
    op = net.get_opr_by_name("SUB")
    op.inputs[:] = op.inputs[::-1]
    np.testing.assert_allclose(run(net, X), np.maximum(X, 0) - np.exp(X), rtol=1e-6)
    op.inputs[0] = net.make_const(X)
    np.testing.assert_allclose(run(net, X), X - np.exp(X), rtol=1e-6, atol=1e-6)
    assert net.get_var_receive_oprs(net.arguments[0]) == [net.get_opr_by_name("EXP")]


def test_values_take_what_tensors_take():
    net = network(lambda x: F.exp(x), X)
    (x,) = net.arguments
    parts = [
        (x[1:3, ::2], X[1:3, ::2]),
        (x[[2, 0]], X[[2, 0]]),
        (x.reshape(8, -1).transpose(1, 0), X.reshape(8, -1).T),
        (x.astype("int32"), X.astype(np.int32)),
        (2 - x * X, 2 - X * X),
        (Tensor(X) + x.flatten(0, 1)[0], X + X[0, 0]),
        (F.concat([x, x], 1), np.concatenate([X, X], 1)),
        (F.sum(x, axis=0), X.sum(0)),
    ]
    net.remove_output(net.dest_vars[0])
    for number, (value, _) in enumerate(parts):
        value.name = f"y{number}"
        net.add_output(value)
    for found, (_, expected) in zip(run(net, X), parts, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_networks_become_one():
    first, second = network(lambda x: F.exp(x), X), network(lambda x: F.relu(x) + 1, X)
    second.replace_vars({second.arguments[0]: first.dest_vars[0]})
    np.testing.assert_allclose(run(second, X), np.exp(X) + 1, rtol=1e-6)
    assert [v.name for v in second.arguments] == ["x"]
    other = network(lambda x: F.relu(x), X)
    second.add_output(other.dest_vars[0])
    with pytest.raises(ValueError, match=r"the names of all arguments must be different .*'x', 'x'"):
        second.dump(io.BytesIO())
    other.modify_opr_names("other")
    with pytest.raises(ValueError, match="the names of all outputs must be different"):
        second.dump(io.BytesIO())
    other.dest_vars[0].name = "y"
    assert second.dump(io.BytesIO()).inputs == ["x", "other.x"]


def test_an_output_that_is_none_is_told():
    net = network(lambda x: F.exp(x), X)
    with pytest.warns(UsageWarning, match="x is not an output of the network"):
        net.remove_output(net.arguments[0])
    net.remove_output(net.dest_vars[0])
    with pytest.raises(ValueError, match="no outputs; name them with add_output"):
        net.dump(io.BytesIO())


def test_weights_keep_their_dtype_and_take_other_values():
    w = Tensor(X).astype("bfloat16")
    net = network(lambda x: F.matmul(x, w.astype("float32")), np.eye(4, dtype=np.float32))
    weight = net.params_filter.as_unique()
    assert weight.dtype == "bfloat16"
    np.testing.assert_array_equal(run(net, np.eye(4, dtype=np.float32)), w.astype("float32").numpy())
    weight.set_value(np.full((4, 8), 2.5, np.float32))
    assert weight.dtype == "bfloat16"
    np.testing.assert_array_equal(run(net, np.eye(4, dtype=np.float32)), np.full((4, 8), 2.5))
    weight.set_value(np.ones((4, 3), np.float32))
    assert run(net, np.eye(4, dtype=np.float32)).shape == (4, 3)


def test_names_that_were_given_are_kept(tmp_path):
    net = network(lambda x: F.exp(x) * 2, X)
    op = net.get_opr_by_name("EXP")
    op.name, op.outputs[0].name = "first", "middle"
    net.dump(tmp_path / "a.tg", keep_opr_name=True, user_info=[1])
    again = Network.load(tmp_path / "a.tg", outspec=["middle"])
    assert again.metadata["user_info"] == [1]
    assert [(op.name, v.name) for op in again.all_oprs for v in op.outputs] == [("x", "x"), ("first", "middle")]
    net.dump(tmp_path / "a.tg", keep_var_name=0)
    with pytest.raises(ValueError, match="there is no value named 'middle'"):
        Network.load(tmp_path / "a.tg", outspec=["middle"])
    with pytest.raises(ValueError, match="append=True is not possible"):
        net.dump(tmp_path / "a.tg", append=True)


def test_parts_of_graphs():
    net = network(lambda x: F.exp(x) * F.relu(x), X)
    (y,) = net.dest_vars
    (exp,) = comp_graph_tools.find_vars_by_name(y, ["EXP"])
    (other,) = comp_graph_tools.replace_vars([y], {exp: exp.owner.inputs[0]})
    (fixed,), inputs = comp_graph_tools.embed_inputs([y], [X])
    assert list(inputs) == ["x"]
    other.name, fixed.name = "other", "fixed"
    net.add_output(other, fixed)
    first, second, third = run(net, X)
    np.testing.assert_allclose(first, np.exp(X) * np.maximum(X, 0), rtol=1e-6)
    np.testing.assert_allclose(second, X * np.maximum(X, 0), rtol=1e-6)
    np.testing.assert_array_equal(third, first)
    with pytest.raises(ValueError, match="1 arrays for 2 inputs"):
        comp_graph_tools.embed_inputs([net.make_input_node((4, 8), "float32") + y], [X])


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "a.tg").write_bytes(b"nothing")
    with pytest.raises(SerializationError, match="not a program"):
        Network.load(tmp_path / "a.tg")
    with pytest.raises(ValueError, match="stands for no VarNode"):
        Network().add_output(3)
    with pytest.raises(TypeError, match="expected a class of nodes"):
        network(F.exp, X).opr_filter.type("Elemwise")
    with pytest.warns(UsageWarning, match="enable_ioc16 has no effect"):
        network(F.exp, X).optimize_for_inference([], enable_ioc16=True)


def test_operations_are_those_of_module_stats():
    module = M.Sequential(
        M.Conv2d(4, 6, 3, groups=2),
        M.BatchNorm2d(6),
        M.AvgPool2d(2),
        M.ConvTranspose2d(6, 4, 3),
        M.AdaptiveAvgPool2d(2),
    )
    module.eval()
    image = np.ones((2, 4, 10, 10), np.float32)
    _, rows = module_stats(module, inputs=image, logging_to_stdout=False)
    net = network(module, image)
    found = [operations(op) for op in net.all_oprs if operations(op)]
    assert found == [row["flops_num"] for row in rows.flops if "flops_num" in row]


@pytest.mark.parametrize(
    "function, shape, count",
    [
        (lambda x: F.matmul(x, F.transpose(x, (1, 0))), (3, 5), 45),
        (lambda x: F.exp(x) + 1, (3, 5), 30),
        (lambda x: F.sum(x, axis=1), (3, 5), 15),
        (lambda x: F.reshape(x, (5, 3)), (3, 5), 0),
        (lambda x: F.logsumexp(x, 1), (3, 5), None),
        (lambda x: M.LSTM(5, 4)(x)[0], (7, 3, 5), None),
    ],
    ids=["matmul", "elementwise", "sum", "reshape", "logsumexp", "lstm"],
)
def test_operations_of_what_is_no_layer_are_those_of_its_parts(function, shape, count):
    net = network(function, np.ones(shape, np.float32))
    found = sum(map(operations, net.all_oprs))
    if count is not None:
        assert found == count
    else:
        least = {2: 3 * 5 * 2, 3: 7 * 3 * 4 * 4 * (5 + 4)}[len(shape)]
        assert least <= found <= 3 * least


def test_info_tells_of_ops_and_sums():
    module = M.Sequential(M.Conv2d(3, 4, 3), M.ReLU())
    net = network(module, np.ones((1, 3, 6, 6), np.float32))
    told = info(net)
    assert "arguments: x float32[1,3,6,6]" in told
    assert "weights: 2, 112 elements, 448.000 B" in told
    assert "operations: 1.856 KOPs" in told
    assert [line.split()[:3] for line in told.splitlines() if "0.Conv2d" in line] == [
        ["Conv2d", "0.Conv2d", "float32[1,3,6,6]"]
    ]


class Residual(M.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = M.Linear(8, 8), M.Linear(8, 8)

    def forward(self, x):
        return self.b(F.relu(self.a(x))) + x


def test_a_picture(tmp_path):
    net = network(Residual(), X)
    draw(net, tmp_path / "a.svg")
    boxes = [e for e in ET.parse(tmp_path / "a.svg").getroot() if e.tag.endswith("rect") and "x" in e.attrib]
    spans = [[float(e.get(k)) for k in ("x", "y", "width", "height")] for e in boxes]
    assert len(boxes) == 6  # x, a, relu, b, add and the output
    for i, (x, y, width, height) in enumerate(spans):
        for other_x, other_y, other_width, other_height in spans[:i]:
            beside = x + width <= other_x or other_x + other_width <= x
            assert beside or y + height <= other_y or other_y + other_height <= y
    draw(net, tmp_path / "b.svg", weights=True)
    assert (tmp_path / "b.svg").read_text().count("<text") > (tmp_path / "a.svg").read_text().count("<text")
    with pytest.raises(ValueError, match=r"an \.svg, or a \.dot"):
        draw(net, tmp_path / "a.png")
    draw(net, tmp_path / "c.dot")
    dot = (tmp_path / "c.dot").read_text()
    assert dot.startswith("digraph") and dot.count(" -> ") == 6


def test_rows_of_a_picture_are_ordered_so_that_few_edges_cross():
    """Four chains whose ends stand in another order than their beginnings."""
    ends = [3, 1, 0, 2]
    rows = [0] * 4 + [1] * 4
    edges = [(i, 4 + end) for i, end in enumerate(ends)]
    above: list[list[int]] = [[] for _ in rows]
    below: list[list[int]] = [[] for _ in rows]
    for a, b in edges:
        below[a].append(b)
        above[b].append(a)
    x = _across(rows, above, below)
    assert [i for _, i in sorted((x[i], i) for i in range(4))] == [a for a, b in sorted(edges, key=lambda e: x[e[1]])]
    for i, j in itertools.combinations(range(8), 2):
        assert rows[i] != rows[j] or abs(x[i] - x[j]) >= 1 - 1e-9


def test_the_command(tmp_path, capsys):
    path = tmp_path / "a.tg"
    path.write_bytes(written(Residual(), X).getvalue())
    assert main(["info", str(path)]) == 0
    assert "Linear" in capsys.readouterr().out
    assert main(["draw", str(path), str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").exists()
    assert main(["info", str(tmp_path / "b.tg")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_classes_of_nodes_are_of_ops_that_there_are():
    known = {name for name in vars(network_node) if isinstance(getattr(network_node, name), type)}
    assert network_node.str_to_mge_class("Elemwise") is network_node.Elemwise
    assert network_node.str_to_mge_class("nothing") is None
    from_table = {name for name in network_node._KINDS if name not in known}
    from tengen.core.ops.table import op_classes

    assert from_table - {"BatchedMatrixMul"} <= op_classes().keys()


@pytest.mark.parametrize("steps", [3, 2])
def test_the_batch_may_be_inside_of_a_dim(steps):
    """Steps and samples joined, in this order, and parted again; also where there are as many of both."""

    def function(x):
        turned = F.transpose(x, (1, 0, 2)).reshape(steps * x.shape[0], 5)
        return F.sum(F.exp(turned).reshape(steps, x.shape[0], 5), axis=0)

    net = network(function, np.ones((2, steps, 5), np.float32))
    net.reset_batch_size(4)
    x = np.random.default_rng(0).standard_normal((4, steps, 5)).astype(np.float32)
    np.testing.assert_allclose(run(net, x), np.exp(x).sum(1), rtol=1e-5)
