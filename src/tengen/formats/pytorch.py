"""Files of torch.save, read without PyTorch and without running code: tensors, and containers of them.

There are two formats. A zip archive (since PyTorch 1.6) has the pickle `data.pkl` and a member for each storage. The
legacy format is four pickles (a magic number, the version, sizes of C's types, the object), one with the order of the
storages, and the storages. In both, the pickle says for each tensor which storage it shows, from which offset and with
which strides. So a tensor is made empty and gets its value when the storage is read.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

from ..base.dtype import NUMPY_CLASS
from ..base.errors import SerializationError
from ..base.files import read_up_to
from ..core import Parameter, Tensor
from ..safe_pickle import MOST_DIMS, SafeUnpickler
from ..safe_pickle import tensor as tensor_of
from .numbers import BITS, float8, held

ZIP = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY = pickle.dumps(_MAGIC, 2)[:-1]
_VERSION = 1001
_TENSOR_COST = 300  # the approximate bytes of a Tensor object

_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32", "Short": "int16",
    "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip


class _Name(NamedTuple):
    """Stands for a class or function of PyTorch."""

    name: str


class _StorageType(NamedTuple):
    """Stands for a class of storages. A storage without a type holds bytes."""

    dtype: str


class _Storage(NamedTuple):
    """A storage, or a part of one: `size` elements of a dtype from `offset` on."""

    key: str
    dtype: str
    offset: int
    size: int
    device: str


class _View(NamedTuple):
    """What a tensor shows: elements of a storage, with strides in elements."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugated: bool
    negated: bool


_FUNCTION_TYPES: dict[str, tuple[tuple[type, ...], ...]] = {
    "_rebuild_tensor": ((_Storage,), (int,), (tuple,), (tuple,)),
    "_rebuild_tensor_v2": ((_Storage,), (int,), (tuple,), (tuple,), (bool,), (OrderedDict,), (dict, type(None))),
    "_rebuild_tensor_v3": (
        *((_Storage,), (int,), (tuple,), (tuple,), (bool,), (OrderedDict,), (type, str)),
        (dict, type(None)),
    ),
    "_rebuild_parameter": ((Tensor, np.ndarray), (bool,), (OrderedDict,)),
    "_rebuild_parameter_with_state": ((Tensor, np.ndarray), (bool,), (OrderedDict,), (object,)),
    "_rebuild_from_type_v2": ((_Name,), (_Name,), (tuple,), (object,)),
    "Size": ((tuple, list),),
    "device": ((str,), (int,)),
    "Counter": ((dict,),),
    "Namespace": (),
}


def _names() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {
        ("torch", f"{kind}Storage"): _StorageType(dtype) for kind, dtype in _STORAGES.items()
    }
    found |= {(module, "UntypedStorage"): _StorageType("uint8") for module in ("torch", "torch.storage")}
    found |= {("torch", name): NUMPY_CLASS.get(name, name) for name in BITS}
    found |= {("torch._utils", name): _Name(name) for name in _FUNCTION_TYPES if name.startswith("_rebuild")}
    found |= {("torch._tensor", name): _Name(name) for name in ("_rebuild_from_type_v2", "Tensor")}
    found |= {("torch", name): _Name(name) for name in ("Size", "device", "Tensor")}
    found |= {("torch.nn.parameter", name): _Name(name) for name in ("Parameter", "Buffer")}
    return found | {("collections", "Counter"): _Name("Counter"), ("argparse", "Namespace"): _Name("Namespace")}


