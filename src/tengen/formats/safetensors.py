"""safetensors files, by the library of that name: `pip install "tengen[safetensors]"`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..base.errors import SerializationError
from ..base.files import write_whole
from ..core import Tensor
from ..safe_pickle import tensor as tensor_of
from .numbers import BITS, float8, held

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32", "uint64": "U64",
    "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_DTYPES = {theirs: ours for ours, theirs in _NAMES.items()}


def _library() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            "files of safetensors are read and written by its library: pip install 'tengen[safetensors]'"
        ) from error
    return safetensors


def is_safetensors(first: bytes) -> bool:
    """Whether a file that begins with these bytes, at least 9 of them, is one: the length of a JSON header, and the
    header."""
    return first[8:9] == b"{" and 0 < int.from_bytes(first[:8], "little") < 1 << 32


def read(file: BinaryIO, first: bytes, locate: Callable[[str], str]) -> dict[str, Any]:
    """The tensors of a file by name; see `pytorch.read` for the arguments."""
    library = _library()
    try:
        found = library.deserialize(first + file.read())
    except library.SafetensorError as error:
        raise SerializationError(f"damaged or cut short ({error})") from error
    device = locate("xpux")  # the files do not know about devices
    return {name: _made(name, device, **entry) for name, entry in found}


def _made(name: str, device: str, dtype: str, shape: list[int], data: bytes) -> Any:
    if dtype not in _DTYPES:
        raise SerializationError(f"{name} has dtype {dtype}, which neither tengen nor NumPy has")
    kind = _DTYPES[dtype]
    array = np.frombuffer(data, BITS[kind]).reshape(shape)
    if kind.startswith("float8"):
        array = float8(kind)[array]
    as_tensor = held(kind)
    return array.copy() if as_tensor is None else tensor_of("Tensor", as_tensor, array, device)


def save_safetensors(
    state: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors or arrays to a safetensors file, which `tengen.load` and other frameworks read.

    Args:
        state: tensors and NumPy arrays by name, such as `state_dict()` gives, not nested.
        path: of the file, which is replaced at the end, once all is written.
        metadata: texts by name, which are written beside them.

    Raises TypeError for values of other kinds, ValueError for dtypes that the format lacks, ImportError without the package safetensors.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save_safetensors({"weight": tengen.tensor([1.0, 2.0], dtype="bfloat16")}, path)
    >>> print(tengen.load(path)["weight"])
    Tensor([1. 2.], dtype=bfloat16, device=xpux:0)
    """
    library = _library()
    arrays = {name: _bits(name, value) for name, value in state.items()}
    specs = {
        name: library.TensorSpec(
            dtype=dtype, shape=list(array.shape), data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, (dtype, array) in arrays.items()
    }
    content = library.serialize(specs, None if metadata is None else dict(metadata))
    with write_whole(path) as file:
        file.write(content)


def _bits(name: str, value: Any) -> tuple[str, np.ndarray[Any, Any]]:
    """The dtype and the bits of a value to be saved."""
    if not isinstance(name, str):
        raise TypeError(f"names in a safetensors file are str, got {name!r}")
    if not isinstance(value, (Tensor, np.ndarray, np.generic)):
        raise TypeError(f"a safetensors file holds tensors and arrays, but {name!r} is a {type(value).__name__}")
    dtype = value.desc.dtype if isinstance(value, Tensor) else value.dtype.name
    if dtype not in _NAMES:
        raise ValueError(f"{name!r}: safetensors has no dtype for {dtype}")
    array = np.asarray(value._array() if isinstance(value, Tensor) else value, order="C")
    return dtype, array.astype(array.dtype.newbyteorder("<"), copy=False)
