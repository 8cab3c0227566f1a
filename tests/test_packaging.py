"""Who builds tengen without what that needs hears in one sentence what to install; and the version is that of what is installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import warnings
from pathlib import Path

import pytest

import tengen
from tengen.base import missing as missing_names
from tengen.base.usage import deprecated

ROOT = Path(__file__).parents[1]


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "packaging"))
    return importlib.import_module("compiler_check").missing


def script(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_has_built_this_is_enough(missing):
    assert missing() == ""


def test_without_a_compiler(missing, tmp_path):
    assert missing({"PATH": str(tmp_path)}).startswith(
        "tengen needs a C++ compiler to be built, and there is none: install one"
    )
    said = missing({"PATH": os.environ["PATH"], "CXX": "no-such-compiler -O2"})
    assert "CXX=no-such-compiler -O2 is not there" in said and "\n" not in said


def test_without_the_headers_of_python(missing, tmp_path):
    said = missing(os.environ, str(tmp_path))
    assert f"{tmp_path} has no Python.h" in said and "-dev)" in said and "\n" not in said


def test_with_an_old_compiler(missing, tmp_path):
    old = script(
        tmp_path, "c++", "echo 'look.cpp: note' >&2; echo 'c++: error: unrecognized option -std=c++20' >&2; exit 1"
    )
    said = missing({"PATH": str(tmp_path), "CXX": old})
    assert said.startswith("tengen needs a compiler of C++20") and said.endswith(
        "error: unrecognized option -std=c++20"
    )
    silent = script(tmp_path, "g++", "exit 3")
    assert missing({"PATH": str(tmp_path), "CXX": silent}).endswith("exit status 3")


def test_who_names_the_compiler_to_cmake_hears_of_it_from_cmake(missing, tmp_path):
    assert missing({"PATH": str(tmp_path), "CMAKE_ARGS": "-DCMAKE_CXX_COMPILER=/opt/c++"}) == ""
    assert missing({"PATH": str(tmp_path), "CMAKE_TOOLCHAIN_FILE": "arm.cmake"}) == ""


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    assert tengen.__version__ == importlib.metadata.version("tengen")
    assert tengen.__version__ is tengen.__version__

    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    assert missing_names._version() == "0+unknown"


def test_a_deprecation_points_at_the_line_of_the_program():
    from tengen.functional.debug_param import get_conv_execution_strategy

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        get_conv_execution_strategy()
        deprecated("F.old", "F.new", since="0.2", until="0.4")
    assert [w.category for w in caught] == [DeprecationWarning] * 2
    assert [str(w.message) for w in caught] == [
        "get_conv_execution_strategy is deprecated: use get_execution_strategy",
        "F.old is deprecated since tengen 0.2, and will not be there in tengen 0.4: use F.new",
    ]
    assert caught[0].filename == __file__
