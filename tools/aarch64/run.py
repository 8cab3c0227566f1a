"""Runs Python for 64-bit ARM on this machine, with tengen: the whole of it, not a piece, in qemu's emulation of a process.

    python tools/aarch64/run.py -m pytest tests/compiler/test_nest.py

A folder, build/aarch64, gets what that takes: Debian's Python and C library for arm64, NumPy and llvmlite from PyPI's wheels for it, and
the C++ part made by a cross compiler. Needs Debian with qemu-user, g++-aarch64-linux-gnu and dpkg: `apt install qemu-user
g++-aarch64-linux-gnu`. Everything is some ten to thirty times slower than on a real machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "aarch64"
SYSTEM = PLACE / "system"  # what is "/" for the emulated process
PACKAGES = PLACE / "packages"
COMPILER = "aarch64-linux-gnu-g++"

# Debian's packages of a Python with the standard library, and headers to compile against.
DEBIAN = (
    "libc6 libgcc-s1 libstdc++6 zlib1g libffi8 libssl3 libexpat1 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib "
    "libpython3.11-dev libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1 libreadline8 libdb5.3 libtinfo6 libncursesw6"
).split()
PYPI = ("numpy", "llvmlite>=0.45", "pytest", "pytest-xdist", "hypothesis")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")

# LLVM asks this file what the processor can do, and qemu shows that of the host. A Neoverse N1: NEON, no SVE.
PROCESSOR = """processor\t: {number}
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
# A child of an emulated process is one too only if it is started through the emulator: sys.executable is this script.
PYTHON = """#!/bin/sh
exec env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE PYTHONPATH="{path}${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONDONTWRITEBYTECODE=1 \\
    PYTHONEXECUTABLE="$0" qemu-aarch64 -L {system} {system}/usr/bin/python3.11 "$@"
"""


def run(*command: object, **options: object) -> None:
    """A command that must succeed; what it says is shown only if it does not."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def once(name: str, *after: Path):
    """Decorates a step that is done unless it was already, since these files have changed."""

    def decorate(step):
        stamp = PLACE / f"{name}.done"
        newest = max((path.stat().st_mtime for path in after), default=0.0)
        if not stamp.exists() or stamp.stat().st_mtime < newest:
            print(f"aarch64: {step.__doc__}", file=sys.stderr)
            step()
            stamp.touch()
        return step

    return decorate


def runtime_sources() -> list[Path]:
    """The files of the C++ part, as CMakeLists.txt names them."""
    listed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return [ROOT / name for name in re.findall(r"^ +(csrc/\S+\.cpp)$", listed, re.MULTILINE)]


def prepare() -> None:
    """Everything that a process needs."""
    for tool, package in (("qemu-aarch64", "qemu-user"), (COMPILER, "g++-aarch64-linux-gnu"), ("dpkg-deb", "dpkg")):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt install {package}")
    PLACE.mkdir(parents=True, exist_ok=True)

    @once("system", Path(__file__))
    def system() -> None:
        """Python and the C library from Debian"""
        apt = PLACE / "apt"
        for folder in ("lists/partial", "cache/archives/partial", "packages"):
            (apt / folder).mkdir(parents=True, exist_ok=True)
        options = [
            f"-oDir::State::lists={apt}/lists",
            f"-oDir::Cache={apt}/cache",
            "-oAPT::Architectures::=arm64",
            "-oAPT::Architectures::=amd64",
        ]
        run("apt-get", *options, "update")
        run("apt-get", *options, "download", *(f"{name}:arm64" for name in DEBIAN), cwd=apt / "packages")
        for package in (apt / "packages").glob("*.deb"):
            run("dpkg-deb", "-x", package, SYSTEM)
        (SYSTEM / "proc").mkdir(exist_ok=True)
        (SYSTEM / "proc" / "cpuinfo").write_text(
            "".join(PROCESSOR.format(number=i) for i in range(os.cpu_count() or 1))
        )

    @once("wheels", Path(__file__))
    def wheels() -> None:
        """NumPy, llvmlite and pytest from PyPI"""
        shutil.rmtree(PACKAGES, ignore_errors=True)
        platforms = [f"--platform={platform}" for platform in PLATFORMS]
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:")
        run(*pip, f"--target={PACKAGES}", "--python-version=3.11", *platforms, *PYPI)
        run(*pip, f"--target={PLACE / 'nanobind'}", "--no-deps", "nanobind>=3")

    @once("runtime", Path(__file__), *(ROOT / "csrc").rglob("*"))
    def runtime() -> None:
        """the C++ part"""
        binding = PLACE / "nanobind" / "nanobind"
        python = SYSTEM / "usr" / "include"
        headers = (
            ROOT / "csrc",
            binding / "include",
            binding / "ext" / "robin_map" / "include",
            python / "python3.11",
            python,
            python / "aarch64-linux-gnu",
        )
        flags = [
            "-std=c++20",
            "-O2",
            "-fPIC",
            "-fvisibility=hidden",
            "-fno-strict-aliasing",
            "-DNDEBUG",
            *(f"-I{path}" for path in headers),
        ]
        sources = [*runtime_sources(), binding / "src" / "nb_combined.cpp"]
        objects = [PLACE / f"{source.stem}.o" for source in sources]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(
                pool.map(
                    lambda pair: run(COMPILER, *flags, "-c", pair[0], "-o", pair[1]), zip(sources, objects, strict=True)
                )
            )
        run(COMPILER, "-shared", "-pthread", "-o", PLACE / "_rt.so", *objects)

    package = PLACE / "tengen"  # the sources in place, beside the C++ part for ARM
    package.mkdir(exist_ok=True)
    for link in package.iterdir():
        link.unlink()
    for source in (ROOT / "src" / "tengen").iterdir():
        if source.suffix != ".so" and source.name != "__pycache__":
            (package / source.name).symlink_to(source)
    (package / "_rt.so").symlink_to(PLACE / "_rt.so")
    python3 = PLACE / "python3"
    python3.write_text(PYTHON.format(path=f"{PLACE}:{PACKAGES}", system=SYSTEM))
    python3.chmod(0o755)


if __name__ == "__main__":
    prepare()
    os.environ.setdefault("TENGEN_CACHE_DIR", str(PLACE / "kernels"))
    os.environ.setdefault("CC", COMPILER.replace("g++", "gcc"))  # of the test double of a GPU's driver
    os.execv(PLACE / "python3", [str(PLACE / "python3"), *sys.argv[1:]])
