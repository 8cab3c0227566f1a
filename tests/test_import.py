"""`import tengen` is quick: what takes long to load waits until it is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# What NumPy itself has imported does not count.
PROGRAM = """
import sys
import numpy
before = set(sys.modules)
import tengen
{statement}
print(*(set(sys.modules) - before))
"""
HEAVY = (
    "argparse asyncio concurrent dataclasses decimal fractions hashlib importlib.resources json llvmlite matplotlib multiprocessing "
    "pathlib random secrets shutil sklearn subprocess tempfile tqdm unittest urllib zipfile"
).split()


def imported(statement: str, **settings: str) -> set[str]:
    """The modules that a fresh process imports for `import tengen` and a statement after it. settings: environment variables."""
    command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    done = subprocess.run(
        command, env={**os.environ, **settings}, check=True, capture_output=True, text=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def at_import() -> set[str]:
    return imported("")


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_nothing_heavy(at_import, name):
    assert not {module for module in at_import if f"{module}.".startswith(f"{name}.")}


def test_import_loads_only_what_ops_are_made_of_from_the_compiler(at_import):
    compiler = {module.removeprefix("tengen.compiler.") for module in at_import if "tengen.compiler." in module}
    assert compiler == {
        "attention",
        "backend",
        "effects",
        "geometry",
        "interned",
        "kernels",
        "kernels.functions",
        "loop",
        "orders",
        "plan",
        "program",
        "values",
        "view",
    }


def test_import_loads_no_leaves(at_import):
    leaves = ("compat", "data", "distributed", "examples", "jit.onnx", "quantization", "traced_module", "utils")
    assert not {module for module in at_import if module.startswith(tuple(f"tengen.{leaf}" for leaf in leaves))}


@pytest.mark.parametrize(
    "statement",
    [
        "tengen.tensor([1.0, 2.0]) + 1",
        "tengen.functional.matmul(tengen.tensor([[1.0]]), tengen.tensor([[2.0]]))",
        "tengen.module.Conv2d(1, 2, 3)(tengen.functional.ones((1, 1, 4, 4)))",
    ],
)
def test_the_first_op_loads_the_compiler(statement, tmp_path):
    loaded = imported(statement, TENGEN_CACHE_DIR=str(tmp_path / "empty"))
    assert {"llvmlite.binding", "tengen.compiler.schedule.driver"} <= loaded


def test_an_older_python_hears_which_one_is_needed():
    code = "import sys; sys.version_info = (3, 9, 18); import tengen"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("ImportError: tengen needs Python 3.10 or newer; this is Python 3.")
