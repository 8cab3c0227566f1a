"""Each op of the table, exported to ONNX: ONNX Runtime computes what tengen does. Against what tengen does stand other tests."""

from __future__ import annotations

import io
import sys

import numpy as np
import onnx
import pytest
import scan_rows
from frozen_functions import frozen
from onnx_harness import assert_same, check, eager, session
from onnx_rows import ROWS, f, i

from tengen.base.errors import ExportError
from tengen.compiler.program import Composite, Constant, Iota, Number, Type
from tengen.core.ops import complex as ops_complex
from tengen.core.ops import (
    create,
    elemwise,
    host,
    linalg,
)
from tengen.core.ops import random as random_ops
from tengen.core.ops.elemwise import Elemwise, TypeCvt, cast
from tengen.core.ops.reduce import ArgExtreme, Reduce
from tengen.core.ops.shape import (
    Fill,
    Pad,
    Reshape,
)
from tengen.core.ops.table import op_classes
from tengen.jit.onnx import export
from tengen.jit.onnx.rules import RULES


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_ops(row):
    row.run()


NUMBERS = {
    "constants": lambda x: x * 2 + 0.5,
    "a constant of a dtype": lambda x: x * x.builder.record(Constant(1.5, "bfloat16"), ())[0],
    "numbers": lambda x: x * x.builder.number(3),
    "iota": lambda x: x + cast(x.builder.iota((3, 4)), "float32"),
    "a created tensor": lambda x: x + create.Eye(3, 4, "float32", "")(x.builder.constant(1.0)),
    "filled": lambda x: x + Fill((3, 4), "float32", "")(x.builder.constant(2.0)),
}


@pytest.mark.parametrize("function", NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers(function):
    check(function, [f(3, 4)], [], 1)


def test_a_number_as_an_argument():
    function = frozen(lambda x, s: x * s, [f(3, 4), Type("weak_float", ())])
    found = session(function).run(None, {"x0": f(3, 4), "x1": np.array(0.1)})
    assert_same(found, [f(3, 4) * np.float32(0.1)])


def test_arguments_and_constants_as_outputs():
    function = frozen(lambda x, w: (x, w, x, x + w), [f(3, 4)], [f(3, 4, seed=1)], {"author": "me", "classes": [1, 2]})
    run = session(function)
    assert_same(run.run(None, {"x0": f(3, 4)}), eager(function, [f(3, 4)]))
    assert run.get_modelmeta().custom_metadata_map == {"author": "me", "classes": "[1, 2]"}


# -- what cannot be exported -----------------------------------------------------------------------------------

Z = ops_complex.Complex()
COMPLEX = {
    "Complex": lambda x: ops_complex.Part(0)(Z(x, x)),
    "Polar": lambda x: ops_complex.Part(0)(ops_complex.Polar()(x, x)),
    "Part": lambda x: ops_complex.Part(1)(Z(x, x)),
    "OnParts": lambda x: ops_complex.Part(0)(Z(x, x) + Z(x, x)),
    "OnPlanes": lambda x: ops_complex.Part(0)(Reduce("SUM", (0,))(Z(x, x))),
    "PaddedComplex": lambda x: ops_complex.Part(0)(Pad((1,), (0,), 1.0)(Z(x, x))),
    "ToComplex": lambda x: ops_complex.Part(0)(cast(x, "complex64")),
    "ComplexProduct": lambda x: ops_complex.Part(0)(
        linalg.MatMul()(Reshape((3, 1))(Z(x, x)), Reshape((1, 3))(Z(x, x)))
    ),
    "FilledComplex": lambda x: ops_complex.Part(0)(Fill((3,), "complex64", "")(x.builder.constant(1.0)) + Z(x, x)),
    "WhereComplex": lambda x: ops_complex.Part(0)(elemwise.Where()(x, Z(x, x), 0.0)),
}

NOT_EXPORTABLE = {
    "RandomBits": (lambda x: random_ops.RandomBits(0)(x, 1), [i(3)], "RandomBits"),
    "Uniform": (lambda x: random_ops.Uniform((3,))(0.0, 1.0, x, 0), [i()], "Uniform, which is made of RandomBits"),
    "Normal": (lambda x: random_ops.Normal((3,))(0.0, 1.0, x, 0), [i()], "Normal, which is made of RandomBits"),
    "Permutation": (lambda x: random_ops.Permutation(3)(x, 0), [i()], "Permutation, which is made of RandomBits"),
    "Dropout": (lambda x: random_ops.Dropout()(x, 0.5, 1, 2), [f(3)], "Dropout, which is made of RandomBits"),
    "Drawn": (lambda x: random_ops.Drawn("gamma", (3,))(x, 1.0, 1, 2), [f()], "gamma"),
    "MatrixInverse": (lambda x: host.MatrixInverse()(x), [f(3, 3)], "MatrixInverse"),
    "Inverse": (lambda x: host.Inverse()(x), [f(3, 3)], "matinv, which is made of MatrixInverse"),
    "SVD": (lambda x: host.SVD(False)(x), [f(3, 3)], "SVD"),
    **{name: (function, [f(3)], "[a-z]+, which is made of (Pairs|Planes)") for name, function in COMPLEX.items()},
    **{type(row.op(0)).__name__: (row.op(0), [f(3, 3)], row.no_onnx) for row in scan_rows.ROWS if row.no_onnx},
}


@pytest.mark.parametrize("function, arrays, message", NOT_EXPORTABLE.values(), ids=NOT_EXPORTABLE.keys())
def test_what_cannot_be_exported_is_named(function, arrays, message):
    with pytest.raises(ExportError, match=f"{message},? cannot be exported to ONNX"):
        export(frozen(function, arrays), io.BytesIO())


def test_every_op_is_tested():
    """But for formulas that have no rule: they are written as what they are made of."""
    tested = {type(row.op).__name__ for row in ROWS} | set(NOT_EXPORTABLE)
    tested |= {name for name, cls in op_classes().items() if issubclass(cls, Composite) and cls not in RULES}
    tested |= {name for name, cls in op_classes().items() if not isinstance(cls.no_onnx, property)}  # and says so
    tested |= {
        cls.__name__ for cls in (Constant, Number, Iota, TypeCvt, Elemwise, ArgExtreme)
    }  # in tests of their own, or of parts
    assert set(op_classes()) - tested == set()


def test_every_op_has_a_rule_or_is_made_of_others_or_says_why():
    for name, cls in op_classes().items():
        is_known = issubclass(cls, (Constant, Number))  # a value, which is written as it is
        reason = "" if isinstance(cls.no_onnx, property) else cls.no_onnx
        assert bool(reason) != (is_known or cls in RULES or issubclass(cls, Composite)), name


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        export(frozen(host.SVD(False), [f(3, 3)]), path)
    assert path.read_bytes() == b"old"
    export(frozen(lambda x: x + 1, [f(3)]), path)
    onnx.checker.check_model(path)


def test_names_that_onnx_cannot_have():
    function = frozen(lambda x: x + 1, [Type("float32", (3,))])
    with pytest.raises(ExportError, match="names of arguments and outputs"):
        export(function._replace(outputs=("x0",)), io.BytesIO())


def test_without_the_package_onnx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install tengen\[onnx\]"):
        export(frozen(lambda x: x + 1, [f(3)]), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_more_weights_than_a_file_holds(monkeypatch):
    monkeypatch.setattr("tengen.jit.onnx.model.MOST", 8)
    with pytest.raises(ExportError, match=r"the weights have .* GiB, and one ONNX file holds less than 2"):
        export(frozen(lambda x, w: x + w, [f(3)], [f(3)]), io.BytesIO())
