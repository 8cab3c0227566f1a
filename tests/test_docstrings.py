"""The examples in docstrings run and print what they show."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M

# What examples use without importing it.
NAMES = {"F": F, "M": M, "np": np, "tengen": tengen}


def modules() -> list[str]:
    found = [info.name for info in pkgutil.walk_packages(tengen.__path__, "tengen.")]
    return ["tengen", *(name for name in found if not name.rpartition(".")[2].startswith("_"))]


def examples() -> list[pytest.param]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for module in map(import_module, modules()):
        tests = finder.find(module, globs={**vars(module), **NAMES})
        found += [pytest.param(test, id=test.name) for test in tests if test.examples]
    return found


EXAMPLES = examples()


def test_examples_are_found():
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("test", EXAMPLES)
def test_examples(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    failed = runner.run(test, out=output.append).failed
    assert not failed, "".join(output)
