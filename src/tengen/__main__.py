"""`python -m tengen info`: what is installed and what it runs on. `python -m tengen cache`: the compiled kernels on disk."""

from __future__ import annotations

import os
import platform
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from . import __file__ as _INIT
from . import __version__, _rt, config
from .base.config import KNOBS
from .base.device import best_kind, gpu_count
from .compiler import cache
from .compiler.targets import host
from .core.memory import amount
from .device import get_cuda_device_property, get_cuda_driver_version

_OPTIONAL = "mpi4py onnx onnxruntime safetensors opencv-python-headless pillow ray scikit-learn matplotlib tensorboardX"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = ArgumentParser(prog="python -m tengen", description=__doc__)
    parser.add_argument("--version", action="version", version=f"tengen {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, processor, threads, settings, caches: what an issue should say")
    kept = commands.add_parser("cache", help="the compiled kernels on disk")
    actions = kept.add_subparsers(dest="action", required=True)
    actions.add_parser("info", help="where they are, how many, how large")
    actions.add_parser("clear", help="remove them; they are compiled again when they are needed")
    limited = actions.add_parser("limit", help="how much they may take, from now on and in all processes")
    limited.add_argument("size", type=_size, help="such as 500M or 2G; of 1024 bytes each")
    given = parser.parse_args(arguments)
    try:
        if given.command == "info":
            for name, value in _facts():
                print(f"{name:12}{value}")
        else:
            print(_cache(given.action, getattr(given, "size", 0)))
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _size(text: str) -> int:
    """A number of bytes from what a person writes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise ArgumentTypeError(f"a size is a number of bytes, or one with K, M, G or T, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def _cache(action: str, size: int) -> str:
    if action == "clear":
        gone = cache.clear()
        return f"removed {gone.entries} entries, {amount(gone.bytes)}, from {gone.folder}"
    if action == "limit":
        cache.set_limit(size)
    return _kept(cache.usage())


def _kept(found: cache.Usage) -> str:
    if found.folder is None:
        return "no folder can be used, so kernels are compiled anew in each process"
    return f"{found.folder}: {found.entries} entries, {amount(found.bytes)} of at most {amount(found.limit)}"


def _facts() -> Iterator[tuple[str, str]]:
    """Names and values, a line each."""
    yield "tengen", f"{__version__}, {amount(_bytes(os.path.dirname(_INIT)))} in {os.path.dirname(_INIT)}"
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "packages", ", ".join(f"{name} {found}" for name in ("numpy", "llvmlite") if (found := _version(name)))
    others = [f"{name} {found}" for name in _OPTIONAL.split() if (found := _version(name))]
    yield "optional", ", ".join(others) or "none"
    yield from _processor()
    changed = {knob.name: config.__getattr__(knob.name) for knob in KNOBS}
    yield (
        "settings",
        ", ".join(f"{k.name}={changed[k.name]}" for k in KNOBS if changed[k.name] != k.default) or "as they come",
    )
    yield "kernels", _kept(cache.usage())
    yield from _gpus()


def _gpus() -> Iterator[tuple[str, str]]:
    try:
        count, fault = gpu_count(), _rt.device_fault("gpu")
    except RuntimeError as error:  # TENGEN_CUDA_LIBRARY names something else
        count, fault = 0, str(error)
    if not count:
        yield "GPU", f"none: tengen computes on the CPU{f'. {fault}' if fault else ''}"
    for number in range(count):
        found = get_cuda_device_property(number)
        said = (
            f"gpu{number}: {found.name}, sm_{found.major}{found.minor}, {found.multi_processor_count} multiprocessors"
        )
        yield "GPU", f"{said}, memory {amount(found.total_memory)}"
    if count:
        driver = get_cuda_driver_version()
        use = "xpux is gpu0" if best_kind() == "gpu" else f"xpux is the CPU{f': {fault}' if fault else ''}"
        yield "driver", f"CUDA {driver // 1000}.{driver % 1000 // 10}; {use}"


def _processor() -> Iterator[tuple[str, str]]:
    import llvmlite.binding as llvm

    sizes = [
        amount(size)
        for level in ("LEVEL1_DCACHE", "LEVEL2_CACHE", "LEVEL3_CACHE")
        if (size := _sysconf(f"SC_{level}_SIZE"))
    ]
    caches = f", caches {' / '.join(sizes)}" if sizes else ""
    memory = amount(_sysconf("SC_PHYS_PAGES") * _sysconf("SC_PAGE_SIZE"))
    yield "processor", f"{llvm.get_host_cpu_name()}, {os.cpu_count()} cores{caches}, memory {memory}"
    try:
        target = host.host_target()
        said = f"{target.name} ({32 * target.lanes} bits); this machine can run {', '.join(host.available())}"
    except RuntimeError as error:  # a setting asks for what this machine has not
        said = str(error)
    yield "kernels for", f"{said}; LLVM {'.'.join(map(str, llvm.llvm_version_info))}"
    yield "threads", str(_rt.get_num_threads())


def _sysconf(name: str) -> int:
    """0 where the system does not say."""
    try:
        return max(os.sysconf(name), 0)
    except (AttributeError, ValueError, OSError):
        return 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _bytes(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(place, file)) for place, _, files in os.walk(folder) for file in files)


if __name__ == "__main__":
    sys.exit(main())
