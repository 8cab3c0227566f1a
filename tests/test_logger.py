"""Loggers: levels, files, what a line looks like."""

from __future__ import annotations

import io
import logging
import re

import pytest

import tengen
from tengen import logger as loggers


@pytest.fixture(autouse=True)
def settings():
    before = loggers._level
    yield
    tengen.set_log_level(before)
    tengen.set_log_file(None)


def test_lines_and_levels(capsys):
    log = tengen.get_logger("test.lines")
    log.debug("hidden")
    log.info("plain %d", 1)
    log.warning("careful")
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^\d\d \d\d:\d\d:\d\d ", "", line) for line in lines] == ["plain 1", "WRN careful"]


def test_one_logger_for_a_name(capsys):
    assert tengen.get_logger("test.same") is tengen.get_logger("test.same")
    tengen.get_logger("test.same").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_set_log_level(capsys):
    log = tengen.get_logger("test.level")
    before = tengen.set_log_level("ERROR")
    assert before == logging.INFO
    log.warning("hidden")
    assert tengen.set_log_level(logging.DEBUG) == logging.ERROR
    log.debug("shown")
    assert capsys.readouterr().err.strip().endswith("DBG shown")
    tengen.set_log_level("ERROR", update_existing=False)
    assert log.level == logging.DEBUG
    assert tengen.get_logger("test.level.new").level == logging.ERROR
    with pytest.raises(ValueError, match="unknown log level 'NOPE'; use DEBUG"):
        tengen.set_log_level("NOPE")


def test_set_log_file(tmp_path):
    log = tengen.get_logger("test.file")
    path = tmp_path / "log.txt"
    tengen.set_log_file(path)
    log.info("to the file")
    tengen.get_logger("test.file.new").info("this too")
    other = io.StringIO()
    tengen.set_log_file(other)
    log.info("elsewhere")
    first, second = path.read_text().splitlines()
    assert re.fullmatch(r"\[\d\d \d\d:\d\d:\d\d \d+@test_logger\.py:test\.file\] to the file", first)
    assert second.endswith("this too")
    assert other.getvalue().endswith("elsewhere\n")


def test_exceptions_are_printed(capsys):
    try:
        raise KeyError("inside")
    except KeyError:
        tengen.get_logger("test.exception").exception("outside")
    text = capsys.readouterr().err
    assert "ERR outside" in text
    assert "KeyError: 'inside'" in text


def test_enable_debug_log(capsys):
    log = tengen.get_logger("test.debug")
    loggers.enable_debug_log()
    log.debug("now")
    assert "now" in capsys.readouterr().err
