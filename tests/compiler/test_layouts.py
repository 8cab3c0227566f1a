"""Every way of a contraction with operands that lie in memory in every way: against float64 NumPy, on every instruction set of this machine.

Operands are small integers, so but for tiles of 4 x 4 there is nothing to round. A wrong stride, or a wrong start, gives other integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import NamedTuple

import contraction_harness as harness
import numpy as np
import pytest
from contraction_harness import elements, from_bits, host_targets, to_bits, unit_of, volume
from layouts import LAYOUTS
from llvmlite import ir
from plans import run_plan

from tengen.base import config
from tengen.compiler import compile_program
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.contraction import SumKernel
from tengen.compiler.kernels.dtypes import PAIR
from tengen.compiler.kernels.nest_tiling import NestSource
from tengen.compiler.kernels.target import Target
from tengen.compiler.program import Builder, Op, Type
from tengen.compiler.schedule.contractions import launches
from tengen.compiler.schedule.contractions import matmul as matmul_schedule
from tengen.compiler.schedule.contractions.problem import ContractionPlan
from tengen.compiler.schedule.convolutions import winograd
from tengen.compiler.schedule.ways import Request, offered, spread
from tengen.compiler.targets import storage
from tengen.compiler.targets.contractions import products
from tengen.compiler.targets.vector import llvm_type
from tengen.compiler.view import View
from tengen.core.ops.conv import Convolution, ConvolutionBackwardData, ConvolutionBackwardFilter
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import total
from tengen.core.ops.shape import Concatenate

TARGETS = host_targets()
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
random = np.random.default_rng(0)
RELU = Elemwise("RELU")
Shape = tuple[int, ...]


class Case(NamedTuple):
    """A contraction of two operands of these shapes.

    ways: some of what `ways_of` says of it, where both lie in these ways. tiles: the setting `winograd`. cut: k is cut into blocks early.
    """

    op: Op
    shapes: tuple[Shape, Shape]
    truth: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ways: Mapping[str, str]
    dtype: str = "float32"
    tiles: int = 0
    cut: bool = False


CASES: dict[str, Case] = {}


def conv(name: str, s: ConvShape, forward: str, by_data: str, by_weight: str, last: str = "", **options) -> None:
    """The three forms, and the ways that they go; last: forms that differ where images are last, and how."""
    x, w, y = (s.n, s.ic, *s.size), (s.oc, s.ic_group, *s.kernel), (s.n, s.oc, *s.out)
    taken = s.stride, s.padding, s.dilation, s.groups
    data, weight = ConvolutionBackwardData(*taken, s.size), ConvolutionBackwardFilter(*taken, s.kernel)
    forms = {
        "forward": (Convolution(*taken), (x, w), partial(harness.forward, s=s), forward),
        "by data": (data, (w, y), partial(harness.by_data, s=s), by_data),
        "by weight": (weight, (x, y), partial(harness.by_weight, s=s), by_weight),
    }
    lasts = dict(zip(forms, last.split("|"), strict=False)) if last else {}
    for form, (op, shapes, truth, ways) in forms.items():
        found = {"plain": ways} | ({"images last": lasts[form]} if form in lasts else {})
        CASES[f"{name} {form}"] = Case(op, shapes, truth, found, **options)


def product(name: str, a: Shape, b: Shape, plain: str, swapped: str | None = None, **options) -> None:
    """A product of matrices, and how it goes; swapped: where those are transposed in memory."""
    ways = {"plain": plain} | ({} if swapped is None else {"last dims swapped": swapped})
    CASES[name] = Case(MatMul(), (a, b), lambda p, q: p.astype(float) @ q.astype(float), ways, **options)


SAME = {"padding": (1, 1)}
TILED = ConvShape(2, 32, (7, 6), 34, (3, 3), **SAME)
conv("tiles of 2", TILED, "tiles", "tiles", "tiles", tiles=2)
conv("tiles of 4", TILED, "tiles", "tiles", "tiles", tiles=4)
conv("direct", ConvShape(2, 16, (7, 6), 20, (3, 3), **SAME), "padded", "padded", "padded")
conv("1 x 1", ConvShape(2, 16, (5, 6), 24, (1, 1)), "", "", "adjacent")
conv("1 x 1 strided", ConvShape(2, 16, (5, 6), 24, (1, 1), stride=(2, 2)), "", "", "")
conv("strided", ConvShape(2, 16, (9, 8), 24, (3, 3), stride=(2, 1), **SAME), "padded", "padded", "padded")
conv("dilated", ConvShape(2, 16, (9, 8), 24, (3, 2), dilation=(2, 3), padding=(2, 2)), "padded", "padded", "padded")
conv("grouped", ConvShape(2, 16, (7, 6), 24, (3, 3), groups=2, **SAME), "padded", "padded", "padded")
conv("window", ConvShape(2, 19, (8, 8), 19, (3, 3), groups=19, **SAME), "window", "window", "window by weight")
conv("depthwise", ConvShape(2, 8, (9, 9), 8, (9, 9), groups=8, padding=(3, 3)), "columns", "columns", "columns")
conv("planes", ConvShape(2, 8, (6, 32), 2, (7, 5), padding=(3, 2)), "exchanged", "", "")
conv("planes by data", ConvShape(2, 2, (6, 32), 8, (7, 5), padding=(3, 2)), "", "exchanged", "")
conv("few channels", ConvShape(2, 3, (9, 9), 10, (3, 3), stride=(2, 2)), "as it lies", "", "")
conv(
    "images", ConvShape(16, 16, (4, 5), 3, (5, 3), padding=(2, 1)), "", "", "",
    last="exchanged, images last||folded",
)  # fmt: skip
conv(
    "images by data", ConvShape(16, 3, (4, 5), 16, (5, 3), padding=(2, 1)), "", "", "", last="|exchanged, images last|"
)
conv("blocks", ConvShape(2, 24, (5, 5), 20, (3, 3), **SAME), "blocked", "blocked", "blocked", cut=True)
conv("volume", volume(2, 16, (4, 5, 4), 20, (3, 3, 3), padding=(1, 1, 1)), "padded", "padded", "padded")
conv(
    "grouped volume",
    volume(2, 8, (4, 5, 6), 12, (3, 2, 3), (1, 1, 2), (1, 0, 1), groups=2),
    "padded",
    "padded",
    "padded",
)
conv(
    "depthwise volume",
    volume(2, 8, (4, 5, 6), 8, (3, 3, 3), padding=(1, 1, 1), groups=8),
    "columns",
    "columns",
    "columns",
)
conv(
    "volume in blocks",
    volume(2, 24, (5, 5, 7), 20, (2, 3, 3), dilation=(1, 1, 2)),
    "blocked",
    "blocked",
    "blocked",
    cut=True,
)
conv("bfloat16", ConvShape(2, 16, (5, 6), 10, (3, 3), **SAME), "padded", "padded", "padded", dtype="bfloat16")
conv("float64", ConvShape(2, 5, (5, 6), 10, (3, 3), **SAME), "padded", "padded", "padded", dtype="float64")

product("product", (13, 9), (9, 31), "given a")
product("product of whole panels", (64, 40), (40, 32), "given a, given b", "exchanged, given a, given b")
product("few rows", (16, 160), (160, 96), "given a", "exchanged")
product("row", (1, 50), (50, 70), "given a")
product("column", (50, 70), (70, 1), "given a")
product("panels", (40, 150), (150, 130), "packed")
product("blocks of k", (12, 200), (200, 40), "blocked", cut=True)
product("splits of k", (3, 300), (300, 16), "blocked, split", cut=True)
product("batch", (3, 13, 9), (3, 9, 31), "given a")
product("one b", (3, 13, 9), (1, 9, 31), "given a")
product("one a", (1, 13, 9), (3, 9, 31), "given a")
product("batches", (2, 3, 4, 7, 9), (2, 1, 4, 9, 17), "packed")
product("bfloat16", (29, 20), (20, 31), "", dtype="bfloat16")
product("float16", (13, 20), (20, 31), "", dtype="float16")


def ways_of(problem: ContractionPlan, views: tuple[View, View]) -> set[str]:
    """What a contraction does with its operands, and how it multiplies them."""
    multiplying = [launch for launch in problem.launches if not isinstance(launch.kernel, (NestSource, SumKernel))]
    main, tiles = multiplying[0].kernel, len(multiplying) + 1 < len(problem.launches)
    exchanged = multiplying[0].buffers[0][0] == "b"
    flags = {
        "tiles": isinstance(problem.launches[0].kernel, NestSource),
        "exchanged": exchanged,
        "images last": exchanged and len(problem.out_strides) == 4 and problem.out_strides[0] == 1,
        "window": main.window and not main.window.by_weight,
        "window by weight": main.window and main.window.by_weight,
        "columns": main.a_form == "columns" and not main.window,
        "folded": main.folded,
        "pairs": main.a == PAIR,
        "packed": main.b_panels == "packed",
        "blocked": main.blocked,
        "split": isinstance(problem.launches[-1].kernel, SumKernel),
        "adjacent": main.a_rows == "1" and not tiles,
        "given a": problem.a is None,
        "given b": problem.b is None,
        "padded": problem.a is not None and problem.a.pads,
        "as it lies": problem.a is not None and problem.a.is_view(views[0].strides),
    }
    return {name for name, is_so in flags.items() if is_so}


@pytest.fixture(autouse=True)
def settings(request, monkeypatch):
    """Tiles whatever they cost, in several chunks; k in many blocks where a case asks for it."""
    monkeypatch.setattr(winograd, "cost", lambda *_: -1)
    monkeypatch.setattr(winograd, "LEAST_CHUNK", 100_000)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(winograd, "CHUNK_TILES", 40)
    monkeypatch.setattr(matmul_schedule, "COPY_START", 0)
    case = CASES[request.node.callspec.params["name"]]
    if case.cut:
        for name, number in {"PANEL_BYTES": 2000, "BLOCK_K": 20, "LONG_BLOCK_K": 20, "TILE_WORK": 2000}.items():
            monkeypatch.setattr(launches, name, number)
    with config.override(winograd=case.tiles):
        yield


def in_pairs(target: Target) -> Target:
    """The same that multiplies pairs of bfloat16, as `summed_pairs` does."""
    return target._replace(name=f"{target.name} that emulates pairs", dots=True)


def summed_pairs(a, b, total):
    """What vdpbf16ps computes, in float32."""
    words, numbers, at = ir.VectorType(ir.IntType(32), total.lanes), llvm_type("f32", total.lanes), total.builder
    a, b = (at.bitcast(x.value, words) for x in (a, b))
    shift, high = (ir.Constant(words, [number] * total.lanes) for number in (16, 0xFFFF0000))
    found = total.value
    for half in (lambda x: at.and_(x, high), lambda x: at.shl(x, shift)):
        x, y = (at.bitcast(half(pair), numbers) for pair in (a, b))
        found = at.fadd(found, at.fmul(x, y))
    return total.like(found)


def types_of(case: Case) -> list[Type]:
    return [Type(case.dtype, shape) for shape in case.shapes]


@EVERY_TARGET
@pytest.mark.parametrize("name", CASES)
def test_ways(name, target):
    """So that a case goes on to try what it is here for."""
    case = CASES[name]
    for layout, wanted in case.ways.items():
        found = planned(case, layout, target)
        assert set(filter(None, wanted.split(", "))) <= found, (layout, found)


def planned(case: Case, layout: str, target: Target) -> set[str]:
    laid = [LAYOUTS[layout](shape) for shape in case.shapes]
    arrays = [x.of_array(np.zeros(x.base, np.float32)) for x in laid]
    types = types_of(case)
    (out,) = case.op.infer(*types)
    geometry = case.op.geometry(types, out)
    views = [spread(geometry, View(a.shape, elements(a))) for a in arrays]
    unit = unit_of(target)._replace(winograd=case.tiles)
    problem = offered(Request(case.op.form, geometry, views, types, out, unit)).plan()
    return ways_of(problem, [views[number] for number in case.op.roles.operands])


def drawn(shape: Shape, dtype: str) -> np.ndarray:
    numbers = random.integers(-4, 5, shape).astype(np.float32)
    return to_bits(numbers) if dtype == "bfloat16" else numbers.astype(dtype)


def check(case: Case, layouts: tuple[str, str], inside: bool, target: Target) -> None:
    """inside: the layouts are views in the Program, not of what it is given."""
    laid = [LAYOUTS[layout](shape) for layout, shape in zip(layouts, case.shapes, strict=True)]
    bases = [drawn(x.base, case.dtype) for x in laid]
    arrays = [x.of_array(base) for x, base in zip(laid, bases, strict=True)]
    given, builder = bases if inside else arrays, Builder()
    values = [builder.input(Type(case.dtype, array.shape)) for array in given]
    if inside:
        values = [x.of_value(value) for x, value in zip(laid, values, strict=True)]
    program = builder.finish([case.op(*values)])
    (got,) = run_plan(compile_program(program, [View(a.shape, elements(a)) for a in given], target), given)
    narrow = case.dtype == "bfloat16"
    want = case.truth(*(from_bits(a) if narrow else a for a in arrays))
    limit = {"bfloat16": 2**-8, "float16": 2**-11}.get(case.dtype, 1e-5 if case.tiles == 4 else 1e-12)
    got = from_bits(got) if narrow else got
    np.testing.assert_allclose(got, want, rtol=0, atol=limit * max(1, np.abs(want).max()), err_msg=f"{layouts}")


@pytest.mark.parametrize("name", CASES)
def test_layouts(name):
    """Each operand alone, and both, given so and seen so in the Program."""
    case, turn = CASES[name], count()
    for layout in LAYOUTS:
        for layouts in (layout, "plain"), ("plain", layout):
            check(case, layouts, next(turn) % 2 == 0, TARGETS[0])
        check(case, (layout, layout), next(turn) % 2 == 0, TARGETS[next(turn) % len(TARGETS)])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dtype == "bfloat16"])
def test_layouts_in_pairs(name, monkeypatch):
    """On machines that have no instructions for it too."""
    monkeypatch.setattr(products, "add_pairs", summed_pairs)
    monkeypatch.setattr(storage, "_rounded_by_instruction", storage._single_to_bfloat)
    case, target = CASES[name], in_pairs(TARGETS[0])
    assert "pairs" in planned(case, "plain", target)
    for number, layout in enumerate(LAYOUTS):
        for layouts in (layout, "plain"), ("plain", layout), (layout, layout):
            check(case, layouts, number % 2 == 0, target)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dtype == "float32"])
def test_what_follows_reads_any_layout(name):
    """Values along the channels and of the result's size; sums over the rows, and a place inside of something larger."""
    case = CASES[name]
    for number, layout in enumerate(
        ["reversed", "stepped", "transposed", "channels last, reversed", "first dim stretched"]
    ):
        check_what_follows(case, layout, number % 2 == 0, number % 3, TARGETS[number % len(TARGETS)])