class TorchUnpickler(SafeUnpickler):
    """Reads the pickle of a torch.save file. Tensors are empty until `fill` gives them the elements of their storage."""

    _names: ClassVar[Mapping[tuple[str, str], Any]] = _names()

    def __init__(self, file: Any, locate: Callable[[str], str]):
        super().__init__(file, locate)
        self.storages: dict[str, str] = {}  # the dtype of each storage, by key
        self._made: dict[tuple[bool, _View], Any] = {}
        self._views: dict[int, _View] = {}  # by id of what was made

    def find_class(self, module: str, name: str) -> Any:
        """The meaning of a name in the pickle. Raises SerializationError for everything that is not data."""
        found = self._names.get((module, name))
        return super().find_class(module, name) if found is None else found

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a pickle refers to: ("storage", class, key, device, number of elements, of a part: (key, offset, size))."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise SerializationError(
                "it holds a module of PyTorch's, whose code is never loaded; save its state_dict()"
            )
        _, kind, key, device, size, *part = pid
        if not isinstance(kind, _StorageType) or not isinstance(device, str) or not isinstance(key, str):
            raise SerializationError("a storage is described wrongly")
        offset = 0
        if part and part[0] is not None:
            _, offset, size = part[0]
        _check_numbers((offset, size))
        self.storages.setdefault(key, kind.dtype)
        return _Storage(key, kind.dtype, offset, size, device)

    def _load_persistent(self) -> None:
        self.append(self.persistent_load(self.stack.pop()))

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name):
            return super()._call(function, arguments)
        kinds = _FUNCTION_TYPES.get(function.name, ())
        self._check_arguments(function.name, kinds, arguments)
        return getattr(self, f"_make{function.name}" if function.name[0] == "_" else f"_make_{function.name}")(
            *arguments
        )

    def _build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if type(target) is SimpleNamespace and type(state) is dict:
            if not all(type(name) is str for name in state):
                raise SerializationError("a namespace with names that are not text")
            vars(target).update(state)
        elif type(target) is not OrderedDict or type(state) is not dict or not set(state) <= {"_metadata"}:
            return super()._build()
        self.stack.pop()  # of an OrderedDict: versions of layers
        return None

    # -- what PyTorch's functions make ---------------------------------------------------------------------------

    def _make_rebuild_tensor(self, storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> Any:
        return self._make_rebuild_tensor_v2(storage, offset, shape, strides)

    def _make_rebuild_tensor_v2(self, storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> Any:
        return self._view(storage, storage.dtype, offset, shape, strides, rest[2:])

    def _make_rebuild_tensor_v3(self, storage: _Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> Any:
        dtype = next((name for name in BITS if NUMPY_CLASS.get(name, name) is rest[2]), None)
        if dtype is None:
            raise SerializationError(f"a tensor of dtype {rest[2]!r:.80}")
        return self._view(storage, dtype, offset, shape, strides, rest[3:])

    def _make_rebuild_parameter(self, data: Any, *_: Any) -> Any:
        return data if isinstance(data, np.ndarray) else self._tensor_for(self._views[id(data)], parameter=True)

    _make_rebuild_parameter_with_state = _make_rebuild_parameter

    def _make_rebuild_from_type_v2(self, function: _Name, kind: _Name, arguments: tuple[Any, ...], _: Any) -> Any:
        if kind.name not in ("Tensor", "Parameter", "Buffer") or function.name == "_rebuild_from_type_v2":
            raise SerializationError(f"it makes a {kind.name} by {function.name}")
        return self._call(function, arguments)

    def _make_Size(self, extents: Any) -> tuple[int, ...]:
        return tuple(extents)

    def _make_device(self, kind: str, number: int | None = None) -> str:
        return kind if number is None else f"{kind}:{number}"

    def _make_Counter(self, counts: dict[Any, Any]) -> Counter[Any]:
        return Counter(counts)

    def _make_Namespace(self) -> SimpleNamespace:
        self._spend(_TENSOR_COST)
        return SimpleNamespace()

    # -- tensors -------------------------------------------------------------------------------------------------

    def _view(
        self, storage: _Storage, dtype: str, offset: int, shape: Any, strides: Any, notes: tuple[Any, ...]
    ) -> Any:
        """The tensor that shows these elements of a storage, or an array if tengen lacks the dtype."""
        _check_numbers((offset, *shape, *strides))
        if len(shape) != len(strides) or len(shape) > MOST_DIMS:
            raise SerializationError(f"a tensor of shape {shape!r:.80} with strides {strides!r:.80}")
        flags = notes[0] if notes and notes[0] else {}
        view = _View(storage, dtype, offset, shape, strides, bool(flags.get("conj")), bool(flags.get("neg")))
        self._check_extent(view)
        return self._tensor_for(view, parameter=False)

    def _check_extent(self, view: _View) -> None:
        """SerializationError for a view that reaches beyond its storage."""
        size = math.prod(view.shape)
        last = view.offset + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True))
        itemsize, room = (
            np.dtype(BITS[view.dtype]).itemsize,
            view.storage.size * np.dtype(BITS[view.storage.dtype]).itemsize,
        )
        if size and (last + 1) * itemsize > room:
            raise SerializationError(f"a tensor of shape {view.shape!r:.80} leaves its storage of {room} bytes")

    def _tensor_for(self, view: _View, parameter: bool) -> Any:
        if (parameter, view) in self._made:
            return self._made[parameter, view]
        self._spend(_TENSOR_COST + math.prod(view.shape) * max(4, np.dtype(BITS[view.dtype]).itemsize))
        if held(view.dtype) is None:
            made: Any = np.zeros(view.shape, BITS[view.dtype])
        else:
            made = (Parameter if parameter else Tensor)(np.float32(0), device=self._locate(_place(view.storage.device)))
        self._made[parameter, view] = made
        self._views[id(made)] = view
        return made

    def fill(self, read: Callable[[str], bytes], keys: Iterable[str], swapped: bool) -> None:
        """Give the tensors their elements. read: gives the bytes of the storage with a key. swapped: whether they are
        in the other byte order."""
        waiting: dict[str, list[tuple[_View, Any]]] = {}
        for (_, view), made in self._made.items():
            waiting.setdefault(view.storage.key, []).append((view, made))
        for key in keys:
            data = read(key)
            for view, made in waiting.pop(key, ()):
                value = _elements(data, view, swapped)
                if isinstance(made, np.ndarray):
                    made[...] = value
                else:
                    made._reset(tensor_of("Tensor", held(view.dtype) or "", value, str(made.device)))
        if waiting:
            raise SerializationError(f"the storage {next(iter(waiting))!r} is missing")

    dispatch: ClassVar[dict[int, Any]] = {
        **SafeUnpickler.dispatch,
        pickle.BUILD[0]: _build,
        pickle.BINPERSID[0]: _load_persistent,
    }


def _check_numbers(numbers: tuple[Any, ...]) -> None:
    if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
        raise SerializationError(f"a tensor with sizes {numbers!r:.80}")


def _place(device: str) -> str:
    """tengen's name for a device of PyTorch: "cuda:1" is "gpu1"; everything that is not a GPU is the CPU."""
    kind, _, number = device.partition(":")
    return f"gpu{number or 0}" if kind == "cuda" else "cpu0"


def _elements(data: bytes, view: _View, swapped: bool) -> Any:
    """The elements that a tensor shows; for bfloat16, their bits."""
    kind = np.dtype(BITS[view.dtype])
    if 0 in view.shape:
        return np.zeros(view.shape, kind)
    part = view.storage.offset * np.dtype(BITS[view.storage.dtype]).itemsize
    flat = np.frombuffer(data, np.uint8)[part : part + len(data)]
    flat = flat[: len(flat) // kind.itemsize * kind.itemsize].view(kind)
    last = view.offset + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True))
    if last >= len(flat):
        raise SerializationError(
            f"the storage {view.storage.key!r} has {len(data)} bytes, too few for a tensor of shape {view.shape}"
        )
    steps = tuple(stride * kind.itemsize for stride in view.strides)
    found = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, steps, writeable=False)
    if swapped and kind.kind != "c":
        found = found.byteswap()
    elif swapped:
        found = found.copy().view(f"f{kind.itemsize // 2}").byteswap().view(kind)
    if view.dtype.startswith("float8"):
        found = float8(view.dtype)[found]
    found = found.conj() if view.conjugated else found
    return -found if view.negated else found


