"""tools/gpu_check.py: its parts run on the double, and one that crashes, fails or hangs does not lose the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from double.library import library
from gpu_check import command, corpus
from gpu_check.table import PARTS, Options, Part

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments, **environment):
    """The exit status and the lines of the command, on the double, where parts take longer than on a GPU."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "--small", "--patience", "10", *arguments],
        env=os.environ | {"TENGEN_CUDA_LIBRARY": library()} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_parts_on_the_double(tmp_path):
    parts = ("machine", "bandwidth", "launches", "matmul", "convolutions")
    status, lines = run("--parts", ",".join(parts), "--output", str(tmp_path / "lines"), DOUBLE_RACES="1")
    assert status == 0, lines
    assert [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()] == lines
    ends = {line["part"]: line["ended"] for line in lines if "ended" in line}
    assert ends == dict.fromkeys((*parts, "all"), "done")
    cases = {line["case"]: line for line in lines if "case" in line}
    assert cases["gpu0"]["value"]["name"] == "test double 0" and cases["driver"]["value"] == 13000
    assert cases["softmax float32 16x64"]["aim"] == 0.7 and "ok" not in cases["softmax float32 16x64"]
    assert all(cases[f"64x64x64 {name}"]["error"] < 0.02 for name in ("float32", "tf32", "bfloat16", "float16"))
    assert sum(name.startswith("forward 64 x 8 x 8") and line["ok"] for name, line in cases.items()) == 4


def test_a_training_step_on_the_double():
    status, lines = run("--parts", "resnet50", DOUBLE_RACES="1")
    assert status == 0, lines
    (step,) = [line for line in lines if line.get("case", "").startswith("step of 2 images")]
    assert step["ok"] and 0 < step["last_loss"] < 0.5 * step["first_loss"]


def test_the_demo_on_the_double():
    status, lines = run("--parts", "digits", DOUBLE_RACES="1")
    assert status == 0, lines
    (read,) = [line for line in lines if "case" in line]
    assert read["case"] == "digits on gpu0" and 0 < read["value"] < 1


def test_programs_of_the_corpus(tmp_path):
    status, lines = run("--parts", "corpus", "--record", str(tmp_path / "recorded"))
    counts = {line["case"]: line["value"] for line in lines if "case" in line}
    assert (status, counts["programs"], counts["programs that are wrong"]) == (0, corpus.SMALL, 0), lines
    assert len(json.loads((tmp_path / "recorded").read_text())) == corpus.SMALL


def test_without_a_gpu():
    status, lines = run("--parts", "machine", DOUBLE_DEVICES="0")
    assert status == 1 and lines[-1]["not ok"] == 1
    assert "tengen finds no such GPU" in lines[-2]["said"]


@pytest.fixture
def planted(monkeypatch):
    def plant(*names, seconds=60):
        parts = tuple(Part(name, f"planted_parts:{name}", seconds, "") for name in names)
        monkeypatch.setattr(command, "PARTS", parts)

    return plant


def lines_of(capsys, *arguments):
    status = command.main(arguments)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_part_that_crashes_or_fails_loses_no_other(planted, capsys):
    planted("crash", "fail", "slow", "good")
    status, lines = lines_of(capsys)
    assert status == 1
    assert [(line["part"], line.get("case"), line.get("ended"), line.get("ok")) for line in lines] == [
        ("crash", "before", None, None), ("crash", None, "killed by SIGSEGV", False),
        ("fail", "before", None, None), ("fail", None, "exited with 1", False),
        ("slow", "a figure", None, False), ("slow", None, "done", None),
        ("good", "a figure", None, True), ("good", None, "done", None), ("all", None, "done", None),
    ]  # fmt: skip
    assert "RuntimeError: the reason" in lines[3]["said"] and lines[-1]["not ok"] == 3


def test_a_part_that_hangs_is_ended_with_what_it_has_started(planted, capsys):
    planted("hang", seconds=3)
    status, lines = lines_of(capsys)
    assert status == 1 and lines[1]["ended"] == "out of time: it had 3 s"
    until = monotonic() + 10
    while (running := is_running(lines[0]["child"])) and monotonic() < until:
        sleep(0.05)
    assert not running


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_when_no_time_is_left(planted, capsys):
    planted("good")
    status, lines = lines_of(capsys, "--minutes", "0")
    assert status == 1 and lines[0] == {"part": "good", "ended": "not begun: no time is left", "ok": False}


def test_what_is_asked_for(planted, capsys):
    planted("good", "slow")
    assert lines_of(capsys, "--parts", "good")[0] == 0
    assert lines_of(capsys, "--small")[0] == 0  # no speed is judged
    with pytest.raises(SystemExit):
        command.main(["--parts", "other"])
    assert "'other' is no part; there are good, slow" in capsys.readouterr().err


def test_the_limits_are_those_of_ten_minutes(capsys):
    assert sum(part.seconds for part in PARTS) <= 600
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [part.name for part in PARTS]


def test_a_sanitizer_that_finds_something(tmp_path):
    """A program of its name that runs what it is given, and says that it has found something."""
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(
        '#!/bin/sh\nshift 4\n"$@" >"$0.lines"; cat "$0.lines"; echo "========= ERROR SUMMARY: 2 errors"; exit ${FOUND-97}\n'
    )
    tool.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    status, lines = run("--parts", "memcheck", PATH=path)
    assert (
        status == 1 and lines[0]["value"].endswith("2 errors") and (lines[0]["ok"], lines[0]["programs"]) == (False, 1)
    )
    status, lines = run("--parts", "memcheck", PATH=path, FOUND="0")
    assert status == 0 and lines[0]["ok"]


def test_without_a_sanitizer(monkeypatch, tmp_path):
    from gpu_check import sanitizer

    monkeypatch.setattr(sanitizer, "find_sanitizer", lambda: None)
    said = []
    sanitizer.racecheck(Options(10), lambda **fields: said.append(fields))
    assert "compute-sanitizer is not installed" in said[0]["value"]


def test_bits_are_equal_whatever_a_nan_holds():
    from gpu_check.programs import bits, digest

    odd = np.array([0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)
    assert bits(odd) == bits(np.full(2, np.nan, np.float32))
    assert bits(np.float32([0.0])) != bits(np.float32([-0.0]))
    assert digest({"x": np.float32([1])}) != digest({"x": np.float64([1])})
    said = []
    found = [
        {"seed": 1, "program": "p", "digest": "d"},
        {"seed": 2, "program": "q", "digest": "e"},
        {"seed": 3, "program": "r", "digest": "f"},
    ]
    corpus._compare(
        found, {"1": ["p", "d"], "2": ["q", "other"], "3": ["another", "f"]}, lambda **fields: said.append(fields)
    )
    assert (said[0]["value"], said[0]["unit"], said[0]["others"]) == (1, "of 2", [2])
