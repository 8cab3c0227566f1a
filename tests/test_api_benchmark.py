"""The benchmark of the API has a row for every public name, or says why not. No time is looked at, and no peer is asked."""

import ast
import inspect
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tengen

AREAS = "functional functional.loss functional.vision functional.nn module optimizer random"


@pytest.fixture
def api(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return import_module("benchmarks.api")


def public():
    """Names to what they name."""
    found = {}
    for area in AREAS.split():
        module = import_module(f"tengen.{area}")
        found |= {f"{area}.{name}": getattr(module, name) for name in module.__all__}
    own = [name for name in dir(tengen.Tensor) if not name.startswith("_") and hasattr(tengen.Tensor, name)]
    found |= {f"Tensor.{name}": getattr(tengen.Tensor, name) for name in own}
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def without_row(names, rows, reasons):
    """Of public names, those for which neither a row nor a reason stands; a row stands for all names of what it names."""
    covered = {name for row in rows for name in row.names.split()}
    values = [id(value) for name, value in names.items() if name in covered]
    patterns = [pattern for text in reasons for pattern in text.split()]
    return [
        name
        for name, value in names.items()
        if name not in covered
        and id(value) not in values
        and f"functional.{name.rpartition('.')[2]}" not in covered
        and not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def test_every_public_name_has_a_row_or_a_reason(api):
    names, rows = public(), list(api.all_rows())
    assert len(names) > 300
    assert without_row(names, rows, api.REASONS) == []
    less = [row for row in rows if "functional.cumsum" not in row.names]
    assert set(without_row(names, less, api.REASONS)) == {"functional.cumsum"}


def test_rows_are_of_names_that_there_are_and_reasons_are_needed(api):
    names = public()
    known = {*names, "tensor", "Tensor", "Tensor.index"}
    assert [name for row in api.all_rows() for name in row.names.split() if name not in known] == []
    unused = [p for text in api.REASONS for p in text.split() if not any(fnmatchcase(name, p) for name in names)]
    assert unused == []


def test_cases_have_names_of_their_own_and_expressions_can_be_read(api):
    names = [case.name for case in api.all_cases()]
    assert len(names) == len(set(names)) > 1000
    for row in api.all_rows():
        for text in (row.ours, row.theirs):
            ast.parse(text, mode="eval")
        for text in (row.setup, row.their_setup):
            ast.parse(text)


PART = (
    "functional.pow to 3 ",
    "functional.softmax ",
    "functional.gather ",
    "Tensor.index by",
    "module.Linear ",
    "optimizer.Adam ",
)


def test_rows_compute_what_they_say(api):
    """Small ones run, forward and backward: finite results, gradients for all that a row asks for."""
    measure, side = import_module("benchmarks.measure"), import_module("benchmarks.api.side_tengen")
    cases = [
        case
        for case in api.all_cases()
        if " small" in case.name and case.name.startswith(tuple(f"api/{p}" for p in PART))
    ]
    assert len(cases) > 10
    for case in cases:
        (trial,) = side.trials(case, measure.make_data(case))
        results = trial.results()
        assert all(np.isfinite(array).all() for array in results), case.name
        if case.arguments["backward"]:
            assert len(results) >= len(case.arguments["row"].grad.split()), case.name


def test_the_end_of_the_report_has_the_mean_and_the_slow_rows(api):
    report = import_module("benchmarks.api.report")
    rows = [
        {
            "name": name,
            "ratios": {"PyTorch": {"median": ratio}},
            "frameworks": {f: {"median": 1e-3} for f in ("tengen", "PyTorch")},
        }
        for name, ratio in (("a", 0.5), ("b", 2.0), ("c", 1.0), ("d", 4.0))
    ]
    first, *above = report.slower(rows)
    assert "4 rows" in first and "mean 1.414" in first and "2 (50.0%) above 1" in first
    assert [line.split()[1] for line in above] == ["d", "b"]
