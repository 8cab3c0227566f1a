"""Pickles that hold data only: a pickler that writes nothing else, and an unpickler that never runs code from one."""

from __future__ import annotations

import codecs
import math
import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar

import numpy as np

from .base.dtype import NUMPY_CLASS, bfloat16
from .base.errors import SerializationError
from .core import Parameter, Tensor

_TYPES = (
    *(bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, slice, range),
    *(OrderedDict, defaultdict, deque),
)
_SCALARS = (
    *(cls for cls in NUMPY_CLASS.values() if cls is not bfloat16),
    *(np.uint32, np.uint64, np.complex64, np.complex128, np.str_, np.bytes_),
)
_PLAIN_KINDS = "biufcSU"


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` if it is a numpy.dtype of numbers or text; SerializationError if it has fields or Python objects."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in _PLAIN_KINDS or dtype.fields or dtype.subdtype:
        raise SerializationError(f"arrays of dtype {dtype} are neither saved nor loaded")
    return dtype


# -- what pickles of tengen refer to by name -------------------------------------------------------------------


def tensor(kind: str, dtype: str, bits: np.ndarray[Any, Any], device: str) -> Tensor:
    """A tensor from what stands in a pickle for it: its class, dtype, elements (of bfloat16 the bits) and device."""
    if dtype == "bfloat16":
        bits = (bits.astype(np.uint32) << 16).view(np.float32)
    return {"Parameter": Parameter, "Tensor": Tensor}[kind](bits, dtype=dtype, device=device)


def dtype_class(name: str) -> type:
    """The class of a dtype that NumPy has none for."""
    return {"bfloat16": bfloat16}[name]


class SafePickler(pickle.Pickler):
    """Writes what SafeUnpickler reads, and refuses the rest: better now than when the file is needed."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            kind = "Parameter" if isinstance(obj, Parameter) else "Tensor"
            return tensor, (kind, obj.desc.dtype, obj._array(), str(obj.device))
        if obj is bfloat16:
            return dtype_class, ("bfloat16",)
        if type(obj) is np.ndarray or type(obj) in _SCALARS:
            if not plain_dtype(obj.dtype).isnative:
                return obj.astype(obj.dtype.newbyteorder("=")).__reduce__()
        elif isinstance(obj, np.dtype):
            plain_dtype(obj)
        elif type(obj) not in _TYPES and not any(obj is name for name in _WRITTEN):
            what = repr(obj.__qualname__) if hasattr(obj, "__qualname__") else f"a {type(obj).__name__}"
            hint = "; save its state_dict()" if hasattr(obj, "state_dict") else ""
            raise SerializationError(f"save() takes tensors, arrays, containers and plain values, not {what}{hint}")
        return NotImplemented


# -- what stands for the names in a pickle when it is read -----------------------------------------------------


# The class itself would let a pickle make views of arrays that are filled later.
_NDARRAY = object()


def _reconstruct(cls: Any, shape: Any, code: Any) -> np.ndarray[Any, Any]:
    """The empty array that NumPy's pickles start from; BUILD fills it."""
    if cls is not _NDARRAY or shape != (0,):
        raise SerializationError("an array of a class of its own")
    return np.zeros(0, np.int8)


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    if not isinstance(code, str):
        raise SerializationError("a dtype with fields")
    return plain_dtype(np.dtype(code))


def _scalar(dtype: Any, data: Any) -> Any:
    return np.frombuffer(data, plain_dtype(dtype), 1)[0]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, plain_dtype(dtype)).reshape(shape, order=order).copy(order=order)


def _encode(text: str, encoding: str) -> bytes:
    """How old protocols spell bytes."""
    if encoding != "latin1":
        raise SerializationError(f"text in encoding {encoding}")
    return text.encode("latin1")


_NUMPY_INTERNALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _frombuffer,
}
_READ: dict[tuple[str, str], Any] = {(cls.__module__, cls.__name__): cls for cls in _TYPES}
_READ |= {("numpy", cls.__name__): cls for cls in _SCALARS}
_READ |= {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _dtype}
_READ |= {
    (f"numpy.{core}.{module}", name): made
    for core in ("core", "_core")
    for (module, name), made in _NUMPY_INTERNALS.items()
}
_READ |= {
    ("_codecs", "encode"): _encode,
    (__name__, "dtype_class"): dtype_class,
    ("numpy", "bool_"): np.bool_,
    ("numpy", "bool"): np.bool_,
}


# The real classes and functions behind these names, which SafePickler may write by name.
_WRITTEN = (
    *(tensor, dtype_class, codecs.encode, np.ndarray, np.dtype),
    *(np.zeros(1).__reduce__()[0], np.zeros(1).__reduce_ex__(5)[0], np.float32(0).__reduce__()[0]),
    *_TYPES,
    *_SCALARS,
)


class SafeUnpickler(pickle._Unpickler):
    """Reads pickles of tensors, arrays, containers and plain values, of tengen and of MegEngine.

    It derives from the unpickler that is written in Python because in that one an opcode can be replaced: BUILD, which
    sets attributes of any object, here only completes arrays whose parts have been checked.

    Args:
        file: where the pickle is.
        locate: gives the device for a tensor that was saved on the device with the given name.
    """

    stack: list[Any]  # of the unpickler: what has been made and not yet used

    def __init__(self, file: BinaryIO, locate: Callable[[str], str]):
        super().__init__(file)
        self._locate = locate

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for. Raises SerializationError for all that is not data."""
        if (module, name) == (__name__, "tensor"):
            return self._tensor
        if module == "megengine.tensor" and name in ("Tensor", "Parameter"):
            return SimpleNamespace(
                __new__=lambda _, array, dtype, device: self._tensor(name, np.dtype(dtype).name, array, device)
            )
        try:
            return _READ[module, name]
        except KeyError:
            raise SerializationError(
                f"it holds {module}.{name}, and only data is loaded, never code or classes"
            ) from None

    def _tensor(self, kind: str, dtype: str, bits: np.ndarray[Any, Any], device: str) -> Tensor:
        return tensor(kind, dtype, bits, self._locate(device))

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.ndarray):
            _fill(target, state)
        elif isinstance(target, np.dtype):
            if not plain_dtype(target).newbyteorder(state[1]).isnative:
                raise SerializationError("it holds arrays in the byte order of another machine")
        elif not (isinstance(target, Tensor) and state == {}):
            raise SerializationError(f"it sets attributes of a {type(target).__name__}")

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _build}


def _fill(array: np.ndarray[Any, Any], state: Any) -> None:
    """Give an array from `_reconstruct` the shape, dtype and elements that a pickle has for it."""
    _, shape, dtype, fortran, data = state
    good = isinstance(data, bytes) and all(type(extent) is int and extent >= 0 for extent in shape)
    if not good or not plain_dtype(dtype).itemsize or len(data) != math.prod(shape) * dtype.itemsize:
        raise SerializationError(f"it has an array of shape {shape} and dtype {dtype} without as many bytes")
    if array.shape != (0,) or array.dtype != np.int8:
        raise SerializationError("it fills an array twice")
    checked: Any = (1, tuple(shape), dtype, bool(fortran), data)
    array.__setstate__(checked)
