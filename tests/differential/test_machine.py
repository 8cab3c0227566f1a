"""The machine that looks for failures finds them: planted ones, crashes and hangs; and it reaches every op."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from inspect import isfunction
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from double.driver import CudaError, Device
from double.library import library

import tengen.functional as F
from tengen.compiler import program as programs
from tengen.core.ops.elemwise import ROWS as MODES
from tengen.core.ops.formula import ACTIVATIONS
from tengen.core.ops.loss import ELEMENTWISE
from tengen.core.ops.table import op_classes

from . import modes, table, truth
from .code import function, snippet
from .compare import tolerance
from .dtypes import FLOATS
from .generate import THEMES, Drawing, generate
from .pool import Worker, answers, shrunk
from .program import Gradient, Program, Source, Step, parse
from .pull import VAGUE, pulled, results
from .rows_elementwise import sigmoid
from .shrink import clean, shrink
from .worker import answer


def one(row: str, *sources: Source, **params: Any) -> Program:
    outs = tuple(f"v{i}" for i in range(table.ROWS[row].results))
    return Program(sources, (Step(row, tuple(s.name for s in sources), tuple(params.items()), outs),), outs)


def argument(name: str = "a0", shape: tuple[int, ...] = (3,), values: str = "grid", dtype: str = "float32") -> Source:
    return Source(name, "argument", shape, dtype, ("plain",) * 3, values, 1)


def test_a_program_is_text_and_its_seed_says_all():
    for seed in range(30):
        program = generate(seed)
        assert parse(repr(program)) == program == generate(seed)


def test_every_theme_draws():
    assert {Drawing(seed).theme for seed in range(200)} == set(THEMES)


def drawn(row: str) -> Program | None:
    """A program with this row, of floats if one of a few seeds gives such a one."""
    first = None
    for seed in range(300):
        draw = Drawing(seed)
        made = table.ROWS[row].draw(draw)
        if made is not None and draw._apply(row, *made) is not None:
            outs = [n for s in draw.steps for n in s.outs]
            program = Program(
                tuple(draw.sources), tuple(draw.steps), tuple(o for o in dict.fromkeys(outs) if o.startswith("v"))
            )
            if any(s.dtype in FLOATS for s in draw.sources):
                return program
            first = first or program
        if first and seed > 10:
            break
    return first


def differentiated(program: Program) -> Program:
    """With the gradients of its first result that is a float, if nothing in it changes."""
    values = {n: k for n, k in truth.run(program, 1)[0].results.items() if k is not None and k.dtype in FLOATS}
    wrt = tuple(s.name for s in program.sources if s.dtype in FLOATS)
    if not wrt or not values or any(table.ROWS[s.row].changes for s in program.steps):
        return program
    y, known = next(iter(values.items()))
    dy = argument("d0", known.shape, "positive", known.dtype)
    gradient = Gradient(len(program.steps), wrt, y, "d0", "")
    return program._replace(
        sources=(*program.sources, dy), gradient=gradient, outputs=(*program.outputs, *(f"g_{n}" for n in wrt))
    )


@pytest.fixture(scope="module")
def reached():
    """The names of classes of all ops that some row leads to, and the text of all code."""
    ops: set[str] = set()
    text: list[str] = []
    record = programs.Builder.record

    def noted(self: Any, op: Any, inputs: Any) -> Any:
        ops.update(type(o).__name__ for o in (op, getattr(op, "op", op)))
        return record(self, op, inputs)

    programs.Builder.record = noted
    try:
        for row in table.ROWS:
            program = drawn(row)
            assert program is not None, f"{row} draws nothing"
            text.append(function(program))
            modes.Run(differentiated(program), "recorded").all()
    finally:
        programs.Builder.record = record
    return ops, set(re.findall(r"\w+", " ".join(text)))


HALVES = {"Await", "Finish", "Receive", "Send", "Start"}
"""Parts of exchanges between processes; tests/distributed runs them."""
ELSEWHERE = {"FlatNonzero", "IntegerConvolution", "IntegerConvolutionBackwardData"}
"""Where eager programs alone find the positions of a mask (tests/core/test_indexing.py), and products of 8-bit integers, which quantised
numbers are made of (tests/quantization, tests/compiler/test_contraction_int8.py)."""


def test_every_op_of_the_table_takes_part(reached):
    assert set(op_classes()) - reached[0] == HALVES | ELSEWHERE


def test_every_public_function_takes_part(reached):
    assert {n for n in F.__all__ if isfunction(getattr(F, n))} - reached[1] == set()


@pytest.mark.parametrize("theme", sorted({row.theme for row in table.ROWS.values()}))
def test_every_row_has_a_truth_and_a_gradient_that_run(theme):
    """Of a rule that nobody runs, nobody would know that it cannot run."""
    for name, row in table.ROWS.items():
        if row.theme == theme:
            program = drawn(name)
            assert program is not None
            with np.errstate(all="ignore"):
                truth.run(differentiated(program))


def test_every_mode_of_a_table_of_modes_has_a_row():
    names = " ".join(table.ROWS)
    assert [m for m in (*MODES, *ACTIVATIONS, *ELEMENTWISE) if m not in names] == []


# -- it sees


def planted(monkeypatch: pytest.MonkeyPatch, row: str, **changes: Any) -> None:
    monkeypatch.setitem(table.ROWS, row, table.ROWS[row]._replace(**changes))


def test_a_wrong_number_is_found_and_shrunk(monkeypatch):
    """The truth is off in one element of a step in the middle: what is left of the program is that step."""
    planted(
        monkeypatch, "elementwise EXP", truth=lambda p, x: np.exp(x) + 1e-2 * (np.arange(x.size).reshape(x.shape) == 0)
    )
    program = Program(
        (argument("a0", (4, 6)), argument("a1", (6, 4))),
        (
            Step("elementwise NEGATE", ("a0",), (), ("v0",)),
            Step("elementwise EXP", ("v0",), (), ("v1",)),
            Step("product matmul", ("v1", "a1"), (("a", False), ("b", False)), ("v2",)),
        ),
        ("v2",),
    )

    def fails(candidate: Program) -> bool:
        return any(f.kind == "result" for f in modes.check(candidate, ["eager"]))

    assert fails(program)
    small = shrink(program, fails, 20)
    assert [s.row for s in small.steps] == ["elementwise EXP"]
    assert small.sources[0].shape == (1, 1)


def test_an_error_that_is_not_raised_is_found(monkeypatch):
    def truth_of(p: Any, x: Any) -> Any:
        raise IndexError("planted")

    planted(monkeypatch, "elementwise EXP", truth=truth_of)
    assert [f.kind for f in modes.check(one("elementwise EXP", argument()), ["eager"])] == ["does not raise IndexError"]


def test_a_wrong_gradient_is_found(monkeypatch):
    planted(monkeypatch, "elementwise SIN", slopes=lambda x: [np.cos(x) * 1.001])
    failures = modes.check(differentiated(one("elementwise SIN", argument())))
    assert {f.kind for f in failures} == {"gradient"}
    assert {f.mode for f in failures} == set(modes.MODES) - {"loaded"}


def test_exact_numbers_are_compared_exactly():
    """Sums of numbers with few digits have no rounding, so nothing is tolerated."""
    (first, *_) = truth.run(one("reduce SUM", argument(shape=(5, 7)), axis=0, keepdims=False))
    assert all((v == first.results["v0"].versions[0]).all() for v in first.results["v0"].versions)  # type: ignore[union-attr]


def test_ties_are_not_compared():
    program = Program(
        (argument(values="fine"),),
        (
            Step("elementwise EXP", ("a0",), (), ("v0",)),
            Step("elementwise SUB", ("v0", "v0"), (), ("v1",)),
            Step("elementwise SIGN", ("v1",), (), ("v2",)),
        ),
        ("v2",),
    )
    assert modes.check(program, ["eager"]) == []


@pytest.mark.parametrize("mode, number", [("GEQ", 2.0), ("EQ", 2.0), ("LT", -9.0), ("ACOSH", None)])
def test_what_nobody_knows_is_not_compared(mode, number):
    """Nor what comes of it, whatever it is compared with."""
    machine = truth.Machine(0)
    machine.names["x"] = truth.Known("float32", tuple(np.full((1,), v) for v in truth.STRANGERS))
    step = Step(f"elementwise {mode}", ("x",), (), ("y",))
    if number is not None:
        step = Step(f"elementwise {mode} number", ("x",), (("number", number), ("of", "float32")), ("y",))
    with np.errstate(all="ignore"):
        machine.run(step)
    known = machine.names["y"]
    assert known is not None and np.isinf(tolerance(known)).all()


@pytest.mark.parametrize(
    "name, others, params",
    [
        ("LOGICAL_XOR", [3], ()),
        ("NOT", [], ()),
        ("EQ", [5.0], ()),
        ("EQ number", [], (("number", 5.0), ("of", "float32"))),
    ],
)
def test_what_may_be_a_number_is_not_said_to_be_another(name, others, params):
    """x - tan(x) of 5e-8 is 4e-23, and 0 in float32: no version is that, but some are above it and some below."""
    machine, middle = truth.Machine(0), 5.0 if name.startswith("EQ") else 0.0
    machine.names["x"] = truth.Known("float32", tuple(np.full((1,), middle + v) for v in (1e-14, -1e-9, 1e-9, -1e-9)))
    machine.put("y", np.array(others), "int32" if others == [3] else "float32")
    machine.run(Step(f"elementwise {name}", ("x", "y")[: 1 + len(others)], params, ("z",)))
    known = machine.names["z"]
    assert known is not None and np.isinf(tolerance(known)).all()


def test_what_a_small_deviation_divides_is_off_by_as_much_more():
    """The gradient of a layer_norm of two numbers is the little that is left of two that are 300 times as large as what comes back."""
    machine = truth.Machine(0)
    for name, values in {
        "x": [[-1.6756388, -1.6633980]],
        "w": [-2.25, -3.0],
        "b": [0.0, 0.0],
        "dy": [[1.0, 0.75]],
    }.items():
        machine.put(name, np.array(values), "float32")
    machine.run(Step("norm layer_norm", ("x", "w", "b"), (("shape", (2,)),), ("y",)))
    known = machine.backward("y", "dy", ["x"])["x"]
    assert known is not None and (tolerance(known) > 2.6e-3).all() and (tolerance(known) < 1.0).all()


def test_a_gradient_that_one_version_does_not_know_nobody_knows():
    """Of probabilities that are 1 after rounding the gradient is some 1e12, of those just below it is 1e7."""
    x = argument("a0", (1,), "unit")
    program = differentiated(one("loss binary_cross_entropy", x, argument("a1", (1,), "mask"), reduction="none"))
    machine = truth.Machine(0)
    for name, versions in {"a0": (1 - 1e-9, 1.0, 1.0 + 1e-7, 1.0), "a1": (0.5,) * 4, "d0": (1.0,) * 4}.items():
        machine.names[name] = truth.Known("float32", tuple(np.full((1,), v) for v in versions))
    with np.errstate(all="ignore"):
        machine.run(program.steps[0])
        known = machine.backward("v0", "d0", ["a0"])["a0"]
    assert known is not None and np.isnan(known.versions[0]).all() and np.isinf(tolerance(known)).all()


def test_nothing_that_comes_back_through_no_finite_slope_is_not_known():
    """0 times the slope of asin outside of [-1, 1], or of sqrt at 0, is nan for some rules; at a corner it is 0."""
    for mode, x, known in (("ASIN", 2.0, False), ("SQRT", 0.0, False), ("TRUE_DIV", 0.0, False), ("relu6", 6.0, True)):
        row, arrays = table.ROWS[f"elementwise {mode}"], [np.array([x])] * (2 if mode == "TRUE_DIV" else 1)
        step = Step(row.name, ("x",) * len(arrays), (), ("y",))
        with np.errstate(all="ignore"):
            made = pulled(row, step, ["float32"] * len(arrays), [np.zeros(1)], arrays)
        assert bool(abs(made[0][0]) < 1e9) is known, mode


@pytest.mark.parametrize("unknown", [VAGUE, np.nan])
def test_of_what_is_differenced_only_what_hangs_on_an_unknown_gradient_is_not_known(unknown):
    """Also where it hangs on it by a slope of 0."""
    row = table.ROWS["sort cumsum"]._replace(
        truth=lambda p, x: np.stack([x[0] * 0.0, x[1] ** 2]), exact="formula", pull=None
    )
    step = Step(row.name, ("x",), (), ("y",))
    made = pulled(row, step, ["float32"], [np.array([unknown, 1.0])], [np.array([1.0, 3.0])])
    assert abs(made[0][0]) > 1e9 and abs(made[0][1] - 6.0) < 1e-6


def test_where_an_infinite_operand_saturates_a_formula_its_gradient_is_not_known():
    """tanh(w · -inf) has a slope of 0, so the chain rule finds 0 · -inf for w, where a difference finds 0."""
    step = Step("recurrent RNNCell", ("x", "w", "b", "h", "u", "b"), (), ("y",))
    arrays = [np.ones((2, 1)), np.ones((1, 1)), np.ones(1), np.array([[2.0], [-np.inf]]), np.ones((1, 1)), np.ones(1)]
    with np.errstate(all="ignore"):
        x, _, _, h, u, _ = pulled(table.ROWS[step.row], step, ["float32"] * 6, [np.ones((2, 1))], arrays)
    assert abs(u[0, 0]) > 1e9 and abs(x[1, 0]) > 1e9
    slope = 1 / np.cosh(0.25 + 1 + 0.5 + 1) ** 2
    assert abs(x[0, 0] - slope / 4) < 1e-6 and abs(h[0, 0] - slope / 4) < 1e-6


def test_nothing_times_a_gradient_that_is_too_large_for_its_dtype_is_not_known():
    """-inf · 0 where it is stored as float16, 0 where a kernel goes on with it."""
    machine = truth.Machine(0)
    for name, value in {"zero": 0.0, "two": 2.0, "dy": 6e4}.items():
        machine.put(name, np.array(value), "float16")
    machine.run(Step("elementwise MUL", ("zero", "two"), (), ("v0",)))
    machine.run(Step("elementwise MUL", ("v0", "two"), (), ("v1",)))
    known = machine.backward("v1", "dy", ["two"])["two"]
    assert known is not None and np.isinf(tolerance(known))


def test_of_two_numbers_that_nobody_knows_none_is_the_first():
    machine = truth.Machine(0)
    machine.names["x"] = truth.Known("float32", tuple(map(np.array, ([np.inf, np.inf], *[[0.0, 0.0]] * 3))))
    machine.names["w"] = truth.Known("float32", (np.full((2, 2), np.inf),) * 4)
    with np.errstate(all="ignore"):
        machine.run(Step("product matmul", ("w", "x"), (("a", False), ("b", False)), ("y",)))
    machine.run(Step("sort argsort", ("y",), (("descending", False),), ("z",)))
    known = machine.names["z"]
    assert known is not None and np.isinf(tolerance(known)).all()


def test_of_several_numbers_that_nobody_knows_no_order_is_known():
    """The middle one of three stays that where the order is reversed."""
    for seed in range(20):
        machine, made = truth.Machine(seed), []
        for version in range(machine.versions):
            machine._turn(version)
            made.append(machine._strange((3,), version))
        machine.names["x"] = truth.Known("float32", tuple(made))
        machine.run(Step("sort argsort", ("x",), (("descending", True),), ("y",)))
        known = machine.names["y"]
        assert known is not None and np.isinf(tolerance(known)).all() and set(known.versions[1]) <= {0, 1, 2}


def test_a_differenced_gradient_of_few_digits_is_that_number():
    row, x = table.ROWS["reduce SUM"]._replace(pull=None), np.array([0.25, 1.7, -3.0])
    step = Step(row.name, ("x",), (("axis", None), ("keepdims", False)), ("y",))
    assert pulled(row, step, ["float32"], [np.array(3.0)], [x])[0].tolist() == [3.0] * 3


def test_a_small_differenced_gradient_is_as_exact_as_a_difference():
    """Of tanh at 10.9 a difference has a few digits only."""
    machine = truth.Machine(0)
    for name, value in {"x": 0.0, "w": 1.0, "b": 5.45, "dy": 1.0}.items():
        machine.put(name, np.full((1, 1) if name in ("x", "w", "dy") else (1,), value), "float64")
    machine.run(Step("recurrent RNNCell", ("x", "w", "b", "x", "w", "b"), (), ("y",)))
    known = machine.backward("y", "dy", ["b"])["b"]
    exact = 2 / np.cosh(10.9) ** 2
    assert known is not None and abs(known.versions[0][0] - exact) < tolerance(known)[0] < 1e-7


def test_an_infinity_divided_into_whole_parts_is_nan():
    x = argument(shape=(40,), values="special")
    assert modes.check(one("elementwise FLOOR_DIV number", x, number=0.25, of="float32"), ["eager"]) == []


def test_a_reduction_errs_by_a_few_roundings_where_numbers_are_equal():
    """6400 of a few values, whose squares a variance adds as sums of sums: one after the other they would be off by 80 roundings and more."""
    x = argument(shape=(8, 25, 32))
    program = Program(
        (x,), (Step("reduce var", ("a0",), (("axis", (0, 1, 2)), ("keepdims", False)), ("v0",)),), ("v0",)
    )
    known = truth.run(program)[0].results["v0"]
    assert known is not None and tolerance(known) / (2.0**-24 * known.versions[0]) < 100


def test_nan_that_an_unknown_number_may_have_made_is_not_known():
    machine = truth.Machine(0)
    machine.names["x"] = truth.Known("float32", tuple(np.full((1,), v) for v in truth.STRANGERS))
    machine.names["z"] = truth.Known("float32", tuple(np.full((1,), v) for v in (1.0, np.nan, np.nan, np.nan)))
    machine.run(Step("elementwise ADD", ("x", "z"), (), ("y",)))
    known = machine.names["y"]
    assert known is not None and np.isinf(tolerance(known)).all()


def test_functions_of_large_integers_are_those_of_the_nearest_float32():
    machine = truth.Machine(0, versions=1)
    machine.put("x", np.array([9**8]), "int32")
    machine.run(Step("elementwise COS", ("x",), (), ("y",)))
    known = machine.names["y"]
    assert known is not None and abs(known.versions[0][0] - np.cos(float(np.float32(9**8)))) < 1e-9


def test_a_jump_has_no_slope():
    """atan2 goes from -π/2 to π/2 there, as far on both sides."""
    row, arrays = table.ROWS["elementwise ATAN2"], [np.zeros(1), np.zeros(1)]
    made = pulled(row, Step(row.name, ("x", "y"), (), ("z",)), ["float32"] * 2, [np.ones(1)], arrays)
    assert abs(made[0][0]) > 1e9


def test_rounded_versions_that_meet_by_chance_are_not_exact():
    """One float64 number has few neighbours: without care three of some hundred such versions are one number."""
    step = Step("norm batch_norm training", ("x", "mean", "var", "w", "w"), (), ("y", "mean", "var"))
    for seed in range(2000, 2300):
        machine = truth.Machine(seed)
        for name, value in {"x": np.full((3, 1, 5), 2.0), "mean": 0.25, "var": 0.5, "w": 3.0}.items():
            machine.put(name, np.full((1,), value) if np.ndim(value) == 0 else value, "float64")
        machine.run(step)
        known = machine.names["mean"]
        assert known is not None and tolerance(known)[0] > 8 * 2.0**-53 * 0.425


PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


@pytest.mark.parametrize(
    "row, inputs, params",
    [
        ("product matmul", "xw", {"a": False, "b": False}),
        ("conv conv2d", "xw", PLAIN),
        ("reduce SUM", "x", {"axis": 0, "keepdims": True}),
    ],
)
def test_the_sign_of_a_zero_that_is_a_sum_nobody_knows(row, inputs, params):
    """-0 · 2 is -0, and 0 + -0 · 2 is 0: whether a sum begins with 0 no formula says, and libraries differ."""
    machine = truth.Machine(0)
    for letter, value in {"x": -0.0, "w": 2.0, "b": -1.0}.items():
        machine.put(letter, np.full((1,) * (4 if "conv" in row else 2), value), "float32")
    machine.run(Step(row, tuple(inputs), tuple(params.items()), ("y",)))
    machine.run(Step("elementwise ATAN2", ("y", "b"), (), ("z",)))
    zero, angle = machine.names["y"], machine.names["z"]
    assert zero is not None and (tolerance(zero) < 1e-20).all()
    assert angle is not None and (tolerance(angle) > 1.0).all()


@pytest.mark.parametrize("mode, x", [("TANH", 6.0), ("SIGMOID", 10.0)])
def test_a_slope_that_is_read_from_a_rounded_result_is_as_exact_as_that(mode, x):
    """1 - tanh(x)² of a tanh that is off by a rounding: so have it PyTorch, where it is 0 at 10, and MegEngine."""
    machine = truth.Machine(0)
    machine.put("x", np.array([x]), "float32")
    machine.put("dy", np.array([1.0]), "float32")
    machine.run(Step(f"elementwise {mode}", ("x",), (), ("y",)))
    known = machine.backward("y", "dy", ["x"])["x"]
    assert known is not None and 2.0**-23 < tolerance(known)[0] < 2.0**-19


def test_a_slope_by_integers_is_none():
    machine = truth.Machine(0)
    machine.put("x", np.array([1]), "int32")
    machine.put("dy", np.array([1.0]), "float32")
    machine.run(Step("elementwise TANH", ("x",), (), ("y",)))
    known = machine.backward("y", "dy", ["x"])["x"]
    assert known is not None and known.versions[1].tolist() == [0]


RULED = """reduce SUM,reduce mean,soft softmax,soft logsoftmax,soft logsumexp,product einsum ij;jk->ik,product dot,norm layer_norm,norm group_norm,
norm general_norm,norm batch_norm,norm batch_norm training,loss square_loss,loss l1_loss,
loss hinge_loss_L1,loss hinge_loss_L2,loss binary_cross_entropy_with_logits,conv conv1d,
window interpolate"""


@pytest.mark.parametrize("name", [n.strip().replace(";", ",") for n in RULED.split(",")])
def test_a_rule_is_the_derivative(name):
    row, tried = table.ROWS[name], 0
    for seed in range(200):
        draw = Drawing(seed)
        made = row.draw(draw)
        known = [draw.machine.names[n] for n in made[0]] if made else []
        arrays = [k.versions[0] for k in known if k is not None and k.dtype in FLOATS]
        if not made or len(arrays) < len(known) or not 0 < sum(a.size for a in arrays) < 100:
            continue
        with np.errstate(all="ignore"):
            y = results(row.truth(made[1], *arrays))[0] if row.truth else None
            dy = [
                np.random.default_rng(seed).integers(1, 9, np.shape(y)) / 4,
                *[None] * (row.results + len(row.changes) - 1),
            ]
            step = Step(name, tuple(made[0]), tuple(made[1].items()), ("y",))
            found, differences = (
                pulled(r, step, ["float64"] * len(arrays), dy, arrays) for r in (row, row._replace(pull=None))
            )
        for one, other in zip(found, differences, strict=True):
            if one is not None:
                clear = np.isfinite(one) & (np.abs(other) < 1e9)
                np.testing.assert_allclose(one[clear], other[clear], 1e-4, 1e-4)
                tried += int(clear.sum())
    assert tried > 50


def test_the_gradient_of_a_squared_hinge_at_its_corner_is_0():
    """Where a second derivative jumps, a difference is off by about its step."""
    row, one = table.ROWS["loss hinge_loss_L2"], np.ones((2, 3))
    step = Step(row.name, ("x", "y"), (("reduction", "none"),), ("z",))
    made = pulled(row, step, ["float64"] * 2, [np.full((2,), 5.0)], [one, one])
    assert np.abs(made[0]).max() == np.abs(made[1]).max() == 0.0


def test_the_first_of_tied_maxima_gets_the_gradient():
    row, x = table.ROWS["pool adaptive_max_pool2d"], np.array([[[[1.0, 3.0], [3.0, 2.0]]]])
    step = Step(row.name, ("x",), (("size", (1, 1)),), ("y",))
    made = pulled(row, step, ["float32"], [np.full((1, 1, 1, 1), 5.0)], [x])
    np.testing.assert_array_equal(made[0], [[[[0.0, 5.0], [0.0, 0.0]]]])


def test_the_truth_of_sigmoid_is_exact_far_out():
    np.testing.assert_allclose(sigmoid(np.array([-29.4, 29.4, -800.0])), [np.exp(-29.4), 1.0, 0.0], rtol=1e-12)


@pytest.mark.parametrize("number, dtype, refused", [(-1, "uint8", True), (255, "uint8", False), (-129, "int8", True)])
def test_a_number_that_does_not_fit_may_be_refused(number, dtype, refused):
    x = argument(shape=(2,), values="small", dtype=dtype)
    program = one("elementwise ADD number", x, number=number, of=dtype)
    assert modes.check(program) == []
    assert modes._may_refuse(program, "OverflowError") is refused


def test_what_the_driver_of_a_gpu_was_told_wrong_is_a_failure(monkeypatch):
    monkeypatch.setenv("TENGEN_CUDA_LIBRARY", library())
    with pytest.raises(CudaError):
        Device().free(4096)
    request = {"program": repr(one("elementwise NEGATE", argument())), "modes": ["eager"]}
    ((mode, kind, text),) = answer(request)["failures"]
    assert (mode, kind) == ("driver", "problem") and "cuMemFree" in text
    assert answer(request)["failures"] == []  # it is said once


# -- it lives on


def test_a_crash_is_a_failure():
    worker = Worker()
    try:
        worker.ask(seed=0)
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSEGV)
        _, failures = worker.ask(seed=1)
        assert failures[0].kind.startswith("died")
        assert worker.ask(program=repr(one("elementwise NEGATE", argument())))[1] == []
    finally:
        worker.close()


def test_a_hang_is_a_failure():
    worker = Worker(patience=0.01)
    _, failures = worker.ask(seed=0)
    assert failures[0].kind == "stuck"
    assert worker.process is None


WORKS = """
import sys, time
print("begins", flush=True)
while time.process_time() < float(sys.argv[1]):
    pass
