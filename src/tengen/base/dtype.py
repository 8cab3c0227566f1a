"""Names of dtypes, the NumPy classes that users see for them, and the rule of promotion.

Inside tengen a dtype is a plain string. Users hold NumPy scalar classes: `x.dtype` is `numpy.float32`.
NumPy has no bfloat16, so the class `bfloat16` here stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np

from . import quantized as quant


class bfloat16:
    """The dtype bfloat16: float32 without the lower 16 bits of its mantissa. Only a marker: it has no instances."""

    def __new__(cls, *_: Any) -> bfloat16:
        raise TypeError("bfloat16 only names a dtype: use tensor(value, dtype='bfloat16')")


NUMPY_CLASS: dict[str, type] = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "int8": np.int8,
    "uint16": np.uint16,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float16": np.float16,
    "bfloat16": bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "complex64": np.complex64,
}
NAMES = tuple(NUMPY_CLASS)
WEAK = ("weak_bool", "weak_int", "weak_float")
NARROW_FLOATS = ("float16", "bfloat16")
FLOATS = (*NARROW_FLOATS, "float32", "float64", "weak_float")
COMPLEX = "complex64"
ITEMSIZE = {name: 2 if name == "bfloat16" else np.dtype(NUMPY_CLASS[name]).itemsize for name in NAMES}

# Python's classes stand for the dtypes that their numbers get in a tensor.
_PYTHON: dict[Any, str] = {bool: "bool", int: "int32", float: "float32", complex: "complex64"}
_BY_CLASS: dict[Any, str] = {cls: name for name, cls in NUMPY_CLASS.items()} | _PYTHON


class DType:
    """What `Tensor.dtype` is: prints as NumPy's scalar class does and equals it, NumPy's dtype and the name.

    NumPy takes it wherever it takes a dtype (but for bfloat16, which NumPy lacks).

    >>> float32 = DType("float32")
    >>> print(float32, float32.name, float32 == np.float32, float32 == "float32", np.zeros(1, float32).dtype)
    <class 'numpy.float32'> float32 True True float32
    """

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype; TypeError for bfloat16."""
        return np.dtype(NUMPY_CLASS[self.name])

    @property
    def type(self) -> type:
        """The NumPy scalar class."""
        return NUMPY_CLASS[self.name]

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return ITEMSIZE[self.name]

    @property
    def kind(self) -> str:
        """NumPy's letter for the kind: b, i, u, f or c."""
        return "f" if self.name == "bfloat16" else self.dtype.kind

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self.name == other.name
        try:
            return self.name == canonical(other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.type if self.name == "bfloat16" else self.dtype)

    def __repr__(self) -> str:
        return repr(self.type)

    def __reduce__(self) -> tuple[Any, ...]:
        return DType, (self.name,)


class QuantDType(DType):
    """A quantised dtype: integers q that stand for the real numbers (q - zero_point) · scale.

    It equals another one of the same kind, scale and zero point, and, as in MegEngine, the dtype of its integers, whose name it has
    too. NumPy takes it wherever it takes a dtype, and `metadata` says what MegEngine's dtype does.

    >>> from tengen.dtype import quint8
    >>> dtype = quint8(0.5, 3)
    >>> dtype, dtype.itemsize, dtype == quint8(0.5, 3), dtype == quint8(0.25, 3), dtype == np.uint8
    (quint8(0.5,3), 1, True, False, True)
    """

    __slots__ = ("quantized",)

    def __init__(self, value: quant.Quantized):
        super().__init__(value.kind.np_dtype_str)
        self.quantized = value

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the integers, with `metadata`."""
        return np.dtype(self.name, metadata=dict(self.metadata))

    @property
    def scale(self) -> float:
        """The real number of one step of the integers."""
        return self.quantized.scale

    @property
    def zero_point(self) -> int | None:
        """The integer that stands for 0; None for the kinds for which it is 0 always."""
        return self.quantized.zero_point

    @property
    def metadata(self) -> Mapping[str, Any]:
        """{"mgb_dtype": {"name": …, "scale": …}}, with "zero_point" for the kinds that have one, as MegEngine's dtype has it."""
        return quant.metadata_of(self.quantized)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, QuantDType):
            return self.quantized.name == other.quantized.name
        try:
            return canonical(other) in (self.name, self.quantized.name)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(np.dtype(self.name))

    def __repr__(self) -> str:
        return self.quantized.name

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype_of, (self.quantized.name,)


DTYPES = {name: DType(name) for name in NAMES}


@lru_cache(4096)
def dtype_of(name: str) -> DType:
    """What users see for the dtype `name`; ValueError if there is none."""
    if name in DTYPES:
        return DTYPES[name]
    value = quant.quantized(name)
    if value is None:
        raise ValueError(f"{name!r} is not the name of a dtype")
    return QuantDType(value)


