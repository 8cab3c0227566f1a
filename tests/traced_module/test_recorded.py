"""Graphs have the text, names, ids and results that MegEngine recorded (record.py), and change as its graphs do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import edits
import models
import numpy as np
import pytest
import record_graphs as record

HERE = Path(__file__).resolve().parent
RECORDED = json.loads((HERE / "recorded.json").read_text(encoding="utf-8"))
NAMES = record.names_of("tengen")


def same(ours: Any, recorded: Any, place: str) -> None:
    if isinstance(recorded, dict):
        assert set(ours) == set(recorded), place
        for key in recorded:
            same(ours[key], recorded[key], f"{place}.{key}")
    elif isinstance(recorded, list) and _is_array(recorded):
        assert np.shape(ours) == np.shape(recorded), place
        np.testing.assert_allclose(ours, recorded, rtol=1e-4, atol=1e-5, err_msg=place)
    elif isinstance(recorded, list):
        assert len(ours) == len(recorded), place
        for index, one in enumerate(recorded):
            same(ours[index], one, f"{place}[{index}]")
    elif isinstance(recorded, float):
        assert ours == pytest.approx(recorded, rel=1e-4, abs=1e-5), place
    else:
        assert ours == recorded, place


def _is_array(value: list[Any]) -> bool:
    """Whether it is the numbers of one tensor, not several things."""
    try:
        return np.array(value).dtype.kind in "if"
    except ValueError:
        return False


def test_all_are_recorded():
    assert set(RECORDED["models"]) == set(models.models(NAMES))
    assert set(RECORDED["edits"]) == set(edits.EDITS)


@pytest.mark.parametrize("name", RECORDED["models"])
def test_a_traced_network_is_as_recorded(name):
    same(record.found(NAMES, "models", name), RECORDED["models"][name], name)


@pytest.mark.parametrize("name", RECORDED["edits"])
def test_a_changed_graph_is_as_recorded(name):
    same(record.found(NAMES, "edits", name), RECORDED["edits"][name], name)
