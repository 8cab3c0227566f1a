"""Plans on disk: the same Program is planned once, and another one never gets its Plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plans import run_plan

from tengen.base import config
from tengen.compiler import cache, obtain_plan, plan_store
from tengen.compiler.program import Builder, Elementwise, Program, Type
from tengen.compiler.schedule import driver
from tengen.compiler.targets.host import available, host_target
from tengen.compiler.view import View, contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.host import Inverse, MatrixInverse
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.shape import Reshape, Transpose

X, Y = Type("float32", (3, 4)), Type("float32", (4, 5))


def two_steps(x: Type = X, y: Type = Y, factor: float = 2.0, swapped: bool = False) -> Program:
    builder = Builder()
    a, b = builder.input(x), builder.input(y)
    product = Elemwise("EXP")(MatMul()(a, b) * factor)
    return builder.finish([a + 1.0, product] if swapped else [product, a + 1.0])


def views(program: Program) -> list[View]:
    return [contiguous(v.shape) for v in program.inputs]


def name(program: Program, lies: list[View] | None = None) -> str | None:
    return plan_store.name(program, lies or views(program), host_target())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, into which Plans go at once."""
    monkeypatch.setattr(plan_store, "SLOW", 0.0)
    monkeypatch.setattr(cache, "_addresses", {})
    with config.override(cache_dir=str(tmp_path / "kernels")):
        yield tmp_path / "kernels"


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The Programs that were planned."""
    made: list[Program] = []
    finish = driver.Scheduler.finish

    def watched(scheduler: driver.Scheduler, *rest: object):
        made.append(scheduler.program)
        return finish(scheduler, *rest)

    monkeypatch.setattr(driver.Scheduler, "finish", watched)
    return made


def obtained(program: Program) -> list[np.ndarray]:
    """The results of the Plan as a new process would get it."""
    cache._addresses.clear()
    plan = obtain_plan(program, views(program), "test")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(v.shape).astype(np.float32) for v in program.inputs)
    product, more = run_plan(plan, [a, b])
    np.testing.assert_allclose(product, np.exp(2.0 * (a.astype(np.float64) @ b)), rtol=1e-5)
    np.testing.assert_allclose(more, a + 1.0)
    return [product, more]


def test_every_entry_in_the_place_of_another(folder: Path, planned: list[Program]) -> None:
    """Plans and kernels share the folder; whatever lies in a wrong place is planned and compiled again."""
    obtained(two_steps())
    entries = sorted(folder.iterdir())
    contents = [entry.read_bytes() for entry in entries]
    assert len(entries) >= 3
    for shift in range(1, len(entries)):
        for place, entry in enumerate(entries):
            entry.write_bytes(contents[(place + shift) % len(entries)])
        obtained(two_steps())
        assert [entry.read_bytes() for entry in entries] == contents
    assert len(planned) == len(entries)


def test_an_equal_program_is_planned_once(folder: Path, planned: list[Program]) -> None:
    for _ in range(3):
        obtained(two_steps())
    assert len(planned) == 1


def test_what_comes_back_is_the_plan(folder: Path) -> None:
    program = two_steps()
    made = obtain_plan(program, views(program), "test")
    found = plan_store.find(name(program))
    assert [stage for stage, _ in found.stages] == ["found on the disk"]
    assert found._replace(stages=made.stages) == made


@pytest.mark.parametrize("part", ["plan", "kernel"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_entry_is_made_again(folder: Path, planned: list[Program], part: str, damage: object) -> None:
    obtained(two_steps())
    entry = folder / str(name(two_steps()))
    others = [path for path in folder.iterdir() if path != entry]
    damage(entry if part == "plan" else others[0])
    obtained(two_steps())
    obtained(two_steps())
    assert len(planned) == 2


def test_different_programs_have_different_names() -> None:
    builder = Builder()
    x = builder.input(X)
    once = Builder()
    a = once.input(X)
    found = [
        name(two_steps()),
        name(two_steps(x=Type("float64", (3, 4)))),
        name(two_steps(x=Type("float32", (2, 4)))),
        name(two_steps(factor=2)),
        name(two_steps(factor=2.5)),
        name(two_steps(factor=0.0)),
        name(two_steps(factor=-0.0)),
        name(two_steps(swapped=True)),
        name(two_steps(), [View((3, 4), (1, 3)), contiguous((4, 5))]),
        name(two_steps(), [View((3, 4), (4, 1), 8), contiguous((4, 5))]),
        name(builder.finish([Reshape((4, 3))(x)])),
        name(builder.finish([Transpose((1, 0))(x)])),
        name(builder.finish([Transpose((1, 0))(x)] * 2)),
        name(once.finish([Elemwise("SUB")(a, a * 3.0)])),
        name(once.finish([Elemwise("SUB")(a * 3.0, a)])),
    ]
    assert None not in found and len(set(found)) == len(found)
    assert name(two_steps()) == found[0]


def test_another_target_setting_or_source_is_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name(two_steps())}
    for isa in available()[1:]:
        with config.override(isa=isa):
            found.add(name(two_steps()))
    with config.override(winograd=4):
        found.add(name(two_steps()))
    monkeypatch.setattr(cache, "source_digest", lambda folder: "another version")
    found.add(name(two_steps()))
    assert len(found) == 2 + len(available())


def test_the_digest_follows_the_source(tmp_path: Path) -> None:
    def digest() -> str:
        cache.source_digest.cache_clear()
        return cache.source_digest(str(tmp_path))

    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("x = 1")
    seen = [digest()]
    (tmp_path / "inner" / "a.py").write_text("x = 2")
    seen.append(digest())
    (tmp_path / "inner" / "a.py").rename(tmp_path / "inner" / "b.py")
    seen.append(digest())
    assert len(set(seen)) == 3 and digest() == seen[-1]
    cache.source_digest.cache_clear()


class Foreign(Elementwise):
    """An op that is not tengen's, whose code may change when tengen does not."""

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return types

    def emit(self, e, args, types, out):
        return e("neg", args[0], dtype=e.compute(out.dtype))


