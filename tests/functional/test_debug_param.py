"""Strategies are taken and kept; there is nothing that they could change."""

from __future__ import annotations

import pytest

import tengen
from tengen.compiler.targets import host
from tengen.functional import debug_param
from tengen.functional.debug_param import Strategy


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    debug_param.set_execution_strategy("HEURISTIC")


# What the reference gives.
@pytest.mark.parametrize(("option", "found"), [
    ("HEURISTIC", Strategy.HEURISTIC), ("PROFILE", Strategy.PROFILE), ("PROFILE_HEURISTIC", Strategy.PROFILE),
    ("PROFILE_REPRODUCIBLE", Strategy.PROFILE | Strategy.REPRODUCIBLE),
    ("HEURISTIC_REPRODUCIBLE", Strategy.HEURISTIC | Strategy.REPRODUCIBLE), (Strategy.OPTIMIZED, Strategy.OPTIMIZED),
])  # fmt: skip
def test_what_is_set_is_kept(option, found):
    assert debug_param.get_execution_strategy() == Strategy.HEURISTIC
    debug_param.set_execution_strategy(option)
    assert debug_param.get_execution_strategy() == found
    with pytest.warns(DeprecationWarning, match="use get_execution_strategy"):
        assert debug_param.get_conv_execution_strategy() == found
    with pytest.warns(DeprecationWarning, match="use set_execution_strategy"):
        debug_param.set_conv_execution_strategy("HEURISTIC")
    assert debug_param.get_execution_strategy() == Strategy.HEURISTIC


@pytest.mark.parametrize("option", ["OPTIMIZED", "heuristic", "foo", "", "PROFILE_"])
def test_other_names_are_refused(option):
    with pytest.raises(ValueError, match="one of HEURISTIC, PROFILE, REPRODUCIBLE"):
        debug_param.set_execution_strategy(option)


@pytest.mark.parametrize("option", [3, None])
def test_other_things_are_refused(option):
    with pytest.raises(TypeError, match="a name or a Strategy"):
        debug_param.set_execution_strategy(option)


def test_check_misc(monkeypatch):
    assert tengen.check_misc() is None
    monkeypatch.setattr(host, "available", lambda: ["x86-64"])
    host._target.cache_clear()
    with pytest.raises(RuntimeError, match="this machine has no avx2"), tengen.config.override(isa="avx2"):
        tengen.check_misc()
    host._target.cache_clear()
