"""The table of PyTorch's names: each call of tengen's in it runs, and gives what PyTorch has given for the same values.

tools/site/record_pytorch.py wrote down what PyTorch gave.
"""

from __future__ import annotations

import json
from importlib import import_module

import from_pytorch
import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import optimizer
from tengen.base.habits import TENSOR

ROWS = from_pytorch.rows()
RECORDED = json.loads((from_pytorch.HERE / "pytorch.json").read_text(encoding="utf-8"))
for name in "data data.dataset distributed utils.profiler".split():
    import_module(f"tengen.{name}")


def alike(ours, theirs) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict) and "values" in ours:
        shape = ours["kind"] == theirs["kind"] and ours["shape"] == theirs["shape"]
        return shape and np.allclose(
            ours["values"], theirs["values"], rtol=2e-3, atol=2e-3
        )  # Winograd, gelu by polynomials
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return ours == pytest.approx(theirs, rel=2e-3)
    return ours == theirs


@pytest.mark.parametrize("row", [row for row in ROWS if row.ours != "-"], ids=lambda row: row.theirs)
def test_a_row_gives_what_pytorch_gives(row):
    names = {name: tengen.tensor(value) for name, value in from_pytorch.VALUES.items()}
    names |= {"tengen": tengen, "F": F, "M": M, "optimizer": optimizer, "np": np, "array": from_pytorch.ARRAY}
    ours = from_pytorch.described(from_pytorch.result(row.ours, names | {"net": M.Linear(3, 2)}))
    theirs = RECORDED[row.theirs]
    if row.differs:
        assert not (isinstance(ours, dict) and "values" in ours and alike(ours, theirs))
    else:
        assert alike(ours, theirs), f"{ours} here, {theirs} there"


def test_all_rows_are_recorded_and_all_notes_are_written():
    texts = from_pytorch.notes()
    assert {row.theirs for row in ROWS} == set(RECORDED)
    assert len({row.theirs for row in ROWS}) == len(ROWS) > 400
    assert {row.note for row in ROWS if row.note} == {name for name in texts if not name.startswith("#")}
    assert {f"# {row.section}" for row in ROWS} == {name for name in texts if name.startswith("#")}
    assert [row for row in ROWS if (row.differs or row.ours == "-") and not row.note] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_all_rows(language):
    page = from_pytorch.page(language)
    assert page.count("\n| `") == len(ROWS)
    assert all(f"`{row.theirs}`" in page for row in ROWS)


def test_names_that_errors_explain_are_in_the_table():
    """A name of a tensor that tengen's errors know belongs into the table as well."""
    called = " ".join(row.theirs for row in ROWS)
    assert [name for name in TENSOR if f".{name}" not in called and not name.endswith("_")] == []
