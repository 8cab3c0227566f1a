"""The table of ways to compute sums of products: which is chosen, and that one plan is made of what the others offer."""

from __future__ import annotations

import pytest
from contraction_harness import BIAS, host_targets, unit_of

from tengen.compiler import compile_program
from tengen.compiler.geometry import ROLES, ConvShape, MatmulShape
from tengen.compiler.program import Builder, Type
from tengen.compiler.schedule.contractions import launches
from tengen.compiler.schedule.contractions.problem import Unit, choose_way
from tengen.compiler.schedule.convolutions import forms
from tengen.compiler.schedule.convolutions.forms import ConvRequest
from tengen.compiler.schedule.ways import WAYS, Request, offered
from tengen.compiler.view import contiguous
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.linalg import MatMul
from tengen.core.ops.reduce import total

AVX2 = Unit(8, 16, winograd=2)
SQUARE = {"kernel": (3, 3), "padding": (1, 1)}


def test_names_are_unique_and_each_form_has_a_way_that_always_fits():
    assert len({way.name for way in WAYS}) == len(WAYS)
    assert {form for way in WAYS for form in way.forms} == set(ROLES)
    for form in forms.CONVOLUTIONS:
        last = [way for way in WAYS if form in way.forms][-1]
        assert last.bid(ConvRequest(form, ConvShape(1, 1, (1, 1), 1, (1, 1)), AVX2)) is not None


@pytest.mark.parametrize(
    "form, shape, name",
    [
        ("forward", ConvShape(8, 64, (56, 56), 64, **SQUARE), "tiles"),
        ("forward", ConvShape(8, 64, (56, 56), 64, (3, 3), padding=(1, 1), stride=(2, 2)), "loops"),
        ("forward", ConvShape(8, 64, (56, 56), 64, **SQUARE, groups=64), "window"),
        ("by weight", ConvShape(8, 64, (56, 56), 64, **SQUARE, groups=64), "window"),
        ("forward", ConvShape(1, 16, (64, 64), 3, (5, 5)), "planes"),
        ("by data", ConvShape(1, 3, (64, 64), 16, (5, 5)), "planes"),
        ("by weight", ConvShape(8, 3, (9, 9), 16, (3, 3)), "loops"),
    ],
)
def test_the_way_of_least_cost(form, shape, name):
    assert choose_way(WAYS, form, ConvRequest(form, shape, AVX2))[0] == name


def test_pairs_by_weight_go_to_amx():
    unit = Unit(16, 32, dots=True, amx=True)
    request = ConvRequest(
        "by weight", ConvShape(8, 16, (30, 30), 40, (3, 3)), unit, forms.Storage("bfloat16", "bfloat16")
    )
    assert choose_way(WAYS, "by weight", request)[0] == "squares"
    assert choose_way(WAYS, "by weight", request._replace(unit=AVX2))[0] == "loops"


@pytest.mark.parametrize(
    "images, size, copied",
    [(1, 7, True), (8, 7, False), (1, 14, False), (1, 2, False)],
    ids=["few pixels", "many images", "many pixels", "more zeros than pixels"],
)
def test_small_images_get_zeros_around_them_where_weights_come_from_memory(images, size, copied):
    shape = ConvShape(images, 512, (size, size), 512, (3, 3), padding=(1, 1))
    near, far = (Unit(16, 32, dots=True, level2=size) for size in (1 << 24, 1 << 20))
    for form in forms.conv_forward, forms.conv_by_data:
        for storage in ("float32",) * 3, ("bfloat16",) * 3, ("int8", "int8", "int32"):
            assert form(shape, far, forms.Storage(*storage)).a.pads == copied
            assert not form(shape, near, forms.Storage(*storage)).a.pads  # they stay in the cache


@pytest.mark.parametrize("k, reason", [(64, None), (100_000, "sums are complete only in memory")])
def test_an_offer_says_why_there_is_no_epilogue(k, reason):
    types = Type("float32", (32, k)), Type("float32", (k, 40))
    out, geometry = Type("float32", (32, 40)), MatmulShape(32, k, 40)
    views = [contiguous(t.shape) for t in types]
    offer = offered(Request("matmul", geometry, views, types, out, unit_of(host_targets()[0]), BIAS))
    assert offer.why_not == reason
    assert (offer.plan().epilogue is None) == (reason is not None)


@pytest.mark.parametrize("rows", [8, 4096])  # few, of which no sums are taken
def test_one_plan_is_made(rows, monkeypatch):
    made = []
    finish = launches.Draft.launches
    monkeypatch.setattr(launches.Draft, "launches", lambda draft: made.append(draft) or finish(draft))
    builder = Builder()
    x, w, bias = (builder.input(Type("float32", shape)) for shape in ((rows, 33), (33, 16), (16,)))
    y = Elemwise("RELU")(MatMul()(x, w) + bias)
    compile_program(builder.finish([y, total(y, (0,))]))
    assert len(made) == 1
    assert bool(made[0].row_tiles) == (rows > 8)
