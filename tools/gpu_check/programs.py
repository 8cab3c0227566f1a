"""A process of the corpus: `python -m gpu_check.programs FIRST STEP COUNT SECONDS [--gpu-only]`. A line of JSON for each program.

The programs are those of tests/differential, which draws them from seeds: two to twelve operations over all dtypes, layouts and roles of tensors,
with gradients and steps of optimizers. Each runs on the GPU, eager and traced, and is compared with NumPy; then its results with the CPU's.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np
from differential.generate import generate
from differential.modes import Result, Run, _narrow, check
from differential.program import Program
from differential.truth import run_inexact

import tengen

from .table import FIRST_SEED


def run_on(device: str, program: Program) -> list[Result]:
    """The results of all its calls, eager."""
    tengen.set_default_device(device)
    with warnings.catch_warnings(), tengen.config.override(sync=device != "cpu0"):
        warnings.simplefilter("ignore")
        return Run(program, "eager").all()


def named(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """The arrays that the calls left, by call and name."""
    return {
        f"{call} {name}": array
        for call, result in enumerate(results)
        for name, (_, array) in {**result.results, **result.state}.items()
    }


def bits(array: np.ndarray) -> bytes:
    """Equal for equal numbers: a NaN is a NaN, whatever its payload."""
    plain = np.array(array, order="C")
    if plain.dtype.kind == "c":
        plain = plain.reshape(-1).view(np.float32)
    if plain.dtype.kind == "f":
        plain[plain != plain] = np.nan
    return plain.tobytes()


def digest(found: dict[str, np.ndarray]) -> str:
    made = hashlib.sha256()
    for name, array in sorted(found.items()):
        made.update(f"{name} {array.dtype} {array.shape}".encode() + bits(array))
    return made.hexdigest()[:16]


def look_at(seed: int, gpu_only: bool) -> dict[str, Any]:
    """What is to be said of the program of a seed."""
    program = generate(seed)
    if gpu_only:
        return {"seed": seed, "failures": [], "digest": digest(named(run_on("gpu0", program)))}
    tengen.set_default_device("gpu0")
    with tengen.config.override(sync=True):
        failures = [f"{f.mode}, {f.kind}: {f.text}" for f in check(program, ("eager", "traced"))]
    exact = not run_inexact[0] and not _narrow(program) and program.gradient is None
    there, here = named(run_on("gpu0", program)), named(run_on("cpu0", program))
    same = [name for name in there if name in here and bits(there[name]) == bits(here[name])]
    other = sorted(there.keys() ^ here.keys()) or sorted(set(there) - set(same))
    if exact and other:
        failures.append(f"bits differ from the CPU's: {', '.join(other)}")
    text = hashlib.sha256(repr(program).encode()).hexdigest()[:16]
    counts = {"tensors": len(there), "equal": len(same), "exact": exact}
    return {"seed": seed, "program": text, "digest": digest(there), "failures": failures, **counts}


def main() -> None:
    first, step, count = map(int, sys.argv[1:4])
    until, gpu_only = monotonic() + float(sys.argv[4]), "--gpu-only" in sys.argv
    for number in range(first, count, step):
        if monotonic() > until:
            break
        print(json.dumps(look_at(FIRST_SEED + number, gpu_only)), flush=True)


if __name__ == "__main__":
    main()
