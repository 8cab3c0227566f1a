"""Attention next to PyTorch's scaled_dot_product_attention, in turns: milliseconds of each, the best of several turns, and their ratio.

    python -m benchmarks.attention                       all lengths, head dims and dtypes; forward, and forward with backward
    python -m benchmarks.attention float32 1024 causal   those whose name has all these words

Queries, keys and values are transposed views of (N, L, heads, D), as layers make them. Both frameworks run with as many threads as
tengen has (TENGEN_NUM_THREADS), and first must agree.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

import tengen
from tengen import functional as F
from tengen._rt import get_num_threads
from tengen.autodiff import GradManager

from .measure import SETTLE

TURNS, SECONDS = 7, 0.02
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
STEP = {"float32": 1e-5, "bfloat16": 2**-7}  # of a large number's last digit: both round to the dtype
Run = Callable[[], object]


class Shape(NamedTuple):
    """Examples, heads, length and numbers of a head."""

    n: int
    heads: int
    length: int
    width: int


SHAPES = [
    *(Shape(8, 8, 64, d) for d in (32, 64, 128)),
    *(Shape(4, 8, 256, d) for d in (32, 64, 128)),
    *(Shape(1, 8, 1024, d) for d in (32, 64, 128)),
    *(Shape(1, 2, 4096, d) for d in (32, 64, 128)),
    *(Shape(1, 1, 8192, d) for d in (32, 64, 128)),
]


def runs(shape: Shape, dtype: str, causal: bool, backward: bool) -> tuple[Run, Run]:
    """What is timed of tengen and of PyTorch; results are compared first."""
    random = np.random.default_rng(0)
    size = shape.n, shape.length, shape.heads, shape.width
    arrays = [random.standard_normal(size).astype(np.float32) for _ in range(4)]
    ours = [tengen.tensor(x).astype(dtype).transpose(0, 2, 1, 3) for x in arrays]
    theirs = [torch.tensor(x).to(getattr(torch, dtype)).transpose(1, 2) for x in arrays]
    gm = GradManager().attach(ours[:3])
    leaves = [x.clone().requires_grad_() if backward else x for x in theirs[:3]]

    def mine() -> object:
        if not backward:
            return F.nn.scaled_dot_product_attention(*ours[:3], is_causal=causal)
        for x in ours[:3]:
            x.grad = None
        with gm:
            y = F.nn.scaled_dot_product_attention(*ours[:3], is_causal=causal)
            gm.backward(y, ours[3])
        return y

    def other() -> object:
        y = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)
        if backward:
            for x in leaves:
                x.grad = None
            y.backward(theirs[3])
        return y

    pairs = [(mine(), other())]
    if backward:
        pairs += [(x.grad, y.grad) for x, y in zip(ours, leaves, strict=False)]
    for a, b in pairs:
        got, want = a.astype("float32").numpy(), b.detach().float().numpy()
        spread = math.sqrt(np.square(want).mean() + 1)
        if not np.allclose(got, want, rtol=STEP[dtype], atol=TOLERANCE[dtype] * spread):
            raise SystemExit(f"{shape} {dtype}: the results differ by {np.abs(got - want).max()}")
    return mine, other


def best_seconds(found: tuple[Run, Run]) -> list[float]:
    """Of each, taking turns."""
    counts, best = [], [math.inf] * 2
    for run in found:
        run()
        started = time.perf_counter()
        run()
        counts.append(max(1, min(50, int(SECONDS / (time.perf_counter() - started)))))
    for _ in range(TURNS):
        for i, run in enumerate(found):
            time.sleep(SETTLE)
            started = time.perf_counter()
            for _ in range(counts[i]):
                run()
            best[i] = min(best[i], (time.perf_counter() - started) / counts[i])
    return best


def rows() -> Iterator[tuple[str, Shape, str, bool, bool]]:
    """All that can be measured, by name."""
    for dtype in TOLERANCE:
        for backward in (False, True):
            for causal in (False, True):
                for shape in SHAPES:
                    words = [dtype, "training" if backward else "forward", "causal" if causal else "full"]
                    yield " ".join([*words, "x".join(map(str, shape))]), shape, dtype, causal, backward


def main() -> None:
    torch.set_num_threads(get_num_threads())
    ratios = []
    for name, *case in rows():
        if not all(word in name for word in sys.argv[1:]):
            continue
        mine, other = best_seconds(runs(*case))
        ratios.append(mine / other)
        print(f"{name:40} {mine * 1e3:9.3f} ms  PyTorch {other * 1e3:9.3f} ms  ratio {ratios[-1]:.2f}", flush=True)
    if ratios:
        print(f"geometric mean {math.exp(np.log(ratios).mean()):.2f}, highest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
