"""Programs that import megengine alone run on tengen, eager and traced, and give what they gave with the reference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import record_programs as record

import tengen.compat.megengine  # noqa: F401 - what the programs import
from tengen.compat.megengine.missing import Missing

HERE = Path(__file__).resolve().parent
RECORDED = record.recorded()
SHORT = {"F": "megengine.functional", "M": "megengine.module", "mge": "megengine"}


def lacking(name: str) -> set[str]:
    """The names of megengine in a program that tengen does not have yet."""
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    paths = [(SHORT[short], rest.split(".")) for short, rest in re.findall(r"\b(F|M|mge)\.(\w+(?:\.\w+)*)", text)]
    for module, names in re.findall(r"^from (megengine[\w.]*) import (.+)$", text, flags=re.MULTILINE):
        paths += [(module, [part.strip()]) for part in names.split(",")]
    found = set()
    for module, parts in paths:
        value = import_module(module)
        for part in parts:
            value = getattr(value, part, None)
            if isinstance(value, Missing):
                found.add(f"{module}.{'.'.join(parts)}")
    return found


WAITING = {name for name in record.PROGRAMS if lacking(name)}


def test_all_are_recorded():
    assert sorted(RECORDED) == record.PROGRAMS
    assert len(RECORDED) == 18


@pytest.mark.filterwarnings("ignore:autocast changes nothing")
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("name", [name for name in record.PROGRAMS if name not in WAITING])
def test_program(name, traced):
    relative, absolute = getattr(import_module(name), "TOLERANCES", (2e-4, 1e-5))
    np.testing.assert_allclose(record.run(name, traced), RECORDED[name], rtol=relative, atol=absolute)


def test_the_comparison_sees_a_step_that_is_missing():
    expected = RECORDED["resnet"]
    with pytest.raises(AssertionError):
        np.testing.assert_allclose([*expected[1:2], *expected[1:]], expected, rtol=2e-4, atol=1e-5)


def test_they_run_by_the_command():
    command = [sys.executable, "-m", "tengen.compat.megengine", HERE / "record_programs.py", "show", "swin"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    np.testing.assert_allclose(json.loads(done.stdout), RECORDED["swin"], rtol=2e-4, atol=1e-5)
