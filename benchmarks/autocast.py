"""Networks in float32 and under autocast("bfloat16"), in turns: milliseconds of each, the best of several turns.

    python -m benchmarks.autocast                 all networks, inference and training, eager and traced
    python -m benchmarks.autocast resnet18 train  those whose name has all these words

With one thread (TENGEN_NUM_THREADS=1) a thread's own CPU time counts, so that other processes disturb less; with several the clock
on the wall.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import tengen
from tengen import Tensor, amp, tensor
from tengen import functional as F
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.optimizer import SGD

from . import ops_tengen
from .cases import Case, all_cases
from .measure import SETTLE, make_data

TURNS, SECONDS, FIRST = 6, 0.1, 3


def step(case: Case, auto: bool) -> Callable[[], Tensor]:
    """One inference, or one step of training."""
    data = make_data(case)
    net, x = ops_tengen.build(case, data), tensor(data.inputs[0])
    labels = None if data.labels is None else tensor(data.labels)
    precision = amp.autocast(enabled=auto, low_prec_dtype="bfloat16")
    if "train" not in case.name:
        net.eval()
        return precision(lambda: net(x))
    gm = GradManager().attach(net.parameters())
    optimizer = SGD(net.parameters(), lr=1e-4, momentum=0.9)

    def train() -> Tensor:
        with gm:
            with precision:
                y = net(x)
                loss = F.mean(y * y) if labels is None else F.nn.cross_entropy(y, labels)
            gm.backward(loss)
        optimizer.step().clear_grad()
        return loss

    return train


def best_seconds(runs: list[Callable[[], Tensor]]) -> list[float]:
    """Of each, taking turns."""
    clock = time.thread_time if tengen.config.num_threads == 1 else time.perf_counter
    for run in runs * FIRST:
        run().numpy()
    started = clock()
    runs[0]().numpy()
    count = max(1, min(50, int(SECONDS / max(clock() - started, 1e-9))))
    best = [float("inf")] * len(runs)
    for _ in range(TURNS):
        for i, run in enumerate(runs):
            time.sleep(SETTLE)
            started = clock()
            for _ in range(count):
                run().numpy()
            best[i] = min(best[i], (clock() - started) / count)
    return best


def main(words: list[str]) -> None:
    print(f"{'case':32s} {'':6s} {'float32':>10s} {'autocast':>10s}")
    for case in all_cases():
        if case.kind != "network" or case.name.startswith("traced/") or not all(word in case.name for word in words):
            continue
        for how in ("eager", "traced"):
            runs = [step(case, auto) for auto in (False, True)]
            wide, narrow = best_seconds([trace(run, without_host=True) if how == "traced" else run for run in runs])
            print(
                f"{case.name:32s} {how:6s} {1e3 * wide:7.3f} ms {1e3 * narrow:7.3f} ms  {narrow / wide:.3f}", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