@pytest.mark.parametrize("op", [Foreign(), MatrixInverse()])
def test_a_program_with_code_from_elsewhere_is_not_kept(folder: Path, op: object) -> None:
    builder = Builder()
    program = builder.finish([op(builder.input(Type("float32", (3, 3))))])
    assert name(program) is None
    x = np.float32([[2, 1, 0], [0, 4, 0], [0, 0, 8]])
    want = -x if isinstance(op, Foreign) else np.linalg.inv(x)
    np.testing.assert_array_equal(run_plan(obtain_plan(program, views(program), "test"), [x])[0], want)


def test_a_composite_that_is_left_may_be_a_python_function(folder: Path) -> None:
    """A gradient keeps composites that have rules of their own, whose Python functions a file does not have."""
    builder = Builder(keep_composites=True)
    program = builder.finish([Inverse()(builder.input(Type("float32", (2, 2))))])
    assert program.nodes[0].op is Inverse()
    given = np.array([[2.0, 0.0], [0.0, 4.0]], np.float32)
    for _ in range(2):
        (found,) = run_plan(obtain_plan(program, views(program), "test"), [given])
        np.testing.assert_array_equal(found, [[0.5, 0.0], [0.0, 0.25]])


def test_what_is_planned_fast_waits(folder: Path, planned: list[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_store, "SLOW", 1e9)
    monkeypatch.setattr(plan_store, "MOST_WAITING", 1)
    monkeypatch.setattr(plan_store, "_waiting", {})
    other = two_steps(x=Type("float32", (7, 4)))
    for _ in range(2):
        obtained(two_steps())
        obtained(other)
    assert len(planned) == 4
    plan_store.write_waiting()
    obtained(two_steps())
    assert len(planned) == 4
    obtained(other)  # one too many to wait
    assert len(planned) == 5


def test_a_dump_is_of_what_is_planned(folder: Path, planned: list[Program], tmp_path: Path) -> None:
    obtained(two_steps())
    with config.override(dump=str(tmp_path / "dump")):
        obtained(two_steps())
    assert len(planned) == 2 and list((tmp_path / "dump").glob("*_test/plan.txt"))


STEP = """
import sys
import numpy as np, tengen.functional as F
from tengen import Tensor, jit
function = jit.trace(lambda x: F.softmax(F.matmul(x, x) * 3), without_host=True)
print(float(function(Tensor(np.eye(5, dtype=np.float32)))[0, 0].item()), "tengen.compiler.schedule.driver" in sys.modules)
"""


def test_a_later_process_does_not_load_the_planner(folder: Path) -> None:
    said = []
    for _ in range(2):
        environment = {**os.environ, "TENGEN_CACHE_DIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True)
        said.append(done.stdout.split())
    want = np.exp(3) / (np.exp(3) + 4)
    assert [float(value) for value, _ in said] == pytest.approx([want, want], rel=1e-6)
    assert [loaded for _, loaded in said] == ["True", "False"]