def canonical(dtype: Any) -> str:
    """The name of a dtype given as a name, a NumPy scalar class, a `numpy.dtype` or Python's bool, int or float.

    Raises TypeError for anything that tengen has no dtype for.

    >>> canonical(np.float16), canonical("f4"), canonical(np.dtype("uint8")), canonical(float)
    ('float16', 'float32', 'uint8', 'float32')
    """
    if isinstance(dtype, str) and dtype in NUMPY_CLASS:
        return dtype
    if isinstance(dtype, DType):
        return dtype.quantized.name if isinstance(dtype, QuantDType) else dtype.name
    if isinstance(dtype, type) and dtype in _BY_CLASS:
        return _BY_CLASS[dtype]
    if dtype is None:
        raise TypeError("a dtype is needed, got None")
    value = quant.quantized(dtype) if isinstance(dtype, str) else quant.from_numpy(dtype)
    if value is not None:
        return value.name
    try:
        name = str(np.dtype(dtype).name)
    except (TypeError, ValueError):  # the latter for text such as "int8(1)"
        name = ""
    if name not in NUMPY_CLASS:
        raise TypeError(f"{dtype!r} is not a dtype of tengen; those are {', '.join(NAMES)}")
    return name


def storage_dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype of the numbers that a tensor of the dtype `name` is read as: with metadata if it is quantised, float32 for bfloat16."""
    return np.dtype("float32") if name == "bfloat16" else dtype_of(name).dtype


def numpy_class(name: str) -> type:
    """The class that users see for the dtype `name`, such as `numpy.float32`."""
    return NUMPY_CLASS[name]


def held(name: str, number: float) -> float | int | bool:
    """A number as an element of this dtype holds it: rounded, or for integers cut and wrapped.

    Raises ValueError for an integer dtype and a number that is not finite.

    >>> held("int8", 300), held("int32", 1.7), held("float16", 0.1), held("bfloat16", 0.1)
    (44, 1, 0.0999755859375, 0.10009765625)
    """
    name = {"weak_bool": "bool", "weak_int": "int64", "weak_float": "float64", COMPLEX: "float32"}.get(name, name)
    kind = DTYPES[name].kind
    if kind == "b":
        return bool(number)
    if kind in "iu":
        if not np.isfinite(number):
            raise ValueError(f"{name} cannot hold {number}")
        limits = np.iinfo(NUMPY_CLASS[name])
        low, high = int(limits.min), int(limits.max)
        return (int(number) - low) % (high - low + 1) + low
    if name != "bfloat16":
        with np.errstate(over="ignore"):
            return float(NUMPY_CLASS[name](number))
    return float((bfloat16_bits(np.float64(number)).astype(np.uint32) << 16).view(np.float32))


def bfloat16_bits(values: Any) -> np.ndarray[Any, Any]:
    """Numbers as bfloat16, rounded to nearest even: the bits of each as uint16."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        if array.dtype.itemsize == 8:  # float64 holds those whose last bits are in one (as in kernels)
            far = np.abs(array.astype(np.float64)) >= 2.0**53
            array = np.where(far, ((array >> 11) | ((array & 2047) != 0)) << 11, array)
        array = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        bits = array.astype(np.float32).reshape(-1).view(np.uint32)
        if array.dtype == np.float64:
            # Of the neighbours in float32 the odd one, so that what is a tie for bfloat16 there was one before (as in kernels).
            size, wanted = np.abs(bits.view(np.float32).astype(np.float64)), np.abs(array.reshape(-1))
            bits = np.where((size < wanted) & (size > 0), bits | 1, bits)
            bits = np.where((size > wanted) & (size < np.inf), (bits - 1) | 1, bits)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16).reshape(array.shape)


def is_float(name: str) -> bool:
    """Whether `name` is a floating dtype (the weak one of Python floats included)."""
    return name in FLOATS


def has_gradients(name: str) -> bool:
    """Whether values of the dtype `name` can have a gradient: floats and complex numbers."""
    return name in FLOATS or name == COMPLEX


_INT_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "int64": 64}


@cache
def promote(*names: str) -> str:
    """The dtype in which operands of these dtypes meet.

    Equal dtypes stay. Integers become the narrowest signed one that holds both (int64 at most). Where floats, or bool,
    meet anything else the result is float32 (float64 if one is), where complex numbers do it is complex64. Weak Python scalars do not
    count beside a tensor, except that a weak float turns integers and bool into float32, and a weak int does so with bool.

    >>> promote("int8", "int32"), promote("float16", "int8"), promote("int32", "weak_float")
    ('int32', 'float32', 'float32')
    """
    strong = {n for n in names if n not in WEAK}
    weak = {n for n in names if n in WEAK}
    if not strong:
        return max(weak, key=WEAK.index)
    if COMPLEX in strong:
        return COMPLEX
    found = strong.pop() if len(strong) == 1 else _promote_strong(strong)
    if found[0] == "q":
        return found
    if ("weak_float" in weak and found not in FLOATS) or ("weak_int" in weak and found == "bool"):
        return "float32"
    return found


def _promote_strong(names: set[str]) -> str:
    if any(name[0] == "q" for name in names):
        raise TypeError(f"dtypes {' and '.join(sorted(names))} do not meet; convert to one of them, with astype")
    if "float64" in names:
        return "float64"
    if not names <= set(_INT_BITS):
        return "float32"
    bits = max(_INT_BITS[n] for n in names)
    unsigned = max((_INT_BITS[n] for n in names if n.startswith("u")), default=0)
    if all(n.startswith("u") for n in names):
        return f"uint{bits}"
    return f"int{min(max(bits, 2 * unsigned), 64)}"
