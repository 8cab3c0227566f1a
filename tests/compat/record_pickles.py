"""Records pickles that MegEngine writes, in tests/compat/pickles.json; tests/reference/README.md says with which Python.

reference/bin/python tests/compat/record_pickles.py
"""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import megengine as mge
import megengine.module as M
import numpy as np
from megengine.core.tensor.dtype import qint8


def tensor(*shape: int) -> Any:
    return mge.tensor(np.random.RandomState(0).normal(size=shape).astype("float32"))


def layers() -> dict[str, tuple[Any, Any]]:
    """Layers that hold different things, and what each is called with."""
    x = tensor(1, 4, 4, 4)
    net = M.Sequential(
        M.Conv2d(4, 4, 3, groups=2, padding=1, padding_mode="reflect"), M.BatchNorm2d(4), M.ReLU(), M.MaxPool2d(2)
    )
    return {
        "net": (net, x),
        "Conv1d": (M.Conv1d(4, 2, 3, stride=2), tensor(1, 4, 8)),
        "ConvTranspose2d": (M.ConvTranspose2d(4, 2, 2, stride=2), x),
        "Embedding": (M.Embedding(5, 3), mge.tensor([[1, 2]], dtype="int32")),
        "GroupNorm": (M.GroupNorm(2, 4), x),
        "LayerNorm": (M.LayerNorm(4), x),
        "LSTMCell": (M.LSTMCell(3, 2), tensor(2, 3)),
        "Linear": (M.Linear(4, 2), x),
        "PReLU": (M.PReLU(4), x),
        "RNN": (M.RNN(3, 2), tensor(2, 1, 3)),
    }


def kept(obj: Any) -> str:
    return base64.b64encode(pickle.dumps(obj, protocol=4)).decode()


def main() -> None:
    quantized = tensor(2).astype(qint8(0.5))
    found: dict[str, Any] = {
        "tensors": kept(
            {"w": tensor(2, 2), "p": mge.Parameter([1.0, 2.0]), "i": mge.tensor([1, 2], "int32"), "s": mge.tensor(2.5)}
        ),
        "quantized": kept(quantized),
    }
    for name, (layer, x) in layers().items():
        layer.eval()
        y = layer(x)
        y = y[0] if isinstance(y, (tuple, list)) else y
        found[name] = [kept(layer), x.numpy().tolist(), y.numpy().tolist()]
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items())
    Path(__file__).with_name("pickles.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
