"""Changes of graphs that MegEngine and tengen make, and what is noted of each: a function for each, which gives texts and results."""

from __future__ import annotations

import re
from typing import Any

from models import fill, image, plain


def net(names: Any) -> tuple[Any, Any]:
    """A traced network of two blocks, and its input."""
    F, M, mge = names["F"], names["M"], names["mge"]

    class Block(M.Module):
        def __init__(self):
            super().__init__()
            self.l = M.Linear(4, 4)
            self.w = mge.Parameter([1.0, 2.0, 3.0, 4.0])

        def forward(self, x):
            return F.relu(self.l(x)) * self.w

    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Block(), Block()

        def forward(self, x):
            return F.exp(self.b(F.relu(self.a(x)))) - 1

    x = image(names, 2, 4)
    return names["tm"].trace_module(fill(Net()), x), x


def look(names: Any) -> Any:
    """Everything by which nodes and expressions are looked for."""
    F, M = names["F"], names["M"]
    traced, _ = net(names)
    graph = traced.graph
    found = [
        graph.get_function_by_type(F.relu).as_list(),
        graph.get_function_by_type(F.relu, recursive=False).as_list(),
        list(graph.get_function_by_type(F.relu).as_dict()),
        graph.get_method_by_type("__mul__").as_list(),
        graph.get_method_by_type("__call__").as_list(),
        graph.get_method_by_type().as_list(),
        graph.get_expr_by_id([3, 5]).as_list(),
        graph.get_expr_by_id(3).as_list(),
        graph.get_expr_by_id(99).as_list(),
        graph.get_node_by_id([2, 3]).as_list(),
        graph.get_module_by_type(M.Linear).as_list(),
        graph.get_node_by_name("*out").as_list(),
        graph.exprs(False).as_list(),
        graph.nodes(False).as_list(),
        graph.get_function_by_type(F.exp).as_unique(),
        [expr.top_graph is graph for expr in graph.exprs()],
        [graph.top_graph is None, traced.a.graph.top_graph is graph],
        graph.inputs,
        graph.outputs,
        [[user._id for user in node.users] for node in graph.nodes(False)],
    ]
    return [str(one) for one in found], graph.get_function_by_type(F.relu).as_count()


def insert(names: Any) -> Any:
    """Functions and operators behind what they read, read by all others."""
    F = names["F"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    first = graph.get_function_by_type(F.relu).as_list()[0].outputs[0]
    with graph.insert_exprs():
        out = F.tanh(F.sigmoid(first)) + 1
    inserted = str(graph)
    graph.replace_node({first: out})
    replaced = str(graph)
    graph.compile()
    return inserted, replaced, str(graph), plain(flat(x))


def insert_after(names: Any) -> Any:
    """One expression behind another."""
    F = names["F"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    exp = graph.get_function_by_type(F.exp).as_unique()
    with graph.insert_exprs(exp):
        out = F.neg(exp.outputs[0])
    graph.replace_node({exp.outputs[0]: out})
    graph.compile()
    return str(graph), plain(flat(x))


def insert_inside(names: Any) -> Any:
    """Into the graph of a module inside."""
    F = names["F"]
    traced, x = net(names)
    graph = traced.a.graph
    relu = graph.get_function_by_type(F.relu).as_unique()
    with graph.insert_exprs():
        out = F.leaky_relu(relu.inputs[0], 0.5)
    graph.replace_node({relu.outputs[0]: out})
    graph.compile()
    return str(graph), str(traced.graph), str(traced.flatten().graph), plain(traced(x))


def new_module(names: Any) -> Any:
    """A layer in the place of another."""
    M = names["M"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    linear = graph.get_method_by_type("__call__").as_list()[0]
    flat.new = fill(M.Linear(4, 4))
    with graph.insert_exprs():
        out = graph.inputs[0].new(linear.inputs[1])
    graph.replace_node({linear.outputs[0]: out})
    graph.compile()
    return str(graph), plain(flat(x))


def methods(names: Any) -> Any:
    """Methods and indices of nodes, more outputs."""
    F = names["F"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    node = graph.get_function_by_type(F.exp).as_unique().outputs[0]
    with graph.insert_exprs():
        out = node.reshape(-1)[0] + node.mean(axis=1) * 2
        out = F.concat([out, out])
        parts = F.split(out, 2)
    graph.add_output_node(out)
    first = str(graph)
    graph.add_output_node(parts[0])
    return (
        first,
        str(graph),
        plain(flat(x)),
        repr(list(flat.argdef_outdef_map.values())),
        list(node.shape),
        str(node.dtype),
    )


def inputs(names: Any) -> Any:
    """One more input."""
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    new = graph.add_input_node((2, 4))
    with graph.insert_exprs():
        out = graph.outputs[0] + new
    graph.reset_outputs(out)
    graph.compile()
    text = re.sub(r"%\d+:", "", str(graph))  # MegEngine numbers what is new by all that the process has ever made
    return text, plain(flat(x, x)), repr(list(flat.argdef_graph_map))


def outputs(names: Any) -> Any:
    """Other outputs."""
    F = names["F"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    nodes = [expr.outputs[0] for expr in graph.get_function_by_type(F.relu).as_list()]
    graph.reset_outputs([nodes[0], {"a": nodes[1]}])
    graph.compile()
    return str(graph), repr(list(flat.argdef_outdef_map.values())), plain(flat(x)), plain(graph.eval(x))


def points(names: Any) -> Any:
    """Nodes that are watched, and nodes where calls end."""
    F = names["F"]
    traced, x = net(names)
    inner = [expr.outputs[0] for expr in traced.graph.get_function_by_type(F.relu).as_list()]
    traced.set_watch_points(inner)
    traced(x)
    seen = plain([traced.watch_node_value[node] for node in inner])
    traced.clear_watch_points()
    flat = traced.flatten()
    ends = [expr.outputs[0] for expr in flat.graph.get_function_by_type(F.relu).as_list()]
    flat.set_end_points(ends[:1])
    first = plain(flat(x))
    flat.clear_end_points()
    return seen, first, plain(flat(x)), sorted(expr._id for expr in flat.graph.get_dep_exprs(ends[0]))


def arguments(names: Any) -> Any:
    """Other arguments of calls, and other names of nodes."""
    F = names["F"]
    traced, x = net(names)
    flat = traced.flatten()
    graph = flat.graph
    relu, sub = graph.get_function_by_type(F.relu).as_list()[0], graph.get_method_by_type("__sub__").as_unique()
    before = [str(one) for one in (relu.args, relu.kwargs, relu.named_args, relu.return_val, sub.args, sub.kwargs)]
    sub.set_args_kwargs(sub.args[0], 5)
    relu.set_arg("x", graph.inputs[1])
    relu.outputs[0].name = "mine"
    return before, str(graph), relu.outputs[0].qualname, plain(flat(x))


EDITS = {
    function.__name__: function
    for function in (
        *(look, insert, insert_after, insert_inside, new_module, methods, inputs, outputs, points, arguments),
    )
}
