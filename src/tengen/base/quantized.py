"""Quantised dtypes: integers q that stand for the real numbers (q - zero point) · scale.

Inside tengen such a dtype is its name, as every dtype is: "qint8(0.1)", or "quint8(0.1,128)" where there is a zero point. The scale is
a float32, written as shortly as it can be, so one dtype has one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

METADATA = "mgb_dtype"
"""Under which key NumPy's dtypes carry, as metadata, what MegEngine says of a quantised one."""


class _Fields(NamedTuple):
    name: str
    cname: str | None
    np_dtype_str: str
    qmin: int
    qmax: int
    is_unsigned: bool


class QuantDtypeMeta(_Fields):
    """A kind of quantised dtype, without scale and zero point.

    name: such as "qint8". cname: what MegEngine's own files call it; None for a kind that no tensor can have. np_dtype_str: what stores it.
    qmin, qmax: the least and the largest integer. is_unsigned: by default as `np_dtype_str` says; those with a zero point are.

    >>> QuantDtypeMeta("qint8_narrow", None, "int8", -127, 127).is_unsigned
    False
    """

    __slots__ = ()

    def __new__(
        cls,
        name: str,
        cname: str | None,
        np_dtype_str: str,
        qmin: int,
        qmax: int,
        is_unsigned: bool | None = None,
    ) -> QuantDtypeMeta:
        unsigned = np_dtype_str.startswith("u") if is_unsigned is None else is_unsigned
        return super().__new__(cls, name, cname, np_dtype_str, qmin, qmax, unsigned)

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantDtypeMeta:
        return self


_ROWS = (
    QuantDtypeMeta("quint8", "Quantized8Asymm", "uint8", 0, 255),
    QuantDtypeMeta("qint8", "QuantizedS8", "int8", -128, 127),
    QuantDtypeMeta("qint8_narrow", "QuantizedS8", "int8", -127, 127),
    QuantDtypeMeta("quint4", "Quantized4Asymm", "uint8", 0, 15),
    QuantDtypeMeta("qint4", "QuantizedS4", "int8", -8, 7),
    QuantDtypeMeta("qint1", "QuantizedS1", "int8", 0, 1),
    QuantDtypeMeta("qint32", "QuantizedS32", "int32", -(2**31), 2**31 - 1),
    QuantDtypeMeta("quint2", None, "uint8", 0, 3),
    QuantDtypeMeta("qint2", None, "int8", -2, 1),
)
KINDS = {row.name: row for row in _ROWS}
# The kinds that a tensor's dtype can be of, by what MegEngine calls them.
BY_CNAME = {row.cname: row for row in _ROWS if row.cname and row.name != "qint8_narrow"}


class Quantized(NamedTuple):
    """What a quantised dtype is. zero_point: None for the kinds that have none."""

    kind: QuantDtypeMeta
    scale: float
    zero_point: int | None

    @property
    def name(self) -> str:
        """The name of the dtype."""
        shift = "" if self.zero_point is None else f",{self.zero_point}"
        return f"{self.kind.name}({np.float32(self.scale)!s}{shift})"

    @property
    def zero(self) -> int:
        """The integer that stands for 0."""
        return self.zero_point or 0


def make(kind: QuantDtypeMeta, scale: float, zero_point: int | None) -> Quantized:
    """The quantised dtype of a kind. ValueError for what cannot be its scale or zero point."""
    if kind.cname not in BY_CNAME:
        raise ValueError(f"no tensor has a dtype of the kind {kind.name!r}, which serves fake quantisation alone")
    kind = BY_CNAME[kind.cname]
    try:
        number = float(scale)
        with np.errstate(over="ignore"):
            fits = 0.0 < float(np.float32(number)) < float("inf")
    except TypeError:
        raise TypeError(f"{kind.name}: the scale must be a number, got {scale!r}") from None
    if not fits:
        raise ValueError(f"{kind.name}: the scale must be a positive float32, got {scale!r}")
    if not kind.is_unsigned:
        if zero_point is not None:
            raise ValueError(f"{kind.name} is symmetric and has no zero point, got {zero_point!r}")
        return Quantized(kind, number, None)
    if not isinstance(zero_point, (int, float, np.integer, np.floating)) or int(zero_point) != zero_point:
        raise ValueError(f"{kind.name}: the zero_point must be an integer, got {zero_point!r}")
    if not kind.qmin <= zero_point <= kind.qmax:
        raise ValueError(f"{kind.name}: the zero_point must be within [{kind.qmin}, {kind.qmax}], got {zero_point!r}")
    return Quantized(kind, number, int(zero_point))


@lru_cache(4096)
def quantized(dtype: str) -> Quantized | None:
    """What the quantised dtype of this name is; None for the name of any other dtype."""
    kind, bracket, rest = dtype.partition("(")
    if not bracket or not rest.endswith(")") or kind not in KINDS:
        return None
    numbers = rest[:-1].split(",")
    try:
        scale, zero_point = float(numbers[0]), int(numbers[1]) if len(numbers) == 2 else None
    except ValueError:
        return None
    if len(numbers) > 2:
        return None
    try:
        return make(KINDS[kind], float(np.float32(scale)), zero_point)
    except ValueError:
        return None


def storage(dtype: str) -> str:
    """The dtype of the integers that store a quantised one; any other dtype itself.

    >>> storage("quint8(0.5,3)"), storage("float32")
    ('uint8', 'float32')
    """
    found = quantized(dtype) if dtype[0] == "q" else None
    return dtype if found is None else found.kind.np_dtype_str


def metadata_of(value: Quantized) -> Mapping[str, Any]:
    """What NumPy's dtype of such integers carries as metadata, as MegEngine has it."""
    said: dict[str, Any] = {"name": value.kind.cname, "scale": value.scale}
    if value.zero_point is not None:
        said["zero_point"] = value.zero_point
    return {METADATA: said}


def from_numpy(dtype: Any) -> Quantized | None:
    """What the metadata of a NumPy dtype say; None if they say nothing of quantisation."""
    said = (getattr(dtype, "metadata", None) or {}).get(METADATA)
    if not isinstance(said, Mapping) or said.get("name") not in BY_CNAME:
        return None
    return make(BY_CNAME[said["name"]], said["scale"], said.get("zero_point"))


def metadata_read(state: Any) -> dict[str, Any] | None:
    """The metadata of a quantised dtype from what a file holds, numbers and text alone; None for anything else."""
    said = state.get(METADATA) if type(state) is dict else None
    if type(said) is not dict or type(said.get("name")) is not str or said["name"] not in BY_CNAME:
        return None
    if type(said.get("scale")) not in (int, float) or type(said.get("zero_point", 0)) is not int:
        return None
    try:
        return dict(metadata_of(make(BY_CNAME[said["name"]], said["scale"], said.get("zero_point"))))
    except ValueError:
        return None
