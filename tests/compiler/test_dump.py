"""The setting `dump`: every stage of every Plan in files."""

from __future__ import annotations

import numpy as np
from plans import run_plan

from tengen.base import config
from tengen.compiler import compile_program, passes
from tengen.compiler.program import Type, build
from tengen.core.ops.formula import Softmax
from tengen.core.ops.host import MatrixInverse
from tengen.core.ops.linalg import Linear, Product


def dumped(tmp_path, op, *shapes):
    with config.override(dump=str(tmp_path)):
        plan = compile_program(build(op, [Type("float32", s) for s in shapes]), title=f"{op.name}!")
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith(f"_{op.name}_")
    return plan, {f.name: f.read_text() for f in folder.iterdir()}


def test_a_kernel(tmp_path):
    plan, files = dumped(tmp_path, Softmax((1,)), (3, 5))
    assert set(files) == {
        "program0_recorded.txt", *(f"program{i}_{step.name}.txt" for i, step in enumerate(passes.PASSES, 1)),
        "groups.txt", "steps.txt", "memory.txt", "plan.txt",
        "kernel0.txt", "kernel0.ll", "kernel0.s",
    }  # fmt: skip
    assert "Elemwise(mode='EXP_NONPOSITIVE')" in files["program0_recorded.txt"]
    assert "reduce" in files["kernel0.txt"] and "lanes" in files["kernel0.txt"]
    assert "define" in files["kernel0.ll"] and "kernel:" in files["kernel0.s"]
    assert "group 0: [3, 5], reduces [1]" in files["groups.txt"] and "buffer 1: slot 1 + 0 bytes" in files["memory.txt"]
    assert "buffers [0] -> [1], 1 tiles" in files["steps.txt"] and "launch" in files["plan.txt"]
    assert "  extents: i0=3 i1=5" in files["plan.txt"] and "  tiling: items=3 " in files["plan.txt"]
    x = np.eye(3, 5, dtype=np.float32)
    np.testing.assert_allclose(run_plan(plan, [x])[0].sum(1), 1, rtol=1e-6)


def test_products_and_host_calls(tmp_path):
    _, files = dumped(tmp_path / "a", Product(), (3, 5), (5, 2))
    assert any(name.endswith(".s") for name in files)
    (part,) = (line for line in files["plan.txt"].splitlines() if line.startswith("  part 0: "))
    numbers = dict(word.split("=") for word in part.split()[2:])
    assert (numbers["rows"], numbers["columns"], numbers["k1"], numbers["a_m3"]) == ("3", "2", "5", "5")
    assert all(numbers.values()) and "sum_slot" not in numbers
    _, files = dumped(tmp_path / "c", Linear(True), (3, 5), (2, 5), (2,))
    (epilogue,) = (text for text in files.values() if "the sums" in text)
    assert "along the channels" in epilogue and "%2 = add(%0, %1) : float32" in epilogue
    _, files = dumped(tmp_path / "b", MatrixInverse(), (3, 3))
    assert "call MatrixInverse" in files["plan.txt"]


def test_off_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compile_program(build(MatrixInverse(), [Type("float32", (3, 3))]))
    assert not list(tmp_path.iterdir())
