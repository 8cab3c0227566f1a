"""einsum against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, laid_out, random

import tengen.functional as F
from tengen import Tensor
from tengen.compiler.program import Type, build
from tengen.core.ops.einsum import Einsum, order
from tengen.core.ops.linalg import MatMul
from tengen.jit import trace

# equation → shapes of operands
CASES = {
    "ij,jk->ik": [(3, 4), (4, 5)],
    "ij,jk": [(3, 4), (4, 5)],
    "ij,kj->ik": [(3, 4), (5, 4)],
    "ji,jk->ki": [(4, 3), (4, 5)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bhij,bjhd->bihd": [(2, 3, 4, 6), (2, 6, 3, 5)],
    "i,i->": [(7,), (7,)],
    "i,i->i": [(7,), (7,)],
    "i,j->ij": [(3,), (4,)],
    "i,j->ji": [(3,), (4,)],
    "bi,bi->b": [(3, 5), (3, 5)],
    "ij->ji": [(3, 4)],
    "ba": [(3, 4)],
    "ij->": [(3, 4)],
    "ij->j": [(3, 4)],
    "ii": [(4, 4)],
    "ii->i": [(4, 4)],
    "iij->ji": [(3, 3, 2)],
    "iji->j": [(3, 2, 3)],
    "iii->i": [(3, 3, 3)],
    "ijij->ij": [(2, 3, 2, 3)],
    "ii,i->": [(3, 3), (3,)],
    "bii,bij->bj": [(2, 3, 3), (2, 3, 4)],
    "...ij,...jk->...ik": [(2, 3, 4), (4, 5)],
    "...ij,...jk": [(2, 1, 3, 4), (6, 4, 5)],
    "i...->...i": [(3, 2, 4)],
    "...i,...i->...": [(2, 3, 4), (4,)],
    "...": [(2, 3)],
    "...,...": [(2, 3), (3,)],
    "a...b,b...c->ac...": [(2, 3, 4), (4, 3, 5)],
    "...i->...": [(2, 3)],
    "ij,k->j": [(2, 3), (4,)],
    "ij,jk,kl->il": [(2, 30), (30, 3), (3, 4)],
    "i,ij,j->": [(3,), (3, 4), (4,)],
    "abc,cd,de,ea->b": [(2, 3, 4), (4, 5), (5, 2), (2, 2)],
    "ijk,ij->k": [(3, 4, 5), (3, 4)],
    "ijk,ij->ijk": [(3, 4, 5), (3, 4)],
    "Ab,bA->A": [(3, 4), (4, 3)],
    " i j , j k -> i k ": [(3, 4), (4, 5)],
    "ij,jk -> ik": [(3, 1), (1, 5)],
    "nchw,oc->nohw": [(2, 3, 4, 4), (5, 3)],
    "ij,jk-> ik": [(0, 4), (4, 5)],
    "ij,jk ->ik": [(3, 0), (0, 5)],
    "bij, bjk->bik": [(0, 3, 4), (0, 4, 5)],
    ",->": [(), ()],
    ",i->i": [(), (3,)],
    "": [()],
}


def operands(shapes):
    return [random(shape, seed=i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("equation", CASES)
def test_values(equation):
    arrays = operands(CASES[equation])
    truth = np.einsum(equation, *arrays)
    assert_close(F.einsum(equation, *(Tensor(a, dtype="float32") for a in arrays)), truth, "float32", factor=10)
    turned = [laid_out(a, "transposed") for a in arrays]
    assert_close(F.einsum(equation, *turned), truth, factor=10)
    traced = trace(lambda *xs: F.einsum(equation, *xs))
    for _ in range(2):
        assert_close(traced(*(Tensor(a, dtype="float32") for a in arrays)), truth, factor=10)


@pytest.mark.parametrize(
    "equation, count", [("bhid,bhjd->bhij", 1), ("ii,ij->j", 1), ("i,j->ij", 0), ("bi,bi->b", 0), ("ab,bc,cd->ad", 2)]
)
def test_sums_of_products_are_contractions(equation, count):
    program = build(
        Einsum(equation), [Type("float32", (3,) * len(term)) for term in equation.partition("->")[0].split(",")]
    )
    assert sum(isinstance(node.op, MatMul) for node in program.nodes) == count


@pytest.mark.parametrize("equation", [e for e, shapes in CASES.items() if all(0 not in s for s in shapes)])
def test_gradients(equation):
    check_gradient(lambda *xs: F.einsum(equation, *xs), operands(CASES[equation]))


@pytest.mark.parametrize("equation", ["ij,jk->ik", "iij->ji", "bii,bij->bj", "i,ij,j->", "...i,...i->..."])
def test_second_gradients(equation):
    check_second_gradient(lambda *xs: F.einsum(equation, *(x * x for x in xs)), operands(CASES[equation]))


@pytest.mark.parametrize(
    "equation, shapes",
    [("ij,jk->ik", [(3, 1), (4, 5)]), ("bij,bjk->bik", [(1, 3, 4), (2, 4, 5)]), ("bi,bi->b", [(1, 5), (3, 5)]),
     ("ij,jk,k->i", [(3, 4), (1, 5), (5,)]), ("bij,bij->b", [(2, 1, 4), (2, 3, 1)])],
)  # fmt: skip
def test_an_extent_of_one_is_stretched(equation, shapes):
    arrays = operands(shapes)
    wide = {}
    terms = equation.partition("->")[0].split(",")
    for term, a in zip(terms, arrays, strict=True):
        for label, extent in zip(term, a.shape, strict=True):
            wide[label] = max(extent, wide.get(label, 1))
    truth = np.einsum(equation, *(np.broadcast_to(a, [wide[x] for x in t]) for t, a in zip(terms, arrays, strict=True)))
    assert_close(F.einsum(equation, *(Tensor(a, dtype="float32") for a in arrays)), truth, factor=10)
    check_gradient(lambda *xs: F.einsum(equation, *xs), arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats(dtype):
    arrays = operands([(3, 4), (4, 5)])
    result = F.einsum("ij,jk->ki", *(Tensor(a, dtype=dtype) for a in arrays))
    assert_close(result, np.einsum("ij,jk->ki", *arrays), dtype, factor=4)


def test_dtypes():
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    for dtype, want in (("int8", "int32"), ("int32", "int32"), ("int64", "int64")):
        assert_close(F.einsum("ij,jk", Tensor(a, dtype=dtype), Tensor(b, dtype=dtype)), a @ b, want)
    assert_close(F.einsum("ij->ji", Tensor(a, dtype="int8")), a.T, "int8")
    assert_close(F.einsum("ij->j", Tensor(a % 2 == 0)), (a % 2 == 0).sum(0), "int32")
    assert_close(F.einsum("ij,jk", Tensor(a), Tensor(b, dtype="float16")), a @ b, "float32", factor=10)
    assert_close(F.einsum("ij,jk", a.tolist(), b.astype(np.float32)), a @ b, "float32")


def test_a_chain_takes_the_cheap_order():
    """(3 × 1000)(1000 × 2)(2 × 1000): the last product is the large one from the left, and a huge one from the right."""
    labels, shapes = [("i", "j"), ("j", "k"), ("k", "l")], [(3, 1000), (1000, 2), (2, 1000)]
    assert order(labels, shapes, ("i", "l")) == [(0, 1), (0, 1)]
    assert order(labels[::-1], shapes[::-1], ("i", "l")) == [(1, 2), (0, 1)]
    many = [(chr(97 + i), chr(98 + i)) for i in range(12)]
    assert len(order(many, [(2, 2)] * 12, ("a", "m"))) == 11


@pytest.mark.parametrize(
    "equation, shapes, message",
    [
        ("ij,jk->ik", [(2, 3)], "is for 2 operands, got 1"),
        ("ij,jk->ik", [(2, 3), (4, 5)], r"'j' in 'ij,jk->ik' is 3 and 4: shapes \(2, 3\), \(4, 5\)"),
        ("ii->i", [(2, 3)], "'i' in 'ii->i' is 2 and 3"),
        ("ii->i", [(3, 1)], "'i' in 'ii->i' is 3 and 1"),
        ("ij->ik", [(2, 3)], "'k' is in no operand but in the result"),
        ("ij->ii", [(2, 3)], "'i' is named twice in the result"),
        ("i->i", [(2, 3)], r"'i' in 'i->i' does not match the 2 dimensions of shape \(2, 3\)"),
        ("ijk", [(2, 3)], "does not match the 2 dimensions"),
        ("i.j", [(2, 3)], "'.' in 'i.j' is not a letter"),
        ("i1", [(2, 3)], "'1' in 'i1' is not a letter"),
        ("...i->i", [(2, 3)], "needs an ellipsis"),
        ("...i,...i", [(2, 3), (4, 3)], "the ellipsis in"),
    ],
)
def test_errors(equation, shapes, message):
    with pytest.raises(ValueError, match=f"einsum: .*{message}"):
        F.einsum(equation, *(F.ones(shape) for shape in shapes))


def test_what_is_no_equation():
    with pytest.raises(TypeError, match="einsum: the equation must be text"):
        F.einsum(F.ones((2,)), "i")
    with pytest.raises(ValueError, match="einsum: there is no operand"):
        F.einsum("i")
