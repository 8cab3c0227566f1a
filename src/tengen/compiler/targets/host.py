"""The machine that kernels run on: its instruction set, and how LLVM IR text becomes an address.

The setting `isa` (environment variable TENGEN_ISA) chooses the instruction set. "native" is everything that this
machine has. A narrower one gives a generic processor of that level, so that one machine can test the code of several.
"""

from __future__ import annotations

import ctypes
import itertools
import platform
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from ...base import config
from ..backend import compiling
from ..kernels.target import HostTarget

_AVX512 = HostTarget("avx512", "x86-64-v4", "", 16, (8, 16, 32, 64), (32, 64), half=True)
_AVX512_NEEDS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "f16c")
_VNNI = _AVX512._replace(name="avx512vnni", features="+avx512vnni", vnni=True)
_VNNI_NEEDS = (*_AVX512_NEEDS, "avx512vnni")
_BFLOAT = _VNNI._replace(name="avx512bf16", features="+avx512vnni,+avx512bf16", dots=True)
_BFLOAT_NEEDS = (*_VNNI_NEEDS, "avx512bf16")
_AMX = _BFLOAT._replace(name="amx", features="+avx512vnni,+avx512bf16,+amx-tile,+amx-bf16,+amx-int8", amx=True)
_AVX2 = HostTarget("avx2", "x86-64-v3", "", 8, (32, 64), half=True)
_AVX2_NEEDS = ("avx2", "fma", "f16c")
_AVX_VNNI = _AVX2._replace(name="avxvnni", features="+avxvnni", vnni=True)
_PERMISSION = "permission of the kernel"
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) on x86-64
_ARCH_PRCTL, _REQUEST_FEATURE, _TILE_REGISTERS = 158, 0x1023, 18

# Each instruction set on a generic processor, with the host features that it needs; widest first.
_LEVELS = {
    target.name: (target, needs)
    for target, needs in (
        (_AMX, (*_BFLOAT_NEEDS, "amx-tile", "amx-bf16", "amx-int8", _PERMISSION)),
        (_BFLOAT, _BFLOAT_NEEDS),
        (_VNNI, _VNNI_NEEDS),
        (_AVX512, _AVX512_NEEDS),
        (_AVX_VNNI, (*_AVX2_NEEDS, "avxvnni")),
        (_AVX2, _AVX2_NEEDS),
        (HostTarget("x86-64", "x86-64", "", 4), ("sse2",)),
        (HostTarget("neon", "generic", "", 4, half=True), ("neon",)),
    )
}


def host_target() -> HostTarget:
    """The target that the setting `isa` asks for. Raises RuntimeError if this machine does not have it."""
    return _target(config.get("isa"))


def available() -> list[str]:
    """The instruction sets that this machine can run, widest first."""
    return [name for name in _LEVELS if not _missing(name)]


@cache
def _target(isa: str) -> HostTarget:
    with compiling:
        return _chosen(isa)


def _chosen(isa: str) -> HostTarget:
    _initialize()
    names = available()
    if isa != "native" and isa not in names:
        lacks = ", ".join(_missing(isa))
        raise RuntimeError(
            f"TENGEN_ISA={isa}: this machine has no {isa} ({lacks} missing); it can run {', '.join(names)}"
        )
    if isa == "native" and not names:
        raise RuntimeError(f"tengen makes kernels for x86-64 and ARM with NEON, not for {platform.machine()}")
    target, _ = _LEVELS[names[0] if isa == "native" else isa]
    if isa == "native":
        target = target._replace(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten())
        target = target._replace(level2=_level2() or target.level2)
    if target.lanes == 16:  # LLVM avoids 512-bit registers on many processors
        target = target._replace(features=",".join(filter(None, (target.features, "-prefer-256-bit"))))
    return target


def _level2() -> int:
    """The bytes of a core's level-2 cache, as Linux tells them ("1024K"); 0 where it does not."""
    for index in _CACHES.glob("index*"):
        try:
            if (index / "level").read_text().strip() == "2":
                size = (index / "size").read_text().strip()
                return int(size.removesuffix("K")) * (1024 if size.endswith("K") else 1)
        except (OSError, ValueError):
            continue
    return 0


@cache
def _host_features() -> frozenset[str]:
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def _missing(isa: str) -> list[str]:
    missing = [feature for feature in _LEVELS[isa][-1] if feature not in _host_features()]
    return [feature for feature in missing if feature != _PERMISSION or len(missing) > 1 or not _permitted()]


@cache
def _permitted() -> bool:
    """Ask Linux for permission to use the AMX registers. It holds for all threads and for forked processes.

    Linux before 5.16 refuses, some sandboxes do, and so does a system where a thread has a signal stack too small for
    these registers.
    """
    try:
        ask = ctypes.CDLL(None).syscall
    except (AttributeError, OSError, TypeError):
        return False
    ask.restype = ctypes.c_long
    return int(ask(*map(ctypes.c_long, (_ARCH_PRCTL, _REQUEST_FEATURE, _TILE_REGISTERS)))) == 0


# -- LLVM ----------------------------------------------------------------------------------------------------------

_numbers = itertools.count()
_loaded: list[
    llvm.ResourceTracker
] = []  # A library is unloaded with its tracker, so trackers live as long as the process


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _machine(target: HostTarget) -> llvm.TargetMachine:
    _initialize()
    native = llvm.Target.from_default_triple()
    return native.create_target_machine(cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small")


@cache
def _linker() -> llvm.LLJIT:
    _initialize()
    return llvm.create_lljit_compiler()


def compile_object(text: str, target: HostTarget) -> bytes:
    """Machine code (an object file) of a module of LLVM IR. No middle-end passes run, because the IR is already well
    optimised."""
    with compiling:
        return _machine(target).emit_object(llvm.parse_assembly(text))


def assembly(text: str, target: HostTarget) -> str:
    """The assembly of that code, for people to read."""
    with compiling:
        return _machine(target).emit_assembly(llvm.parse_assembly(text))


def load(code: bytes) -> int:
    """Link an object file into the process. Returns the address of its function `kernel`."""
    with compiling:
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol("kernel")
        tracker = builder.link(_linker(), f"kernel{next(_numbers)}")
        _loaded.append(tracker)
        return tracker["kernel"]
