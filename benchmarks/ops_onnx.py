"""Inference of the networks in ONNX Runtime, of models that PyTorch exports."""

from __future__ import annotations

import io
from collections.abc import Iterator

import onnxruntime
import torch

from .cases import Case
from .measure import Data, Trial
from .ops_torch import build

threads = 0  # 0: all cores


def version() -> str:
    return onnxruntime.__version__


def set_threads(number: int) -> None:
    global threads
    threads = number


def trials(case: Case, data: Data) -> Iterator[Trial]:
    """One trial for the inference of a network, else none."""
    if case.kind != "network" or case.arguments["train"]:
        return
    model = io.BytesIO()
    net = build(case, data, "eager").eval()
    torch.onnx.export(net, (torch.from_numpy(data.inputs[0]),), model, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.getvalue(), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: data.inputs[0]}
    yield Trial("session", lambda: session.run(None, given), lambda: session.run(None, given))
