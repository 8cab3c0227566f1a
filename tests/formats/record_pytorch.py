"""Have PyTorch write the files that test_pytorch.py reads, and note down what is in them. Needs torch 2.6 or later.

python tests/formats/record_pytorch.py
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter, OrderedDict

import torch
from torch import nn

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch")
NUMBERS = torch.tensor([[0.0, 1.0, -2.5], [100.0, 1e-2, 3.75]])
FLOATS = "float16 bfloat16 float32 float64 float8_e4m3fn float8_e5m2 complex64 complex128".split()
WHOLE = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 bool".split()


def described(value):
    """A value as JSON: a tensor by its dtype, shape and elements."""
    if isinstance(value, torch.Tensor):
        kind = "Parameter" if isinstance(value, nn.Parameter) else "Tensor"
        numbers = value.detach().resolve_conj().resolve_neg()
        if value.dtype.is_complex:
            flat = torch.view_as_real(numbers.contiguous()).ravel().double().tolist()
        else:
            flat = numbers.to(torch.float64 if value.is_floating_point() else value.dtype).ravel().tolist()
        return {
            "kind": kind,
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "values": flat,
        }
    if isinstance(value, (dict, argparse.Namespace)):
        value = value if isinstance(value, dict) else vars(value)
        return {str(key): described(item) for key, item in value.items()}
    return [described(item) for item in value] if isinstance(value, (list, tuple)) else value


def dtypes():
    made = {name: NUMBERS.to(getattr(torch, name)) for name in FLOATS}
    made |= {name: torch.tensor([[0, 1], [2, 100]]).to(getattr(torch, name)) for name in WHOLE}
    made["imaginary"] = torch.complex(NUMBERS, NUMBERS.flip(1))
    made["conjugate"] = made["imaginary"].conj()
    made["negated"] = torch.complex(NUMBERS, NUMBERS).conj().imag
    return made


def views():
    base = torch.arange(24.0)
    cube = base.reshape(2, 3, 4)
    return {
        "transposed": cube.permute(2, 0, 1),
        "rows": cube[1, ::2],
        "columns": cube[..., 1::2],
        "scalar": base[5],
        "expanded": base[3:6].reshape(3, 1).expand(3, 4),
        "whole": base,
        "again": base,
        "empty": cube[:, :0],
        "none": torch.zeros(0),
        "other": torch.ones(2),
    }


def containers():
    marked = nn.Parameter(torch.ones(2))
    marked.note = "text"
    return {
        "list": [torch.ones(1), (nn.Parameter(torch.zeros(1, 2)), None, {"deep": torch.tensor(7)})],
        "ordered": OrderedDict(b=torch.zeros(1, dtype=torch.int32), a=1.5),
        "size": torch.ones(2, 3).shape,
        "marked": marked,
        "buffer": nn.Buffer(torch.full((2,), 3.0)),
        "counter": Counter([1, 1, 2]),
        "options": argparse.Namespace(lr=0.1, names=["a"], scale=torch.ones(1)),
        "plain": [True, 3, 2**70, "text", None],
    }


def checkpoint():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(torch.randn(3, 2, 3, 3)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict()}


def main() -> None:
    for make in (dtypes, views, containers, checkpoint):
        path = os.path.join(FOLDER, make.__name__)
        made = make()
        torch.save(made, path + ".pt")
        torch.save(made, path + "_legacy.pt", _use_new_zipfile_serialization=False)
        with open(path + ".json", "w") as file:
            json.dump(described(made), file)
    torch.save(views(), os.path.join(FOLDER, "views_4.pt"), pickle_protocol=4)
    torch.save(nn.Linear(1, 1), os.path.join(FOLDER, "module.pt"))
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), os.path.join(FOLDER, "script.pt"))


if __name__ == "__main__":
    main()
