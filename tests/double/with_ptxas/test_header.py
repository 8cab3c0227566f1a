"""The double and tengen next to NVIDIA's cuda.h: arguments of functions, numbers of errors and attributes. `make test-ptxas`
installs the header; a C++ compiler compares."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "tests" / "double" / "native"
GONE = {"cuEventElapsedTime"}  # the library has it for programs of old, the header has not

START = """
#include <cuda.h>
#include <cstddef>
#include <cstdint>
#include <type_traits>

// An argument as the processor passes it: its size, and whether it is a pointer or a float.
template <class T> constexpr int passed() {
    return int(sizeof(T)) + 100 * std::is_pointer<T>::value + 1000 * std::is_floating_point<T>::value;
}
template <class R, class... A, class S, class... B> constexpr bool same(R (*)(A...), S (*)(B...)) {
    const int a[] = {0, passed<A>()...}, b[] = {0, passed<B>()...};
    bool equal = sizeof a == sizeof b;
    for (unsigned i = 0; equal && i < sizeof a / sizeof *a; ++i) equal = a[i] == b[i];
    return equal;
}
"""


def compiles(text: str, tmp_path: Path) -> None:
    source = tmp_path / "compare.cpp"
    source.write_text(START + text)
    folders = [f"-I{os.environ['CUDA_INCLUDE']}", f"-I{ROOT / 'csrc'}"]
    done = subprocess.run(["c++", "-std=c++20", "-fsyntax-only", *folders, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_double_takes_what_the_driver_takes(tmp_path):
    found = {}
    for path in NATIVE.glob("*.c"):
        found |= dict(re.findall(r"^API CUresult (cu\w+)\(([^{;]*)\)\s*\{", path.read_text(), re.MULTILINE))
    assert len(found) > 70
    names = sorted(found.keys() - GONE)
    own = [f"CUresult {name}({found[name]});" for name in names]
    undefined = [f"#undef {name}" for name in names]  # some are macros for the latest form of a function
    checks = [f'static_assert(same(&own::{name}, &::{name}), "{name}");' for name in names]
    types = "typedef int CUresult; typedef int CUdevice; typedef uint64_t CUdeviceptr;"
    compiles("\n".join([*undefined, f"namespace own {{ {types}", *own, "}", *checks]), tmp_path)


def test_tengen_gives_what_the_driver_takes(tmp_path):
    check = "static_assert(same(decltype(tengen::cuda::Driver::member){}, decltype(&::symbol){}), #member);"
    compiles(
        '#include "cuda/driver.h"\n'
        f"#define COMPARE(member, symbol, arguments) {check}\nTENGEN_CUDA_FUNCTIONS(COMPARE)\n",
        tmp_path,
    )


def test_numbers_have_their_names(tmp_path):
    errors = re.findall(r'\{(\d+), "(CUDA_\w+)"', (NATIVE / "errors.c").read_text())
    attributes = re.findall(r"\{(\d+), [^}]*\},\s*// (\w+)", (NATIVE / "devices.c").read_text())
    assert len(errors) > 30 and len(attributes) > 30
    named = [*errors, *((number, f"CU_DEVICE_ATTRIBUTE_{name}") for number, name in attributes)]
    compiles("\n".join(f'static_assert({name} == {number}, "{name}");' for number, name in named), tmp_path)
