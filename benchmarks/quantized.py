"""Inference in 8 bits, bfloat16 and float32 next to ONNX Runtime and OpenVINO, which make their models by their own tools from the same float model.

PEERS=onnxruntime,openvino python -m benchmarks.quantized                       # all rows
PEERS=onnxruntime python -m benchmarks.quantized 'int8/resnet18*' --turns 30 --threads 2
PEERS=openvino python -m benchmarks.quantized --models out/models --turns 0     # make the peers' models only; later runs read them

The peers take turns with tengen in one process; in each turn there is a pause, for the threads of the others to fall asleep, one run that
does not count, and three that do. A row has the median and the fastest time of each in ms, and tengen's fastest to that of the fastest peer.
ONNX Runtime has no bfloat16 on x86, so it has no part in these rows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

import tengen
import tengen.module as M
from tengen.jit import load, trace
from tengen.quantization import calibrate

from .networks_quantized import ROWS

Run = Callable[[], Any]
BATCHES = 4
"""Batches from which scales are found."""
PRECISIONS = "int8", "bfloat16", "float32"
SETTLE, COUNTED = 0.05, 3
"""Seconds before a turn, and runs of it that count."""


def arrays(shape: tuple[int, ...]) -> list[Any]:
    return [np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in range(BATCHES)]


def float_model(net: M.Module, x: Any, file: Path) -> None:
    """The network in floats as ONNX."""
    function = trace(capture_as_const=True)(net)
    function(tengen.tensor(x))
    function.dump(str(file), arg_names=["x"], dump_format="ONNX")


def in_tengen(net: M.Module, precision: str, given: list[Any], threads: int, folder: Path) -> Run:
    """Written to a file and read again, where what depends on weights alone has been computed once; for 8 bits calibrated before."""
    tengen.config.num_threads = threads
    made: Any = calibrate(net, [tengen.tensor(x) for x in given]).network if precision == "int8" else net
    function = trace(capture_as_const=True)(made)
    x = tengen.tensor(given[0])
    function(x)
    function.dump(str(folder / "made.tg"))
    loaded = load(str(folder / "made.tg"), precision="bfloat16" if precision == "bfloat16" else None)
    return lambda: loaded(x).numpy()


def in_onnxruntime(model: Path, precision: str, given: list[Any], threads: int) -> Run | None:
    """In 8 bits quantised statically, weights by channel."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if precision == "bfloat16":
        return None

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting: Iterator[Any] = iter(given)

        def get_next(self) -> dict[str, Any] | None:
            x = next(self.waiting, None)
            return None if x is None else {"x": x}

    made = model
    if precision == "int8":
        prepared, made = model.with_suffix(".prepared.onnx"), model.with_suffix(".int8.onnx")
        if not made.exists():
            quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
            quantize_static(str(prepared), str(made), Reader(), per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": given[0]})


def in_openvino(model: Path, precision: str, given: list[Any], threads: int) -> Run:
    """In 8 bits quantised after training by NNCF."""
    import openvino

    core = openvino.Core()
    made: Any = model
    if precision == "int8":
        made = model.with_suffix(".int8.xml")
        if not made.exists():
            import nncf

            openvino.save_model(
                nncf.quantize(core.read_model(str(model)), nncf.Dataset(given, lambda x: {"x": x})), str(made)
            )
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision != "int8":  # else it does what is not of integers in what suits it
        settings["INFERENCE_PRECISION_HINT"] = {"bfloat16": "bf16", "float32": "f32"}[precision]
    request = core.compile_model(core.read_model(str(made)), "CPU", settings).create_infer_request()
    return lambda: request.infer({"x": given[0]})


PEERS: dict[str, Callable[..., Run | None]] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def measure(runs: dict[str, Run], turns: int) -> dict[str, list[float]]:
    """Times in ms of runs that take turns; the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            time.sleep(SETTLE)
            run()
            for _ in range(COUNTED):
                start = time.perf_counter()
                run()
                if turn:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return times


def _threads() -> set[int]:
    return set(map(int, os.listdir("/proc/self/task")))


@contextmanager
def held(workers: set[int]) -> Iterator[None]:
    """Hold the calling thread on the first core and these on the others, in turn."""
    first, *others = sorted(os.sched_getaffinity(0))
    for number, worker in enumerate(sorted(workers)):
        with suppress(ProcessLookupError):  # one that has only imported something
            os.sched_setaffinity(worker, {others[number % len(others)] if others else first})
    os.sched_setaffinity(0, {first})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {first, *others})


def row(name: str, precision: str, peers: list[str], turns: int, threads: int, models: Path, bind: bool) -> str:
    """A line of the table."""
    make, shape = ROWS[name]
    tengen.random.seed(0)
    net, given, model = make(), arrays(shape), models / f"{name.replace(' ', '-')}.onnx"
    net.eval()
    if peers and not model.exists():
        float_model(net, given[0], model)
    before = _threads() if bind else set()
    with tempfile.TemporaryDirectory() as place:
        runs = {"tengen": in_tengen(net, precision, given, threads, Path(place))}
    workers = _threads() - before if bind else set()
    made = {peer: PEERS[peer](model, precision, given, threads) for peer in peers}
    runs |= {peer: run for peer, run in made.items() if run}
    for run in runs.values():  # whose threads are there then
        run()
    with held(workers) if bind else nullcontext():
        times = measure(runs, turns)
    if not turns:
        return f"| {precision}/{name} | made |"
    read = [
        f"{statistics.median(times[who]):.2f} ({min(times[who]):.2f})" if who in times else ""
        for who in ("tengen", *peers)
    ]
    best = min([min(times[peer]) for peer in peers if peer in times], default=None)
    ratio = "" if best is None else f"{min(times['tengen']) / best:.2f}"
    return f"| {precision}/{name} | {' | '.join(read)} | {ratio} |"


def main() -> None:
    """Print a table."""
    names = {f"{precision}/{name}": (name, precision) for precision in PRECISIONS for name in ROWS}
    parser = argparse.ArgumentParser("python -m benchmarks.quantized", description=__doc__)
    parser.add_argument("rows", nargs="*", default=["*"], help=f"names, with * and ?: {', '.join(names)}")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--bind",
        action="store_true",
        help="hold tengen's threads on a core each, as OpenVINO does with its own; a busy machine may leave them on one core (Linux)",
    )
    parser.add_argument(
        "--models", type=Path, help="a folder for the peers' models, which are made where it lacks them"
    )
    options = parser.parse_args()
    peers = [peer for peer in os.environ.get("PEERS", "").split(",") if peer]
    if unknown := set(peers) - set(PEERS):
        raise SystemExit(f"PEERS has {', '.join(sorted(unknown))}; those known are {', '.join(PEERS)}")
    print(f"| median (fastest), ms | tengen | {' | '.join([*peers, 'tengen to the fastest'])} |")
    print("|---" * (len(peers) + 3) + "|")
    models = options.models or Path(tempfile.mkdtemp())
    models.mkdir(parents=True, exist_ok=True)
    try:
        for full, (name, precision) in names.items():
            if any(fnmatchcase(full, pattern) for pattern in options.rows):
                print(row(name, precision, peers, options.turns, options.threads, models, options.bind), flush=True)
    finally:
        if not options.models:
            shutil.rmtree(models)


if __name__ == "__main__":
    main()
