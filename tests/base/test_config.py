"""The table of settings."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

import tengen
from tengen.base import config


@pytest.fixture(autouse=True)
def settings():
    before = {knob.name: config.get(knob.name) for knob in config.KNOBS}
    yield
    for name, value in before.items():
        config.set(name, value)


def test_every_setting_has_a_valid_default_and_a_text():
    for knob in config.KNOBS:
        assert knob.check(knob.default) == knob.default
        assert knob.doc.endswith(".")
        assert hasattr(tengen.config, knob.name)
        assert knob.name in dir(tengen.config)


def test_attributes_are_the_settings():
    tengen.config.num_threads = 1
    assert config.get("num_threads") == tengen.config.num_threads == 1
    assert tengen._rt.get_num_threads() == 1
    tengen.config.num_threads = 0
    assert tengen._rt.get_num_threads() >= 1


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("num_threads", -1, ValueError, "an integer >= 0, got -1"),
        ("num_threads", "2", TypeError, "an integer >= 0, got str '2'"),
        ("num_threads", True, TypeError, "an integer"),
        ("async_level", 3, ValueError, ">= 0 and <= 2, got 3"),
        ("deterministic_kernel", "yes", TypeError, "True or False"),
        ("isa", "sse9", ValueError, "one of native, amx"),
        ("default_device", "nope", ValueError, "is not a device"),
        ("nothing", 1, AttributeError, "no setting 'nothing'; it has num_threads"),
    ],
)
def test_a_bad_value_is_refused_and_changes_nothing(name, value, error, message):
    before = getattr(tengen.config, name, None)
    with pytest.raises(error, match=message):
        setattr(tengen.config, name, value)
    assert getattr(tengen.config, name, None) == before


def test_watchers_are_called_first_and_can_refuse():
    seen = []

    def watcher(value):
        if value == "cpu3":
            raise RuntimeError("not this one")
        seen.append(value)

    config.watch("default_device", watcher)
    try:
        config.set("default_device", "cpu1")
        with pytest.raises(RuntimeError, match="not this one"):
            config.set("default_device", "cpu3")
    finally:
        config._watchers["default_device"].remove(watcher)
    assert seen == ["xpux", "cpu1"]
    assert config.get("default_device") == "cpu1"


def test_override_ends_with_its_block():
    with pytest.raises(KeyError), tengen.config.override(async_level=0, benchmark_kernel=True):
        assert (tengen.config.async_level, tengen.config.benchmark_kernel) == (0, True)
        raise KeyError
    assert (tengen.config.async_level, tengen.config.benchmark_kernel) == (2, False)


@pytest.mark.parametrize(("text", "expected"), [("3", "3"), ("x", "must be"), ("-2", "must be")])
def test_settings_from_the_environment(text, expected):
    code = "import tengen; print(tengen.config.num_threads)"
    env = {**os.environ, "TENGEN_NUM_THREADS": text}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if expected == "3":
        assert done.stdout.strip() == expected, done.stderr
    else:
        assert done.returncode != 0
        assert "TENGEN_NUM_THREADS" in done.stderr


@pytest.mark.parametrize(("text", "value"), [("1", True), ("on", True), ("False", False), ("0", False)])
def test_spellings_of_bool(text, value):
    assert config._knob("benchmark_kernel").parse(text) is value


def test_bad_spellings_name_what_is_allowed():
    with pytest.raises(TypeError, match="True or False"):
        config._knob("benchmark_kernel").parse("maybe")
    with pytest.raises(ValueError, match="an integer >= 0, got 'many'"):
        config._knob("num_threads").parse("many")


def test_it_is_pickled_by_its_name_like_any_module():
    """As Ray does with the modules of a function."""
    assert pickle.loads(pickle.dumps(tengen.config)) is tengen.config
