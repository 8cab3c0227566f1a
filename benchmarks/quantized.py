"""Inference in 8 bits next to ONNX Runtime and OpenVINO, which make their models by their own tools from the same float model.

PEERS=onnxruntime,openvino python -m benchmarks.quantized                       # all rows
PEERS=onnxruntime python -m benchmarks.quantized 'resnet18*' --turns 30 --threads 2

The peers take turns with tengen in one process. A row has the median and the fastest time of each in ms, and tengen's fastest to that of
the fastest peer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
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


def arrays(shape: tuple[int, ...]) -> list[Any]:
    return [np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in range(BATCHES)]


def float_model(net: M.Module, x: Any, file: Path) -> None:
    """The network in floats as ONNX."""
    function = trace(capture_as_const=True)(net)
    function(tengen.tensor(x))
    function.dump(str(file), arg_names=["x"], dump_format="ONNX")


def in_tengen(net: M.Module, given: list[Any], threads: int, folder: Path) -> Run:
    """Calibrated, written to a file and read again, where what depends on weights alone has been computed once."""
    tengen.config.num_threads = threads
    made = calibrate(net, [tengen.tensor(x) for x in given]).network
    function = trace(capture_as_const=True)(made)
    x = tengen.tensor(given[0])
    function(x)
    function.dump(str(folder / "int8.tg"))
    loaded = load(str(folder / "int8.tg"))
    return lambda: loaded(x).numpy()


def in_onnxruntime(model: Path, given: list[Any], threads: int, folder: Path) -> Run:
    """Quantised statically, weights by channel."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting: Iterator[Any] = iter(given)

        def get_next(self) -> dict[str, Any] | None:
            x = next(self.waiting, None)
            return None if x is None else {"x": x}

    prepared, made = folder / "prepared.onnx", folder / "ort.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(made), Reader(), per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": given[0]})


def in_openvino(model: Path, given: list[Any], threads: int, folder: Path) -> Run:
    """Quantised after training by NNCF."""
    import nncf
    import openvino

    core = openvino.Core()
    made = nncf.quantize(core.read_model(str(model)), nncf.Dataset(given, lambda x: {"x": x}))
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(made, "CPU", settings).create_infer_request()
    return lambda: request.infer({"x": given[0]})


PEERS: dict[str, Callable[..., Run]] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def measure(runs: dict[str, Run], turns: int) -> dict[str, list[float]]:
    """Times in ms of runs that take turns; the first three do not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def row(name: str, peers: list[str], turns: int, threads: int) -> str:
    """A line of the table."""
    make, shape = ROWS[name]
    tengen.random.seed(0)
    net, given = make(), arrays(shape)
    net.eval()
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place), Path(place) / "float32.onnx"
        if peers:
            float_model(net, given[0], model)
        runs = {"tengen": in_tengen(net, given, threads, folder)}
        runs |= {peer: PEERS[peer](model, given, threads, folder) for peer in peers}
        times = measure(runs, turns)
    read = [f"{statistics.median(times[who]):.2f} ({min(times[who]):.2f})" for who in ("tengen", *peers)]
    best = min([min(times[peer]) for peer in peers], default=None)
    ratio = "" if best is None else f"{min(times['tengen']) / best:.2f}"
    return f"| {name} | {' | '.join(read)} | {ratio} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.quantized", description=__doc__)
    parser.add_argument("rows", nargs="*", default=["*"], help=f"names, with * and ?: {', '.join(ROWS)}")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    peers = [peer for peer in os.environ.get("PEERS", "").split(",") if peer]
    if unknown := set(peers) - set(PEERS):
        raise SystemExit(f"PEERS has {', '.join(sorted(unknown))}; those known are {', '.join(PEERS)}")
    print(f"| median (fastest), ms | tengen | {' | '.join([*peers, 'tengen to the fastest'])} |")
    print("|---" * (len(peers) + 3) + "|")
    for name in ROWS:
        if any(fnmatchcase(name, pattern) for pattern in options.rows):
            print(row(name, peers, options.turns, options.threads), flush=True)


if __name__ == "__main__":
    main()
