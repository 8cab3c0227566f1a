"""Dtypes of the standard, and questions about them."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..base.device import get_default_device
from ..base.dtype import DTYPES, DType, canonical, promote
from ..core import Tensor

__all__ = "bool int8 int16 int32 int64 uint8 uint16 float32 float64".split()
__all__ += "astype can_cast finfo iinfo isdtype result_type".split()

bool = DTYPES["bool"]
int8, int16, int32, int64 = (DTYPES[f"int{bits}"] for bits in (8, 16, 32, 64))
uint8, uint16 = DTYPES["uint8"], DTYPES["uint16"]
float32, float64 = DTYPES["float32"], DTYPES["float64"]

_KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16"),
    "real floating": ("float16", "bfloat16", "float32", "float64"),
    "complex floating": (),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


def isdtype(dtype: Any, kind: Any) -> Any:
    """Whether a dtype equals another one, is of a kind such as "real floating", or is one of several."""
    name = canonical(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"a kind of dtypes must be one of {', '.join(_KINDS)}, got {kind!r}")
        return name in _KINDS[kind]
    return name == canonical(kind)


def astype(x: Tensor, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Tensor:
    """The elements in another dtype."""
    made = x if x.dtype == DTYPES[canonical(dtype)] and not copy else x.astype(dtype)
    return made if device is None else made.to(device)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that these tensors, dtypes and Python numbers have in common."""
    if not arrays_and_dtypes:
        raise ValueError("result_type takes at least one tensor or dtype")
    weak: dict[type, str] = {builtins.bool: "weak_bool", int: "weak_int", float: "weak_float"}
    names = [x.desc.dtype if isinstance(x, Tensor) else weak.get(type(x)) or canonical(x) for x in arrays_and_dtypes]
    found = promote(*names)
    return DTYPES[{"weak_bool": "bool", "weak_int": "int32", "weak_float": "float32"}.get(found, found)]


def can_cast(from_: Any, to: Any, /) -> Any:
    """Whether the dtype (or that of a tensor) can be promoted to the other."""
    source = from_.desc.dtype if isinstance(from_, Tensor) else canonical(from_)
    return promote(source, canonical(to)) == canonical(to)


class _Limits:
    """The result of finfo and iinfo: NumPy's attributes, with tengen's `dtype`."""

    def __init__(self, info: Any, name: str, attributes: str):
        self.bits: int = info.bits
        self.dtype = DTYPES[name]
        for attribute in attributes.split():
            number = getattr(info, attribute)
            setattr(self, attribute, int(number) if isinstance(number, int) else float(number))


def finfo(type: Any, /) -> _Limits:
    """Limits of a floating dtype: bits, eps, max, min, smallest_normal."""
    name = type.desc.dtype if isinstance(type, Tensor) else canonical(type)
    return _Limits(np.finfo(name), name, "eps max min smallest_normal")


def iinfo(type: Any, /) -> _Limits:
    """Limits of an integer dtype: bits, max, min."""
    name = type.desc.dtype if isinstance(type, Tensor) else canonical(type)
    return _Limits(np.iinfo(name), name, "max min")


class __array_namespace_info__:
    """Information about this namespace."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indices and data-dependent shapes work, and only memory limits the number of dims."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """The device where tensors are made by default."""
        return get_default_device()

    def devices(self) -> list[Any]:
        """The devices where tensors can be made."""
        return [get_default_device()]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes that Python numbers become."""
        return {"real floating": float32, "integral": int32, "indexing": int32}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes by name: all, those of one kind, or of several."""
        names = [name for kind_names in list(_KINDS.values())[:4] for name in kind_names]
        names = [name for name in names if name not in ("float16", "bfloat16")]
        return {name: DTYPES[name] for name in names if kind is None or isdtype(DTYPES[name], kind)}
