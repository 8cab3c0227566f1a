"""Rows in PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import nn

from ..cases import Case
from ..measure import Arrays, Data, Trial
from .side_tengen import first_value, weights_of


def version() -> str:
    return torch.__version__


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


NAMES = {"torch": torch, "nn": nn, "nnf": nnf, "np": np}


def trials(case: Case, data: Data) -> Iterator[Trial]:
    row, wanted = case.arguments["row"], case.arguments["backward"]
    given = {name: torch.from_numpy(np.array(array)) for name, array in zip(row.inputs, data.inputs, strict=True)}
    if case.arguments["dtype"] == "bfloat16":
        given = {name: x.bfloat16() if x.dtype == torch.float32 else x for name, x in given.items()}
    names = {**NAMES, **given}
    exec(row.their_setup, names)
    layer = names.get("layer")
    if layer is not None:
        with torch.no_grad():
            for name, value in layer.named_parameters():
                value.copy_(torch.from_numpy(first_value(name, tuple(value.shape))))
    forward = eval(f"lambda: {row.theirs}", names)
    if wanted:
        run = backward(forward, [names[name] for name in row.grad.split()])
    else:
        run = forward if row.name.startswith("optimizer") else torch.inference_mode()(forward)
    yield Trial("eager", run, lambda: arrays(run(), row.exact))


def backward(forward: Callable[[], Any], wanted: list[Any]) -> Callable[[], Any]:
    watched = [
        v for x in wanted for v in ([p for _, p in sorted(x.named_parameters())] if isinstance(x, nn.Module) else [x])
    ]
    for x in watched:
        x.requires_grad_()
    y = forward().detach()
    dy = torch.from_numpy(np.asarray(weights_of(tuple(y.shape)))).to(y.dtype)

    def run() -> list[Any]:
        forward().backward(dy)
        found = [x.grad for x in watched]
        for x in watched:
            x.grad = None
        return found

    return run


def arrays(found: Any, exact: bool) -> Arrays:
    if not exact:
        return []
    if isinstance(found, (list, tuple)):
        return [array for part in found for array in arrays(part, exact)]
    if found is None:
        return []
    if isinstance(found, torch.Tensor):
        found = found.detach().float().numpy()
    array = np.asarray(found).astype(np.float32)
    return [array]
