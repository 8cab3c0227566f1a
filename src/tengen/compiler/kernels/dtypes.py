"""Dtypes of elements in memory and in registers."""

from __future__ import annotations

# The compute dtype of each storage dtype.
COMPUTE = {
    **dict.fromkeys(("bool", "weak_bool"), "bool"),
    **dict.fromkeys(("uint8", "int8", "uint16", "int16", "int32"), "int32"),
    **dict.fromkeys(("int64", "weak_int", "complex64"), "int64"),  # complex numbers are only moved
    **dict.fromkeys(("float16", "bfloat16", "float32"), "float32"),
    **dict.fromkeys(("float64", "weak_float"), "float64"),
}

NARROW_FLOATS = ("float16", "bfloat16")
NARROW_INTS = ("uint8", "int8", "uint16", "int16")

PAIR = "bfloat16x2"
QUADS = {"int8": "int8x4", "uint8": "uint8x4"}
WORDS = {PAIR: 2, "int8x4": 4, "uint8x4": 4}
"""Words of 32 bits, each with several numbers side by side, the first in the low bits. `multiply_add` takes all numbers
of a word in one step."""

# storage dtype -> (kind of the bits in memory, kind used for computing)
KINDS = {
    "bool": ("i8", "bool"),
    "uint8": ("i8", "i32"),
    "int8": ("i8", "i32"),
    "uint16": ("i16", "i32"),
    "int16": ("i16", "i32"),
    "int32": ("i32", "i32"),
    "int64": ("i64", "i64"),
    "float16": ("i16", "f32"),
    "bfloat16": ("i16", "f32"),
    **dict.fromkeys(WORDS, ("i32", "i32")),
    "float32": ("f32", "f32"),
    "float64": ("f64", "f64"),
    "complex64": ("i64", "i64"),
    "weak_bool": ("i8", "bool"),
    "weak_int": ("i64", "i64"),
    "weak_float": ("f64", "f64"),
}

COMPUTE_KIND = {"bool": "bool", "int32": "i32", "int64": "i64", "float32": "f32", "float64": "f64"}
BITS = {"f16": 16, "f32": 32, "f64": 64, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "bool": 1}
