"""What a `ContractionKernel` may say: a rule each, with the message of the one who breaks it; and how it is printed."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
from contraction_harness import BIAS, host_targets

from tengen.compiler.dump import show_contraction
from tengen.compiler.kernels import contraction
from tengen.compiler.kernels.contraction import CHOICES, ContractionKernel, verify
from tengen.compiler.kernels.dtypes import PAIR
from tengen.compiler.kernels.epilogue import ELEMENT, NUMBER, ColumnSum, Epilogue, Source
from tengen.compiler.kernels.nest import Instr
from tengen.compiler.kernels.window import Side, Window
from tengen.compiler.targets import emit

SIDE = Side(sees=(((0, 0), (1, 1)), ((1, 0), (2, 1))), step=1, per=1, low=0, high=3, taps=2)
SLIDING, BY_WEIGHT = Window(SIDE, SIDE), Window(SIDE, SIDE, by_weight=True)
SQUARES = replace(BIAS, sums=(ColumnSum(2),))
EXPONENTIAL = Epilogue(
    (Source("float32", ELEMENT),), (Instr("load", attr=0), Instr("exp", (0,))), 1, "float32", (ColumnSum(1),)
)
NO_SUMS = Epilogue((Source("float32", NUMBER),), (Instr("load", attr=0),), 0, "float32")

PLAIN = ContractionKernel("float32", "float32", "float32", rows=6, vectors=2, lanes=8)
PAIRS = PLAIN._replace(a=PAIR, b=PAIR, product="pairs")
AMX = PAIRS._replace(product="amx", rows=32, lanes=16, b_panels="packed")
QUADS = PLAIN._replace(a="uint8x4", b="int8x4", c="int32", product="quads", a_zero="n")
COLUMNS = PLAIN._replace(a_form="columns", b_panels="packed")
STEPS = PLAIN._replace(a_form="steps", last_panel="whole")
WINDOW = COLUMNS._replace(rows=4, vectors=1, window=SLIDING)
WEIGHTS = COLUMNS._replace(rows=4, vectors=1, window=BY_WEIGHT, sums="blocked", b_panels="given")
BLOCKED = PLAIN._replace(sums="blocked")
ADDED = PLAIN._replace(begin="result")
ENDED = PLAIN._replace(epilogue=BIAS)
TURNED = ENDED._replace(channels="rows")
SUMMED = PLAIN._replace(epilogue=SQUARES)
OF_INTEGERS = Epilogue(
    (Source("int32", ELEMENT),), (Instr("load", attr=0, dtype="int32"),), 0, "int32", (ColumnSum(0),)
)

SOUND = {
    "plain": PLAIN, "pairs": PAIRS, "quads": QUADS, "amx": AMX, "columns": COLUMNS, "steps": STEPS, "window": WINDOW, "by weight": WEIGHTS,
    "blocked": BLOCKED, "added": ADDED, "ended": ENDED, "turned": TURNED, "summed": SUMMED,
}  # fmt: skip

MOVES = ({"a_steps": "n"}, {"a_rows": "1"})

BROKEN = [
    *[(PLAIN, {name: "odd"}, f"{name} 'odd' is not one of {', '.join(CHOICES[name])}") for name in CHOICES],
    *[(PLAIN, {name: "float128"}, f"{name}: float128 is not a storage dtype") for name in "abc"],
    *[(PLAIN, {name: 0}, f"{name} 0 is less than 1") for name in ("rows", "vectors", "lanes", "unroll")],
    (PLAIN, {"rows": 257}, "257 rows of a register tile, but a launch tile has at most 256"),
    (PLAIN, {"k_loops": 0}, "0 k loops in registers: registers sums have 1 to 4"),
    (PLAIN, {"k_loops": 5}, "5 k loops in registers: registers sums have 1 to 4"),
    (BLOCKED, {"k_loops": 4}, "4 k loops in registers: blocked sums have 1 to 3"),
    (PLAIN, {"b": PAIR}, "no plain products of float32 and bfloat16x2: bfloat16x2 wants products of words"),
    (PLAIN, {"product": "pairs"}, "no pairs products of float32 and float32: both must be bfloat16x2"),
    (PAIRS, {"c": "float64"}, "their sums are float32, not float64"),
    (QUADS, {"b": "uint8x4"}, "no quads products of uint8x4 and uint8x4: A must be int8x4 or uint8x4 and B int8x4"),
    (QUADS, {"c": "int64"}, "their sums are int32, not int64"),
    (PLAIN, {"a_zero": "n"}, "A cannot count from a_zero: it is float32, not integers of 8 bits"),
    (QUADS, {"epilogue": OF_INTEGERS}, "sums over rows are of floats"),
    (AMX, {"rows": 24}, "a register has 16 x 16 sums, the tile 24 rows and 16 lanes"),
    (AMX, {"lanes": 8}, "a register has 16 x 16 sums, the tile 32 rows and 8 lanes"),
    (AMX, {"vectors": 3}, "2 x 3 registers of sums, but there are 4"),
    *[(AMX, one, "a register takes steps of A that are side by side, of rows that a parameter says how far apart") for one in MOVES],
    (PAIRS, {"a_form": "columns"}, "A cannot come as columns: pairs products take elements of A that are broadcast"),
    (TURNED, {"a_form": "columns"}, "only where its elements are broadcast can channels be rows"),
    (STEPS, {"last_panel": "part"}, "A cannot come as steps: B is read as it is given, in whole panels of columns"),
    (STEPS, {"b_panels": "packed"}, "A cannot come as steps: B is read as it is given, in whole panels of columns"),
    (STEPS, {"a_steps": "n"}, "A cannot come as steps: steps of k are not side by side in it"),
    (BLOCKED, {"c": "bfloat16"}, "the sums cannot be kept as blocked: bfloat16 would round them between blocks"),
    (PLAIN, {"sum_steps": -1}, "sum_steps -1 is less than 0"),
    *[(one, {"sum_steps": 256}, "only tiles of vectors that are no window add up some steps on their own") for one in (AMX, WINDOW)],
    (WINDOW, {"a_form": "broadcast"}, "the window cannot slide: the pixels of A have the columns too"),
    (WINDOW, {"rows": 5}, "a tile has 4 rows and 1 vector, not 5 and 1"),
    (WINDOW, {"vectors": 2}, "a tile has 4 rows and 1 vector, not 4 and 2"),
    (WINDOW, {"begin": "result"}, "the window cannot slide: its sums begin with zeros"),
    (WINDOW, {"sums": "blocked"}, "sums wait in C by weight, and only then"),
    (WEIGHTS, {"sums": "registers"}, "sums wait in C by weight, and only then"),
    (WINDOW, {"b_panels": "given"}, "B is results as they are given by weight, else packed taps"),
    (WEIGHTS, {"b_panels": "packed"}, "B is results as they are given by weight, else packed taps"),
    (ENDED, {"sums": "blocked"}, "the sums cannot have this epilogue: they are complete only in memory"),
    (ENDED, {"begin": "result"}, "the sums cannot have this epilogue: they are complete only in memory"),
    (ENDED, {"a_form": "steps", "last_panel": "whole"}, "they come one by one where lanes are folded"),
    (PLAIN, {"epilogue": NO_SUMS}, "its first source is not the sums"),
    (ENDED, {"c": "bfloat16"}, "it gives float32, but C is bfloat16"),
    (SUMMED, {"channels": "rows"}, "sums over rows are for each column, but the channels are rows"),
    (PLAIN, {"epilogue": EXPONENTIAL}, "it is costly, so rows come one by one, and no sums over them can be taken"),
    (PLAIN, {"channels": "rows"}, "the channels are rows, but no epilogue has channels"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_what_means_something(name):
    verify(SOUND[name])


@pytest.mark.parametrize("kernel, changes, message", BROKEN, ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_what_means_nothing(kernel, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        verify(kernel._replace(**changes))


def test_each_rule_is_broken_once():
    """What each rule says is in the table above."""
    rules = [
        x
        for x in ast.parse(Path(contraction.__file__).read_text()).body
        if x.__dict__.get("name", "").startswith("why_not")
    ]
    told = [x.value for rule in rules for x in ast.walk(rule) if isinstance(x, ast.Constant) and " " in str(x.value)]
    told = [x for x in told if x not in {ast.get_docstring(rule, clean=False) for rule in rules}]
    assert len(told) > 20
    assert not [text for text in told if not any(text in message for _, _, message in BROKEN)]


def test_a_costly_epilogue_sums_rows_in_amx():
    verify(AMX._replace(epilogue=EXPONENTIAL))


def test_no_code_is_made_of_what_means_nothing():
    with pytest.raises(ValueError, match="complete only in memory"):
        emit(ENDED._replace(sums="blocked"), host_targets()[0])


def test_equal_kernels_have_one_key():
    assert PLAIN.key == PLAIN._replace().key
    keys = {kernel.key for kernel in SOUND.values()}
    assert len(keys) == len(SOUND)


def test_a_kernel_as_text():
    text = show_contraction(TURNED._replace(unroll=4, b_panels="packed", b_steps="panel", a_rows="1", k_loops=2))
    assert text.splitlines()[:12] == [
        "C[m, n] = sum over k of A[m, k] * B[k, n]",
        "A: float32, broadcast; rows side by side, steps of k side by side",
        "B: float32, packed; steps of k a row of the panel",
        "C: float32; the last panel is a part of one",
        "register tile: 6 rows x 2 vectors of 8 lanes, plain products of float32",
        "for each launch tile: of b0, b1, splits of k, groups of panels, blocks of rows",
        "  for each panel of 16 columns",
        "    for each 6 rows",
        "      sums = 0",
        "      for k1, k2, 4 steps a turn: sums += A * B",
        "      C = epilogue(sums)",
        "epilogue, with channels along the rows:",
    ]
    assert "%2 = add(%0, %1) : float32" in text


def test_loops_of_other_kinds_as_text():
    blocked = show_contraction(STEPS._replace(sums="blocked", k_loops=1))
    assert "for each block of k: of k0, k1, k2 by k2_block" in blocked and "for each panel of 2 columns" in blocked
    assert "sums = 0 in the first block, C after it" in blocked and "C = fold(sums)" in blocked
    assert "in 2 x 2 registers of AMX" in show_contraction(AMX)
    assert "2 of 2 taps down, 2 of 2 taps across, by weight" in show_contraction(WEIGHTS)