print("ends", flush=True)
"""


def working(seconds: float) -> subprocess.Popen[str]:
    made = subprocess.Popen([sys.executable, "-c", WORKS, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None and made.stdout.readline() == "begins\n"
    return made


def test_a_process_that_gets_little_time_is_not_stuck():
    with working(0.7) as slow:
        done = threading.Event()

        def hinder() -> None:
            """It runs a fifth of the time."""
            for delay, number in cycle(((0.08, signal.SIGSTOP), (0.02, signal.SIGCONT))):
                slow.send_signal(number)
                if number == signal.SIGCONT and done.is_set():
                    return
                time.sleep(delay)

        thread = threading.Thread(target=hinder)
        start = time.monotonic()
        thread.start()
        try:
            assert answers(slow, 2.0)
            assert time.monotonic() - start > 2.0
        finally:
            done.set()
            thread.join()
            slow.kill()


@pytest.mark.parametrize("state", ["works", "waits"])
def test_a_process_without_an_answer_is_stuck(state):
    with working(60.0) as slow:
        if state == "waits":
            slow.send_signal(signal.SIGSTOP)
        assert not answers(slow, 0.3)
        slow.kill()


def test_what_is_printed_runs(monkeypatch, capsys):
    program = one("elementwise EXP", argument())
    exec(snippet(program, "without host", "as it should be"), {})
    printed = capsys.readouterr().out
    assert printed.count("Tensor") == 3
    assert clean(program) == program
    assert shrunk(Worker(), 0, program, modes.Failure("machine", "machine", ""), 1).program == program
