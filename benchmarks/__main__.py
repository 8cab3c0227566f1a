"""Measures tengen and its peers in one process: `python -m benchmarks`, or `make bench`.

Examples:
    python -m benchmarks --list                          names of all cases
    python -m benchmarks 'matmul/*' 'overhead/*'         some cases
    python -m benchmarks --quick --sample                a first look: a few cases of each group, few turns
    python -m benchmarks --api                           every public function, layer, optimizer and random source
    python -m benchmarks --api '*pow* large*'            some of these
"""

from __future__ import annotations

import argparse
import datetime
import sys
import traceback
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from . import api, machine, measure, report, startup
from .api.report import slower
from .cases import Case, all_cases

# name: module of ours, what it needs
FRAMEWORKS = {
    "tengen": ("ops_tengen", ("tengen",)),
    "all memory": ("ops_unlimited", ("tengen",)),
    "PyTorch": ("ops_torch", ("torch",)),
    "JAX": ("ops_jax", ("jax",)),
    "ONNX Runtime": ("ops_onnx", ("onnxruntime", "onnx", "torch")),
}
API = {"tengen": ("api.side_tengen", ("tengen",)), "PyTorch": ("api.side_torch", ("torch",))}


def arguments() -> argparse.Namespace:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks", None, description, examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=["*"], help="names of cases, with * and ? (all)")
    parser.add_argument("--api", action="store_true", help="the rows of the API in place of the cases, short turns")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--sample", action="store_true", help="only a few cases of each group")
    parser.add_argument("--only-tengen", action="store_true", help="no peers")
    parser.add_argument("--rounds", type=int, help="turns that each framework has, at least (15; quick: 5)")
    parser.add_argument("--seconds", type=float, help="of a turn (0.05; quick: 0.01)")
    parser.add_argument("--quick", action="store_true", help="few and short turns, and without torch.compile")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--compile-limit", type=int, default=180, help="seconds for torch.compile in a case (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=machine.THREADS, help="for each framework (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results (%(default)s)")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Case]:
    fits = [
        case
        for case in (api.all_cases if options.api else all_cases)()
        if any(fnmatchcase(case.name, pattern) for pattern in options.cases)
    ]
    return [case for case in fits if case.sample] if options.sample else fits


def load(options: argparse.Namespace) -> dict[str, ModuleType]:
    """The frameworks that are installed, tengen first, set up for the number of threads."""
    found = {}
    for name, (module, needs) in (API if options.api else FRAMEWORKS).items():
        if all(map(find_spec, needs)) and (name == "tengen" or not options.only_tengen):
            found[name] = import_module(f".{module}", __package__)
            if hasattr(found[name], "set_threads"):
                found[name].set_threads(options.threads)
    if "PyTorch" in found and not (options.no_compile or options.quick):
        found["PyTorch"].compile_limit = options.compile_limit
    return found


def run(case: Case, frameworks: dict[str, ModuleType], settings: measure.Options) -> dict[str, Any]:
    """The row of a case."""
    if case.name.startswith("startup/"):
        times = startup.measure(case, list(frameworks), settings.rounds)
        return measure.row(case.name, times, dict.fromkeys(times, "")) | {"settings": {}}
    return measure.measure(case, {name: module.trials for name, module in frameworks.items()}, settings)


def summary(row: dict[str, Any]) -> str:
    parts = [f"{name} {report.duration(taken['median'])}" for name, taken in row["frameworks"].items()]
    ratios = [f"{ratio['median']:.2f} × {peer}" for peer, ratio in row["ratios"].items()]
    return ", ".join(parts + ratios)


def main() -> int:
    options = arguments()
    cases = chosen(options)
    if options.list or not cases:
        print("\n".join(case.name for case in cases) or f"no case fits {' '.join(options.cases)}")
        return 0 if cases else 2
    frameworks = load(options)
    short = options.quick or options.api
    rounds = options.rounds or (3 if options.api else 5 if options.quick else 15)
    limits = machine.Limits(options.threads)
    settings = measure.Options(
        rounds, options.seconds or (0.01 if short else 0.05), limits.are_there, 1.0 if options.api else None
    )
    limits.read(1.0)
    print(f"{limits.peak / 1e9:.0f} GFLOP/s, {limits.bandwidth / 1e9:.1f} GB/s, {len(cases)} cases", flush=True)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.name}: ", end="", flush=True)
        peak = limits.read(0.05) if not options.api or number % 20 == 1 else limits.peak
        others = machine.OtherProcesses()
        try:
            rows.append(run(case, frameworks, settings) | {"other_cores": others.cores(), "peak_before": peak})
            print(summary(rows[-1]), flush=True)
        except Exception as error:  # whatever goes wrong in one case, the others are measured, and all is reported
            failed.append(
                {"name": case.name, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
            )
            print(f"FAILED, {failed[-1]['error']}", flush=True)
    measure.add_limits(rows, limits.peak, limits.bandwidth)
    results = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine.description() | {"peak": limits.peak, "bandwidth": limits.bandwidth},
        "versions": {name: module.version() for name, module in frameworks.items()},
        "options": {"threads": options.threads, "rounds": rounds, "seconds": settings.seconds, "compile": not (options.no_compile or options.quick)},
        "cases": rows,
        "failures": failed,
    }  # fmt: skip
    report.write(options.out, results)
    print("\n".join(slower(rows) if options.api else []), flush=True)
    print(f"{len(rows)} measured, {len(failed)} failed; {options.out}/results.md, .json, .png")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
