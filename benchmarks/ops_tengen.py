"""The cases in tengen: public functions, as a program would call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor, tensor
from tengen.autodiff import GradManager
from tengen.core.build import backward_hook
from tengen.core.ops.conv import Conv2d
from tengen.jit import DTRConfig, trace
from tengen.optimizer import SGD, AdamW

from .cases import NETWORKS, Case
from .measure import Arrays, Data, Trial, dropout_facts
from .networks_tengen import NETWORKS as BUILDERS
from .networks_tengen import Linear

Run = Callable[[], Any]


def version() -> str:
    return tengen.__version__


def set_threads(threads: int) -> None:
    tengen.config.num_threads = threads


def trials(case: Case, data: Data) -> Iterator[Trial]:
    """tengen has one way to do each case: eager, or traced if that is what the case is about."""
    if case.kind == "network":
        made = (train if case.arguments["train"] else infer)(case, data)
    else:
        run = KINDS[case.kind](case.arguments, data.inputs)
        made = Trial("eager", run, results_of(case, data, run))
    yield replace(made, setting="traced", run=traced(case, data, made.run)) if case.traced else made


def traced(case: Case, data: Data, run: Run) -> Run:
    """The traced function; under a limit of a share of the memory that it takes, if the case says so."""
    share = case.arguments.get("memory")
    if share is None:
        return trace(run, without_host=True)
    step = trace(train(case, data).run, without_host=True)
    for _ in range(3):  # until parameters lie as they will
        step()
    ((*_, plans),) = step.explain().calls
    own = plans[-1].bytes - plans[-1].results  # results are parameters, which are updated in place
    return trace(run, without_host=True, dtr_config=DTRConfig(int(share * own)))


def results_of(case: Case, data: Data, run: Run) -> Callable[[], Arrays]:
    if case.kind == "dropout":
        return lambda: dropout_facts(data.inputs[0], run().numpy())
    return lambda: [run().numpy()]


# -- single ops: functions of (arguments, inputs) that give what is timed ------------------------------------------


def add(_: dict[str, Any], inputs: Arrays) -> Run:
    x, y = map(tensor, inputs)
    return lambda: x + y


def module(_: dict[str, Any], inputs: Arrays) -> Run:
    x, weight, bias = inputs
    net = M.Linear(*weight.shape[::-1])
    net.load_state_dict({"weight": weight, "bias": bias})
    given = tensor(x)
    return lambda: net(given)


def chain(arguments: dict[str, Any], inputs: Arrays) -> Run:
    x, w = map(tensor, inputs)
    gm = GradManager().attach(x)
    ones = F.ones_like(x)

    def run() -> Tensor:
        with gm:
            y = x
            for index in range(arguments["length"]):
                y = F.tanh(y) if index % 2 else y + w
            gm.backward(y, ones)
        gradient, x.grad = x.grad, None
        return gradient

    return run


def matmul(arguments: dict[str, Any], inputs: Arrays) -> Run:
    x, y = map(tensor, inputs)
    a, b = arguments.get("a", False), arguments.get("b", False)
    return lambda: F.matmul(x, y, transpose_a=a, transpose_b=b)


def gelu(_: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    return lambda: F.gelu(x * 2 + 1)


def softmax(_: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    return lambda: F.softmax(x, axis=1)


def mask(_: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    return lambda: x[x > 0]


def layer_norm(_: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    weight, bias = F.ones(x.shape[1]), F.zeros(x.shape[1])
    return lambda: F.layer_norm(x, x.shape[1], True, weight, bias)


def sum_(arguments: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    axis = arguments["axis"]
    return lambda: F.sum(x, axis)


def transpose(arguments: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    order = arguments["order"]
    return lambda: F.transpose(x, order).reshape(-1)  # rows of the result are not rows of x, so this copies


def dropout(arguments: dict[str, Any], inputs: Arrays) -> Run:
    (x,) = map(tensor, inputs)
    return lambda: F.dropout(x, arguments["probability"])


def conv(arguments: dict[str, Any], inputs: Arrays) -> Run:
    x, w, dy = activation(inputs[0]), tensor(inputs[1]), activation(inputs[2])
    stride, padding, groups = (arguments[key] for key in ("stride", "padding", "groups"))

    def forward() -> Tensor:
        return F.conv2d(x, w, None, stride, padding, 1, groups)

    if arguments["form"] == "forward":
        return forward
    # The op that a tape would run for this gradient alone.
    op = Conv2d((stride, stride), (padding, padding), (1, 1), groups, False)
    by_data = arguments["form"] == "by data"
    y = forward()
    backward, args, _ = backward_hook(op, [x.desc, w.desc], [y.desc], [by_data, not by_data], [True])
    given = [(x, w, y, dy)[index] for index in args]
    return lambda: tengen._rt.apply(backward, *given)


def activation(array: np.ndarray) -> Tensor:
    """A tensor with the strides that it has in a network: channels last, which convolutions return; images as given."""
    if array.shape[1] <= 4:
        return tensor(array)
    return tensor(np.ascontiguousarray(array.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)


KINDS: dict[str, Callable[[dict[str, Any], Arrays], Run]] = {
    "add": add, "module": module, "chain": chain, "matmul": matmul, "gelu": gelu, "softmax": softmax, "layer_norm": layer_norm,
    "sum": sum_, "transpose": transpose, "dropout": dropout, "mask": mask, "conv": conv,
}  # fmt: skip


# -- networks ------------------------------------------------------------------------------------------------------


def build(case: Case, data: Data) -> M.Module:
    net = BUILDERS[case.arguments["network"]]()
    net.load_state_dict(data.weights)
    for layer in net.modules():
        if case.arguments["bfloat16"] and isinstance(layer, Linear):
            layer.dtype = "bfloat16"
    return net


def infer(case: Case, data: Data) -> Trial:
    net, x = build(case, data), tensor(data.inputs[0])
    net.eval()
    return Trial("eager", lambda: net(x), lambda: [net(x).numpy()])


def train(case: Case, data: Data) -> Trial:
    """A step: forward, loss, backward, update. The results are the loss and the gradients of the first one."""
    net, x = build(case, data), tensor(data.inputs[0])
    labels = None if data.labels is None else tensor(data.labels)
    gm = GradManager().attach(net.parameters())
    adam = NETWORKS[case.arguments["network"]].optimizer == "adamw"
    optimizer = AdamW(net.parameters(), lr=1e-4) if adam else SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def backward() -> Tensor:
        with gm:
            y = net(x)
            loss = F.mean(y * y) if labels is None else F.nn.cross_entropy(y, labels)
            gm.backward(loss)
        return loss

    def step() -> None:
        backward()
        optimizer.step().clear_grad()

    def results() -> Arrays:
        loss = backward().numpy().reshape(1)
        gradients = [np.array(value.grad.numpy()) for _, value in sorted(net.named_parameters())]
        optimizer.clear_grad()
        return [loss, *gradients]

    return Trial("eager", step, results)
