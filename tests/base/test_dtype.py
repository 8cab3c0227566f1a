"""Names of dtypes and promotion, against what MegEngine 1.13 answers."""

from __future__ import annotations

import numpy as np
import pytest

from tengen.base.dtype import ITEMSIZE, NAMES, bfloat16, canonical, is_float, numpy_class, promote


@pytest.mark.parametrize("name", NAMES)
def test_canonical_reads_every_spelling(name):
    cls = numpy_class(name)
    assert canonical(name) == name
    assert canonical(cls) == name
    if name != "bfloat16":
        assert canonical(np.dtype(cls)) == name
        assert np.dtype(cls).itemsize == ITEMSIZE[name]


@pytest.mark.parametrize(("given", "name"), [("f4", "float32"), (float, "float32"), (int, "int32"), (bool, "bool")])
def test_canonical_reads_short_names_and_python_classes(given, name):
    assert canonical(given) == name


@pytest.mark.parametrize("given", ["nope", "complex256", object, np.complex128, "datetime64[s]", 3, "O"])
def test_canonical_refuses_what_is_no_dtype(given):
    with pytest.raises(TypeError, match="is not a dtype of tengen; those are bool"):
        canonical(given)


def test_canonical_refuses_none():
    # numpy.dtype(None) is float64, which nobody means.
    with pytest.raises(TypeError, match="None"):
        canonical(None)


def test_bfloat16_has_no_instances():
    with pytest.raises(TypeError, match="only names a dtype"):
        bfloat16(1.0)


# From x + y on tensors of one element; where MegEngine has no answer there is no row.
REFERENCE = """
bool    + uint8   = float32
bool    + float16 = float32
uint8   + uint16  = uint16
int8    + int16   = int16
int8    + int32   = int32
int16   + int32   = int32
uint8   + float16 = float32
int32   + float16 = float32
int32   + float32 = float32
float16 + float32 = float32
"""


@pytest.mark.parametrize("row", REFERENCE.strip().splitlines())
def test_promotion_is_the_reference_s(row):
    a, _, b, _, result = row.split()
    assert promote(a, b) == promote(b, a) == result


@pytest.mark.parametrize(
    ("tensor", "weak_int", "weak_float"),
    [
        ("uint8", "uint8", "float32"),
        ("int32", "int32", "float32"),
        ("bool", "float32", "float32"),
        ("float16", "float16", "float16"),
        ("float32", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_python_scalars_do_not_widen(tensor, weak_int, weak_float):
    assert promote(tensor, "weak_int") == promote("weak_int", tensor) == weak_int
    assert promote(tensor, "weak_float") == promote("weak_float", tensor) == weak_float


@pytest.mark.parametrize("name", NAMES)
def test_equal_dtypes_stay(name):
    assert promote(name, name) == promote(name) == name


@pytest.mark.parametrize("a", [n for n in NAMES if n[0] in "ui"])
@pytest.mark.parametrize("b", [n for n in NAMES if n[0] in "ui"])
def test_promotion_of_integers_holds_both_ranges(a, b):
    both = np.iinfo(promote(a, b))
    for name in (a, b):
        assert both.min <= np.iinfo(name).min
        assert np.iinfo(name).max <= both.max


def test_promotion_of_several_does_not_depend_on_their_order():
    assert promote("int8", "float16", "weak_float") == promote("weak_float", "float16", "int8") == "float32"
    assert promote("weak_int", "weak_float") == "weak_float"
    assert promote("float32", "float64", "bool") == "float64"


def test_is_float():
    assert [n for n in NAMES if is_float(n)] == ["float16", "bfloat16", "float32", "float64"]
