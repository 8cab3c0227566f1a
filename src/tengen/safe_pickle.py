"""Pickles that hold data only: a pickler that writes nothing else, and an unpickler that never runs code from one."""

from __future__ import annotations

import codecs
import math
import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from struct import unpack
from types import FunctionType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from .base.dtype import NUMPY_CLASS, bfloat16
from .base.errors import SerializationError
from .base.quantized import from_numpy, metadata_read
from .core import Parameter, Tensor, as_it_lies, dense_order, inverse, widened

_TYPES = (
    *(bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, slice, range),
    *(OrderedDict, defaultdict, deque),
)
_SCALARS = (
    *(cls for cls in NUMPY_CLASS.values() if cls is not bfloat16),
    *(np.uint32, np.uint64, np.complex64, np.complex128, np.str_, np.bytes_),
)
_PLAIN_KINDS = "biufcSU"
_FREED_BY_RECURSION = (deque, defaultdict)  # so that a long chain of them would end the process

# What reading may take beyond the file: bytes made of each byte that was read, and those that are always granted.
MOST_MADE, ALWAYS_MADE = 16, 1 << 20
LONGEST_DTYPE = 32
MOST_DIMS = 64
MOST_NESTED = 64


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` if it is a numpy.dtype of numbers or text; SerializationError if it has fields or Python objects."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in _PLAIN_KINDS or dtype.fields or dtype.subdtype:
        raise SerializationError(f"arrays of dtype {dtype} are neither saved nor loaded")
    return dtype


# -- what pickles of tengen refer to by name -------------------------------------------------------------------


def tensor(kind: str, dtype: str, bits: np.ndarray[Any, Any], device: str) -> Tensor:
    """A tensor from what stands in a pickle for it: its class, dtype, elements (of bfloat16 the bits) and device."""
    if dtype == "bfloat16":
        bits = widened(bits)
    return as_it_lies(bits, dtype, device, {"Parameter": Parameter, "Tensor": Tensor}[kind])


def in_order(array: np.ndarray[Any, Any], order: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A copy of a row-major array, with its dims in this order."""
    return array.copy().transpose(order)


def dtype_class(name: str) -> type:
    """The class of a dtype that NumPy has none for."""
    return {"bfloat16": bfloat16}[name]


def whole(kind: str, text: str, arrays: list[Any]) -> Any:
    """What is written as a text and the tensors that it refers to, by the module of tengen that reads and writes such texts."""
    return import_module(_WHOLE[kind]).from_data(text, arrays)


# They stand above and are loaded when a file has one.
_WHOLE = {"traced_module": "tengen.traced_module.saved"}


class SafePickler(pickle.Pickler):
    """Writes what SafeUnpickler reads, and refuses the rest: better now than when the file is needed."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            kind = "Parameter" if isinstance(obj, Parameter) else "Tensor"
            return tensor, (kind, obj.desc.dtype, obj._array(), str(obj.device))
        saved_as = getattr(type(obj), "saved_as", None)
        if saved_as in _WHOLE:
            return whole, (saved_as, *import_module(_WHOLE[saved_as]).to_data(obj))
        if obj is bfloat16:
            return dtype_class, ("bfloat16",)
        if type(obj) is np.ndarray or type(obj) in _SCALARS:
            if not plain_dtype(obj.dtype).isnative:
                return obj.astype(obj.dtype.newbyteorder("=")).__reduce__()
            if type(obj) is np.ndarray and (order := dense_order(obj)) is not None:
                return in_order, (obj.transpose(order), inverse(order))
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
    if not isinstance(code, str) or len(code) > LONGEST_DTYPE:
        raise SerializationError("a dtype with fields")
    return plain_dtype(np.dtype(code, copy=True))  # a copy, as metadata may be put there


def _scalar(dtype: Any, data: bytes) -> Any:
    return np.frombuffer(data, plain_dtype(dtype), 1)[0]


def _frombuffer(data: bytes, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, plain_dtype(dtype)).reshape(shape, order=order).copy(order=order)


def _encode(text: str, encoding: str) -> bytes:
    """How old protocols spell bytes."""
    if encoding != "latin1":
        raise SerializationError(f"text in encoding {encoding}")
    return text.encode("latin1")


class _MegEngine(NamedTuple):
    """Stands for a class of MegEngine's tensors."""

    kind: str


# What a pickle may call, with the kinds of arguments that it takes then; the rest are names only. So nothing can be made of a few bytes that is
# large, such as list(range(1 << 40)), and no text of what is nested in itself.
_NUMBER = (int, float)
_SIMPLE = (type(None), bool, int, float, str, np.generic)
_CALLED: dict[Any, tuple[tuple[type, ...], ...]] = {
    bytes: (),
    bytearray: ((bytes, str), (str,)),
    complex: (_NUMBER, _NUMBER),
    set: ((list,),),
    frozenset: ((list,),),
    slice: (_SIMPLE, _SIMPLE, _SIMPLE),
    range: ((int,), (int,), (int,)),
    OrderedDict: ((list,),),
    defaultdict: ((type, type(None)),),
    deque: ((list, tuple), (int, type(None))),
    _reconstruct: ((object,), (tuple,), (bytes, str)),
    _dtype: ((str,), (object,), (object,)),
    _scalar: ((np.dtype,), (bytes,)),
    _frombuffer: ((bytes, bytearray), (np.dtype,), (tuple,), (str,)),
    _encode: ((str,), (str,)),
    tensor: ((str,), (str,), (np.ndarray,), (str,)),
    in_order: ((np.ndarray,), (tuple,)),
    dtype_class: ((str,),),
    whole: ((str,), (str,), (list,)),
}
_CALLED |= {_MegEngine(kind): ((np.ndarray,), (str, type, np.dtype), (str,)) for kind in ("Tensor", "Parameter")}


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
    (__name__, "tensor"): tensor,
    (__name__, "in_order"): in_order,
    (__name__, "dtype_class"): dtype_class,
    (__name__, "whole"): whole,
    ("megengine.tensor", "Tensor"): _MegEngine("Tensor"),
    ("megengine.tensor", "Parameter"): _MegEngine("Parameter"),
    ("numpy", "bool_"): np.bool_,
    ("numpy", "bool"): np.bool_,
}


# The real classes and functions behind these names, which SafePickler may write by name.
_WRITTEN = (
    *(tensor, in_order, dtype_class, whole, codecs.encode, np.ndarray, np.dtype),
    *(np.zeros(1).__reduce__()[0], np.zeros(1).__reduce_ex__(5)[0], np.float32(0).__reduce__()[0]),
    *_TYPES,
    *_SCALARS,
)


class Source(Protocol):
    """A file to read from that knows how much has been read."""

    length: int

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


class SafeUnpickler(pickle._Unpickler):
    """Reads pickles of tensors, arrays, containers and plain values, of tengen and of MegEngine.

    It derives from the unpickler that is written in Python because in that one opcodes can be replaced: those that call something make only
    what data are made of, and those that fill something fill only what data are kept in. What they make is counted, and may not
    take more than a small multiple of what has been read.

    Args:
        file: where the pickle is; its `length` is how much of it has been read.
        locate: gives the device for a tensor that was saved on the device with the given name.
        encoding: of texts that Python 2 wrote; "bytes" leaves them as they are.
    """

    stack: list[Any]  # of the unpickler: what has been made and not yet used
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Source, locate: Callable[[str], str], encoding: str = "ASCII"):
        super().__init__(file, encoding=encoding)
        self._locate = locate
        self._source = file
        self._made_bytes = 0
        self._levels: dict[
            int, int
        ] = {}  # by id: how many containers that are freed by recursion hold each other below one
        self._holders: dict[int, list[int]] = {}

    def _spend(self, size: int) -> None:
        """Count `size` bytes that are not in the file, but are made of what is."""
        self._made_bytes += size
        if self._made_bytes > MOST_MADE * self._source.length + ALWAYS_MADE:
            raise SerializationError("it makes far more of itself than it holds")

    # -- names and calls -----------------------------------------------------------------------------------------

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for. Raises SerializationError for anything but data."""
        try:
            return _READ[module, name]
        except KeyError:
            raise SerializationError(
                f"it holds {module}.{name}, and only data is loaded, never code or classes; save what state_dict() gives"
            ) from None

    def _call(self, function: Any, arguments: Any) -> Any:
        kinds = _CALLED.get(function) if isinstance(function, (type, FunctionType, _MegEngine)) else None
        self._check_arguments(function, kinds, arguments)
        if function in (set, frozenset, OrderedDict) and arguments:
            keys = [pair[0] for pair in arguments[0]] if function is OrderedDict else arguments[0]
            self._check_keys(keys)
        if function is deque and arguments:
            return self._held(arguments[0], deque(*arguments))
        if isinstance(function, _MegEngine):
            array, dtype, device = arguments
            return self._tensor(function.kind, self._dtype_name(dtype), array, device)
        if function is in_order:
            self._spend(arguments[0].nbytes)
        return self._tensor(*arguments) if function is tensor else function(*arguments)

    def _check_arguments(self, function: Any, kinds: Any, arguments: Any) -> None:
        """SerializationError for arguments that are not of these kinds, or if there are none that the function may get."""
        if kinds is None or type(arguments) is not tuple or len(arguments) > len(kinds):
            raise SerializationError(f"it calls {function!r:.80}")
        for argument, kind in zip(arguments, kinds, strict=False):
            if not isinstance(argument, kind):
                raise SerializationError(f"it calls {function!r:.80} with a {type(argument).__name__}")
            self._spend(_size(argument))

    def _tensor(self, kind: str, dtype: str, bits: np.ndarray[Any, Any], device: str) -> Tensor:
        self._spend(8 * bits.size)
        return tensor(kind, dtype, bits, self._locate(device))

    def _dtype_name(self, dtype: Any) -> str:
        plain = plain_dtype(_dtype(dtype) if isinstance(dtype, str) else np.dtype(dtype))
        quantized = from_numpy(plain)
        return plain.name if quantized is None else quantized.name

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.ndarray):
            _fill(target, state)
        elif isinstance(target, np.dtype):
            if not plain_dtype(target).newbyteorder(state[1]).isnative:
                raise SerializationError("it holds arrays in the byte order of another machine")
            if (metadata := metadata_read(state[8] if len(state) > 8 else None)) is not None:
                blank: Any = (4, "|", None, None, None, -1, -1, 0, metadata)
                setstate = target.__setstate__  # type: ignore[attr-defined]  # NumPy's stubs leave it out
                setstate(blank if target.itemsize == 1 else (4, "<", *blank[2:]))
        elif not (isinstance(target, Tensor) and state == {}):
            raise SerializationError(f"it sets attributes of a {type(target).__name__}")

    def _bytearray(self) -> None:
        (size,) = unpack("<Q", self.read(8))
        data = self.read(size)
        if len(data) != size:
            raise EOFError("a bytearray is cut short")
        self.append(bytearray(data))

    # -- containers ----------------------------------------------------------------------------------------------

    def _target(self, *kinds: type) -> Any:
        """The container at the top of the stack, which must be one of these: others give what they are told to take a meaning."""
        if type(self.stack[-1]) not in kinds:
            raise SerializationError(f"it puts items into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _append(self) -> None:
        item = self.stack.pop()
        self._held((item,), self._target(list, deque)).append(item)

    def _appends(self) -> None:
        items = self.pop_mark()
        self._held(items, self._target(list, deque)).extend(items)

    def _set_item(self) -> None:
        item, key = self.stack.pop(), self.stack.pop()
        self._check_keys((key,))
        self._held((item,), self._target(dict, OrderedDict, defaultdict))[key] = item

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._held(items[1::2], self._target(dict, OrderedDict, defaultdict)).update(self._pairs(items))

    def _dict(self) -> None:
        made = dict(self._pairs(self.pop_mark()))
        self.append(made)  # which is another function after pop_mark

    def _pairs(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        self._check_keys(items[::2])
        return zip(items[::2], items[1::2], strict=True)

    def _add_items(self) -> None:
        items = self.pop_mark()
        self._check_keys(items)
        self._target(set).update(items)

    def _frozenset(self) -> None:
        items = self.pop_mark()
        self._check_keys(items)
        self.append(frozenset(items))

    def _held(self, items: Iterable[Any], target: Any) -> Any:
        """`target`, which will hold these: of containers that Python frees by recursion it may be the end of a short chain only."""
        if type(target) in _FREED_BY_RECURSION:
            for item in items:
                if type(item) in _FREED_BY_RECURSION:
                    self._holders.setdefault(id(item), []).append(id(target))
                    self._raise_level(id(target), self._levels.get(id(item), 0) + 1)
        return target

    def _raise_level(self, holder: int, level: int) -> None:
        waiting = [(holder, level)]
        while waiting:
            holder, level = waiting.pop()
            if level > self._levels.get(holder, 0):
                if level > MOST_NESTED:
                    raise SerializationError(
                        f"it has deques or defaultdicts that are nested more than {MOST_NESTED} deep"
                    )
                self._levels[holder] = level
                waiting += [(further, level + 1) for further in self._holders.get(holder, ())]

    def _check_keys(self, keys: Iterable[Any]) -> None:
        """Count what it takes to hash these: of tuples that hold a tuple twice, and so on, few bytes make a walk without end."""
        for key in keys:
            if type(key) is tuple:
                self._check_tuple(key)
            elif type(key) is int:
                self._spend(key.bit_length() // 8)

    def _check_tuple(self, key: tuple[Any, ...]) -> None:
        waiting = [(key, 0)]
        while waiting:
            items, depth = waiting.pop()
            self._spend(8 * len(items))
            if depth > MOST_NESTED:
                raise SerializationError(f"it has a key of tuples that are nested more than {MOST_NESTED} deep")
            waiting += [(item, depth + 1) for item in items if type(item) is tuple]

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozenset,
    }
    # No pickle of data has these.
    for _opcode in (b"i", b"o", b"\x92", b"\x97", b"\x98", b"\x82", b"\x83", b"\x84", b"P", b"Q"):
        del dispatch[_opcode[0]]


def _size(argument: Any) -> int:
    """About as many bytes as a copy takes."""
    if isinstance(argument, (list, tuple)):
        return 8 * len(argument)
    if isinstance(argument, (str, bytes, bytearray)):
        return len(argument)
    return argument.itemsize if isinstance(argument, np.dtype) else 0


def _fill(array: np.ndarray[Any, Any], state: Any) -> None:
    """Give an array from `_reconstruct` the shape, dtype and elements that a pickle has for it."""
    _, shape, dtype, fortran, data = state
    good = type(shape) is tuple and len(shape) <= MOST_DIMS and isinstance(data, bytes)
    good = good and all(type(extent) is int and 0 <= extent < 2**63 for extent in shape)
    if not good or not plain_dtype(dtype).itemsize or len(data) != math.prod(shape) * dtype.itemsize:
        raise SerializationError(f"it has an array of shape {shape!r:.80} and dtype {dtype} without as many bytes")
    if array.shape != (0,) or array.dtype != np.int8:
        raise SerializationError("it fills an array twice")
    checked: Any = (1, shape, dtype, bool(fortran), data)
    array.__setstate__(checked)