def check_what_follows(case: Case, layout: str, inside: bool, end: int, target: Target) -> None:
    """max(y * channel + rest, 0), and what comes after that: nothing, sums over all but the channels, or a Concat with another value."""
    product, builder = case.truth(*(drawn(shape, "float32") for shape in case.shapes)), Builder()
    channels = (case.op.roles.channels or 0) % product.ndim
    along = tuple(extent if d == channels else 1 for d, extent in enumerate(product.shape))
    shapes = *case.shapes, along, product.shape, product.shape
    laid = [LAYOUTS["plain" if i < 2 else layout](shape) for i, shape in enumerate(shapes)]
    bases = [drawn(x.base, "float32") for x in laid]
    arrays = [x.of_array(base) for x, base in zip(laid, bases, strict=True)]
    given = bases if inside else arrays
    values = [builder.input(Type("float32", array.shape)) for array in given]
    if inside:
        values = [x.of_value(value) for x, value in zip(laid, values, strict=True)]
    a, b, channel, rest, other = values
    y, want = RELU(case.op(a, b) * channel + rest), np.maximum(case.truth(*arrays[:2]) * arrays[2] + arrays[3], 0)
    outputs, wanted = [y], [want]
    if end == 1:
        axes = tuple(d for d in range(want.ndim) if d != channels)
        outputs, wanted = [y, total(y, axes)], [want, want.sum(axes, keepdims=True)]
    elif end == 2:
        outputs, wanted = [Concatenate(want.ndim - 1)(other, y)], [np.concatenate([arrays[4], want], -1)]
    plan = compile_program(builder.finish(outputs), [View(x.shape, elements(x)) for x in given], target)
    for got, truth in zip(run_plan(plan, given), wanted, strict=True):
        limit = (1e-5 if case.tiles == 4 else 1e-6) * max(1, np.abs(truth).max())
        np.testing.assert_allclose(got, truth, rtol=0, atol=limit, err_msg=f"{layout} {end}")