# -- the two formats -------------------------------------------------------------------------------------------


class _Counted:
    """A file to read a pickle from. `length` is that of the whole file, by which the size of what is made is judged."""

    def __init__(self, file: BinaryIO, length: int):
        self._file = file
        self.length = length

    def read(self, size: int) -> bytes:
        return read_up_to(self._file, size)

    def readline(self) -> bytes:
        return self._file.readline()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def read(file: BinaryIO, first: bytes, locate: Callable[[str], str]) -> Any:
    """What torch.save has written.

    Args:
        file: the file, from which `first` has been read already.
        locate: gives the device for a tensor that was saved on the device with the given name.
    """
    if file.seekable():
        start = file.tell() - len(first)
        length = file.seek(0, io.SEEK_END) - start
        file.seek(start)
    else:
        content = first + file.read()
        file, length = io.BytesIO(content), len(content)
    return (_read_zip if first.startswith(ZIP) else _read_legacy)(file, length, locate)


def _read_zip(file: BinaryIO, length: int, locate: Callable[[str], str]) -> Any:
    import zipfile  # which is slow

    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        found = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise SerializationError("a zip archive, but not one of torch.save; numpy.load reads those of numpy.savez")
        prefix = found[0].removesuffix("data.pkl")
        if prefix + "constants.pkl" in members:
            raise SerializationError("a program of TorchScript, and code is never loaded; save its state_dict()")

        def read_member(name: str) -> bytes:
            info = members.get(prefix + name)
            if info is None:
                raise SerializationError(f"the archive has no {name}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > length:
                raise SerializationError(f"{name} is compressed, or larger than the file")
            unpickler._spend(info.file_size)
            with archive.open(info) as member:
                return read_up_to(member, info.file_size)

        unpickler = TorchUnpickler(_Counted(io.BytesIO(), length), locate)
        pickled = read_member("data.pkl")
        unpickler = TorchUnpickler(_Counted(io.BytesIO(pickled), length), locate)
        made = unpickler.load()
        order = read_member("byteorder") if prefix + "byteorder" in members else b"little"
        unpickler.fill(lambda key: read_member(f"data/{key}"), unpickler.storages, order.strip() == b"big")
    return made


def _read_legacy(file: BinaryIO, length: int, locate: Callable[[str], str]) -> Any:
    source = _Counted(file, length)
    if SafeUnpickler(source, locate).load() != _MAGIC or SafeUnpickler(source, locate).load() != _VERSION:
        raise SerializationError("another version of PyTorch's legacy format")
    system = SafeUnpickler(source, locate).load()
    unpickler = TorchUnpickler(source, locate)
    made = unpickler.load()
    keys = SafeUnpickler(source, locate).load()
    if type(keys) is not list or len(keys) != len(set(keys)):
        raise SerializationError("the storages have no order")

    def read_next(key: str) -> bytes:
        if key not in unpickler.storages:
            raise SerializationError(f"no tensor uses the storage {key!r:.80}")
        size = int.from_bytes(source.read(8), "little" if system["little_endian"] else "big")
        size *= np.dtype(BITS[unpickler.storages[key]]).itemsize
        data = source.read(size)
        if len(data) != size:
            raise EOFError("a storage is cut short")
        return data

    unpickler.fill(read_next, keys, not system["little_endian"])
    return made
