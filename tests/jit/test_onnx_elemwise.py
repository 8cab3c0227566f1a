"""Element-wise modes, conversions and narrow floats, exported to ONNX: ONNX Runtime computes what tengen does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from elementwise_rows import BY_MODE
from frozen_functions import frozen
from onnx_harness import check, draw, model_of, session

from tengen import Tensor
from tengen._rt import apply
from tengen.base.errors import ExportError
from tengen.compiler.program import Type
from tengen.core.ops import elemwise, linalg
from tengen.core.ops.elemwise import Elemwise, TypeCvt, cast
from tengen.core.ops.shape import Concatenate
from tengen.jit.onnx.elemwise import FORMULAE

#: operators that ONNX has for float64 too, but ONNX Runtime has no kernel for
NO_FLOAT64 = set("ERF ERFC NORMCDF ASIN ACOS ATAN ATAN2 TAN SINH COSH ASINH ACOSH ATANH SOFTPLUS".split())
LOOSE = {"ERFINV": 4, "ERFCINV": 4, "POW": 4, "TAN": 4}


def operands(mode: str, dtype: str) -> list[np.ndarray]:
    row = BY_MODE.get(mode)
    low, high = (row.low, row.high) if row is not None and row.is_limited else (-5, 5)
    if dtype.startswith("u"):
        low, high = max(low, 0), 9
    return [draw((3, 17), dtype, low, high, seed) for seed in range(elemwise.ROWS[mode].arity)]


@pytest.mark.parametrize("mode", [m for m, row in elemwise.ROWS.items() if row.result not in ("bits", "ints")])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int8", "uint8", "int64", "bool"])
def test_modes(mode, dtype):
    row = elemwise.ROWS[mode]
    if dtype == "float64" and mode in NO_FLOAT64:
        model_of(frozen(Elemwise(mode), operands(mode, dtype)))
    elif row.no_onnx and (dtype == "float64" or not row.onnx):
        with pytest.raises(ExportError, match=f"{mode.lower()} cannot be exported to ONNX, which {row.no_onnx}"):
            model_of(frozen(Elemwise(mode), operands(mode, dtype)))
    else:
        check(Elemwise(mode), operands(mode, dtype), [], LOOSE.get(mode, 1))


@pytest.mark.parametrize("mode", ["AND", "OR", "XOR", "INVERT"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64"])
def test_bits(mode, dtype):
    check(Elemwise(mode), operands(mode, dtype), [], 1)


@pytest.mark.parametrize("mode", ["SHL", "SHR"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_shifts(mode, dtype):
    check(Elemwise(mode), [draw((40,), dtype, -100, 100), draw((40,), dtype, 0, 6, 1)], [], 1)


SPECIAL = np.float32(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 1e-8, -1e-8, 1e30, 3e9]
)


@pytest.mark.parametrize(
    "mode",
    [m for m, row in elemwise.ROWS.items() if row.arity == 1 and row.result not in ("bits", "ints") and row.onnx],
)
def test_special_numbers(mode):
    array = SPECIAL
    if mode == "EXP_NONPOSITIVE":
        array = array[~(array > 0)]
    check(Elemwise(mode), [array], [], LOOSE.get(mode, 1))


@pytest.mark.parametrize(
    "mode",
    [m for m, row in elemwise.ROWS.items() if row.arity == 2 and row.result not in ("bits", "ints") and row.onnx],
)
def test_special_pairs(mode):
    a, b = (m.reshape(-1) for m in np.meshgrid(SPECIAL, SPECIAL))
    check(Elemwise(mode), [a, b], [], LOOSE.get(mode, 1))


@pytest.mark.parametrize("mode", ["FLOOR_DIV", "MOD"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8"])
def test_division_of_integers(mode, dtype):
    numbers = [7, -7, 0, 1, -1, 2, -2, np.iinfo(dtype).min, np.iinfo(dtype).max]
    a, b = (m.reshape(-1).astype(dtype) for m in np.meshgrid(numbers, numbers))
    check(Elemwise(mode), [a, b], [], 1)
    for number in (3, -3, 1, -1, 0):
        check(lambda x, n=number: Elemwise(mode)(x, n), [a], [], 1)


@pytest.mark.parametrize(
    "source", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize(
    "target", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
)
def test_conversions(source, target):
    if source.startswith("float"):
        with np.errstate(over="ignore"):
            array = np.array(
                [0, -0.5, 0.5, 1.7, -1.7, 300, -300, 3e9, -3e9, 1e20, -1e20, np.nan, np.inf, -np.inf]
            ).astype(source)
    elif source == "bool":
        array = np.array([True, False])
    else:
        array = np.array([0, 1, np.iinfo(source).min, np.iinfo(source).max, 100], source)
    check(TypeCvt(target), [array], [], 1)


NARROW = [Elemwise("MUL"), Elemwise("MAX"), Elemwise("EQ"), linalg.MatMul(), Concatenate(0), elemwise.Where()]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", NARROW, ids=str)
def test_narrow_floats(op, dtype):
    """Inside of the graph, as NumPy has no bfloat16 to give to it; tengen does one op after the other."""
    arrays = [draw((4, 4), seed=n) for n in range(3)][: 3 if isinstance(op, elemwise.Where) else 2]
    recorded = frozen(lambda *xs: cast(op(*(cast(x, dtype) for x in xs)), "float32"), arrays)
    found = session(recorded).run(None, dict(zip(recorded.arguments, arrays, strict=True)))
    want = apply(op, *(Tensor(a, dtype=dtype) for a in arrays)).astype("float32")
    np.testing.assert_allclose(found[0], want.numpy(), rtol={"float16": 1e-3, "bfloat16": 8e-3}[dtype])


def test_a_weight_of_bfloat16():
    function = frozen(
        lambda x, w: cast(Concatenate(0)(cast(x, "bfloat16"), w), "float32"),
        [Type("float32", (2, 2)), Type("bfloat16", (1, 2))],
    )
    bits = (np.float32([[1.5, -3.0]]).view(np.uint32) >> 16).astype(np.uint16)
    function = function._replace(arguments=("x0",), constants={function.program.inputs[1]: bits})
    found = session(function).run(None, {"x0": np.ones((2, 2), np.float32)})
    assert found[0].tolist() == [[1, 1], [1, 1], [1.5, -3]]


def test_every_mode_has_an_operator_or_a_formula_or_a_reason():
    for mode, row in elemwise.ROWS.items():
        known = row.onnx in FORMULAE or is_operator(row)
        assert known or (not row.onnx and row.no_onnx), mode
    assert set(FORMULAE) == {row.onnx for row in elemwise.ROWS.values()} & set(FORMULAE)


def is_operator(row: elemwise.Row) -> bool:
    return onnx.defs.has(f"Bitwise{row.onnx}" if row.result == "bits" else row.onnx)
