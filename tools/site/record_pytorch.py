"""Write down what PyTorch's calls in pytorch.txt give: `python tools/site/record_pytorch.py`, in an environment with PyTorch and NumPy."""

from __future__ import annotations

import json
import sys
import warnings

import from_pytorch
import torch


def main() -> int:
    """Returns 1 if a call fails."""
    warnings.simplefilter("ignore")
    found, failed = {}, 0
    for row in from_pytorch.rows():
        names = {name: torch.tensor(value) for name, value in from_pytorch.VALUES.items()}
        names |= {
            "torch": torch,
            "nn": torch.nn,
            "optim": torch.optim,
            "array": from_pytorch.ARRAY,
            "net": torch.nn.Linear(3, 2),
        }
        try:
            found[row.theirs] = from_pytorch.described(from_pytorch.result(row.theirs, names))
        except Exception as error:
            print(f"{row.theirs}: {error}", file=sys.stderr)
            failed = 1
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    (from_pytorch.HERE / "pytorch.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{len(found)} calls of PyTorch {torch.__version__}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
