"""The cases in PyTorch, in each setting that may be its fastest: eager, channels last, compiled, fused optimizer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .cases import NETWORKS, Case
from .measure import Arrays, Data, Trial, dropout_facts
from .networks_torch import NETWORKS as BUILDERS

Run = Callable[[], Any]
Inputs = list[torch.Tensor]

compile_limit = 0  # seconds that PyTorch's compiler may take for one case; 0: it is left out


def version() -> str:
    return torch.__version__


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def trials(case: Case, data: Data) -> Iterator[Trial]:
    """One trial for each setting."""
    if case.kind == "network":
        yield from networks(case, data)
        return
    inputs = [torch.from_numpy(array) for array in data.inputs]
    for setting in ("eager", "eager channels last") if case.kind == "conv" else ("eager",):
        placed = [x.to(memory_format=layout_of(setting)) for x in inputs]
        yield trial(case, data, setting, KINDS[case.kind](case.arguments, placed))
    if case.compiled and compile_limit:
        faster = torch.compile(KINDS[case.kind](case.arguments, inputs))
        yield from compiled(trial(case, data, "compiled", faster))


def trial(case: Case, data: Data, setting: str, run: Run) -> Trial:
    if case.kind not in DIRECT:
        run = torch.inference_mode()(run)
    if case.kind == "dropout":
        return Trial(setting, run, lambda: dropout_facts(data.inputs[0], run().numpy()))
    return Trial(setting, run, lambda: [run().numpy()])


DIRECT = ("add", "chain")  # adding takes less time than entering the inference mode, the chain needs gradients


# -- the compiler --------------------------------------------------------------------------------------------------


class TimeLimit(Exception):
    """The compiler took too long."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeLimit in the block after `seconds`."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compiled(candidate: Trial) -> Iterator[Trial]:
    """The trial, if the compiler manages it in time; compilation happens here, at the first results."""
    try:
        with time_limit(compile_limit):
            first = candidate.results()
    except TimeLimit as error:
        print(f"    torch.compile given up: {error}")
    except torch._dynamo.exc.TorchDynamoException as error:
        print(f"    torch.compile failed: {str(error).splitlines()[0]}")
    else:
        yield Trial(candidate.setting, candidate.run, lambda: first)


# -- single ops: functions of (arguments, inputs) that give what is timed ------------------------------------------


def module(_: dict[str, Any], inputs: Inputs) -> Run:
    x, weight, bias = inputs
    layer = nn.Linear(*weight.shape[::-1])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return lambda: layer(x)


def chain(arguments: dict[str, Any], inputs: Inputs) -> Run:
    x, w = inputs
    x.requires_grad_()
    ones = torch.ones_like(x)

    def run() -> torch.Tensor:
        y = x
        for index in range(arguments["length"]):
            y = torch.tanh(y) if index % 2 else y + w
        y.backward(ones)
        gradient, x.grad = x.grad, None
        return gradient

    return run


def matmul(arguments: dict[str, Any], inputs: Inputs) -> Run:
    x, y = inputs
    x, y = x.mT if arguments.get("a") else x, y.mT if arguments.get("b") else y
    return lambda: torch.matmul(x, y)


def layer_norm(_: dict[str, Any], inputs: Inputs) -> Run:
    (x,) = inputs
    shape = x.shape[1:]
    weight, bias = torch.ones(shape), torch.zeros(shape)
    return lambda: F.layer_norm(x, shape, weight, bias)


def sum_(arguments: dict[str, Any], inputs: Inputs) -> Run:
    (x,) = inputs
    axis = arguments["axis"]
    return (lambda: torch.sum(x)) if axis is None else lambda: torch.sum(x, axis)


def conv(arguments: dict[str, Any], inputs: Inputs) -> Run:
    x, w, dy = inputs
    stride, padding, groups = (arguments[key] for key in ("stride", "padding", "groups"))
    if arguments["form"] == "forward":
        return lambda: F.conv2d(x, w, None, stride, padding, 1, groups)
    index = 0 if arguments["form"] == "by data" else 1
    wanted = [index == 0, index == 1, False]
    settings = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, wanted)
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *settings)[index]


KINDS: dict[str, Callable[[dict[str, Any], Inputs], Run]] = {
    "add": lambda _, inputs: lambda: inputs[0] + inputs[1],
    "module": module,
    "chain": chain,
    "matmul": matmul,
    "gelu": lambda _, inputs: lambda: F.gelu(inputs[0] * 2 + 1),
    "softmax": lambda _, inputs: lambda: torch.softmax(inputs[0], 1),
    "layer_norm": layer_norm,
    "sum": sum_,
    "transpose": lambda arguments, inputs: lambda: inputs[0].permute(arguments["order"]).reshape(-1),
    "mask": lambda _, inputs: lambda: inputs[0][inputs[0] > 0],
    "dropout": lambda arguments, inputs: lambda: F.dropout(inputs[0], arguments["probability"]),
    "conv": conv,
}


# -- networks ------------------------------------------------------------------------------------------------------


def networks(case: Case, data: Data) -> Iterator[Trial]:
    kind, layouts = infer, ["channels last", ""] if len(case.shapes[0]) == 4 else [""]
    settings = [f"eager {layout}".strip() for layout in layouts]
    if case.arguments["train"]:
        kind, settings = train, ["eager", *(f"{setting}, fused optimizer" for setting in settings)]
    for setting in settings:
        yield kind(case, data, setting, build(case, data, setting))
    if compile_limit:
        setting = settings[-len(layouts)].replace("eager", "compiled")
        yield from compiled(kind(case, data, setting, torch.compile(build(case, data, setting))))


def layout_of(setting: str) -> torch.memory_format:
    return torch.channels_last if "channels last" in setting else torch.contiguous_format


def image(data: Data, setting: str) -> torch.Tensor:
    return torch.from_numpy(data.inputs[0]).to(memory_format=layout_of(setting))


def build(case: Case, data: Data, setting: str) -> nn.Module:
    net = BUILDERS[case.arguments["network"]]()
    state = net.state_dict()
    given = {name: torch.from_numpy(array).reshape(state[name].shape) for name, array in data.weights.items()}
    missing, unexpected = net.load_state_dict(given, strict=False)
    left = [name for name in missing if not name.endswith("num_batches_tracked")]
    if left or unexpected:
        raise KeyError(f"{case.name}: the networks differ in {', '.join([*left, *unexpected])}")
    return net.to(memory_format=layout_of(setting))


def infer(case: Case, data: Data, setting: str, net: nn.Module) -> Trial:
    x = image(data, setting)
    net.eval()
    run = torch.inference_mode()(lambda: net(x))
    return Trial(setting, run, lambda: [run().numpy()])


def train(case: Case, data: Data, setting: str, net: nn.Module) -> Trial:
    """A step: forward, loss, backward, update. The results are the loss and the gradients of the first one."""
    x = image(data, setting)
    labels = None if data.labels is None else torch.from_numpy(data.labels).long()
    fused = "fused" in setting
    optimizer: torch.optim.Optimizer
    if NETWORKS[case.arguments["network"]].optimizer == "adamw":
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=fused)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, fused=fused)

    def backward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.arguments["bfloat16"]):
            y = net(x)
        loss = y.square().mean() if labels is None else F.cross_entropy(y, labels)
        loss.backward()
        return loss

    def step() -> None:
        optimizer.zero_grad()
        backward()
        optimizer.step()

    def results() -> Arrays:
        optimizer.zero_grad()
        loss = backward().detach().numpy().reshape(1)
        return [loss, *(value.grad.numpy().copy() for _, value in sorted(net.named_parameters()))]

    return Trial(setting, step, results)
