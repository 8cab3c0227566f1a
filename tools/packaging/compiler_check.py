"""Whether the C++ part can be compiled here; where it cannot, one sentence says what to install, in place of CMake's page."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

# A compiler that takes these takes the rest.
_PROGRAM = "#include <Python.h>\n#include <concepts>\n#include <span>\nint main() { return 0; }\n"


def missing(environment: Mapping[str, str] = os.environ, include: str = sysconfig.get_path("include")) -> str:
    """What to install, as a sentence; empty where nothing is missing, or where CMake is told what to use and says so itself."""
    told = "CMAKE_CXX_COMPILER" in environment.get("CMAKE_ARGS", "") or "CMAKE_TOOLCHAIN_FILE" in environment
    if os.name != "posix" or told:  # elsewhere CMake finds Visual Studio by itself
        return ""
    named, path = environment.get("CXX"), environment.get("PATH")
    found = [[name] for name in ("c++", "g++", "clang++") if shutil.which(name, path=path)]
    compiler = shlex.split(named) if named else next(iter(found), [])
    if not compiler or not shutil.which(compiler[0], path=path):
        what = f"CXX={named} is not there" if named else "there is none"
        return (
            f"tengen needs a C++ compiler to be built, and {what}: install one (on Debian or Ubuntu: apt install g++)"
        )
    if not Path(include, "Python.h").exists():
        package = "python{}.{}-dev".format(*sys.version_info)
        return (
            f"tengen needs the headers of Python to be built, and {include} has no Python.h: "
            f"install them (on Debian or Ubuntu: apt install {package})"
        )
    return _refused(compiler, include)


def _refused(compiler: list[str], include: str) -> str:
    """What is wrong with a compiler that does not take C++20; empty if it does."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "look.cpp")
        source.write_text(_PROGRAM)
        command = [*compiler, "-std=c++20", "-fsyntax-only", f"-I{include}", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode:
        return ""
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    said = next((line for line in lines if "error" in line), lines[0])
    return f"tengen needs a compiler of C++20 to be built, as are GCC 11 and Clang 14, and {shlex.join(compiler)} is none: {said}"
