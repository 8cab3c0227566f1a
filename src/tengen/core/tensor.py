"""`Tensor` and `Parameter` as users hold them. What they compute goes through `calls` and the op table."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .. import _rt
from ..base import device as devices
from ..base.device import Device
from ..base.dtype import DType, canonical, dtype_of
from ..base.frames import shorten
from ..base.missing import explain_tensor, shown
from . import calls
from .build import install
from .convert import assign, to_numpy
from .indexing import get_item, set_item
from .ops.base import integers
from .ops.elemwise import Elemwise
from .ops.linalg import Product
from .ops.shape import Copy, Reshape
from .qparams import QParams, QuantMode


class Tensor(_rt.Tensor):
    """An n-dimensional array of one dtype on one device.

    data: a number, nested sequences of numbers, a NumPy array, another tensor. dtype: of the elements; by default that
    of the data, but float64
    becomes float32 and int64 becomes int32. device: a name such as "cpu0"; by default the default device.
    Raises TypeError for data that are no numbers, ValueError for ragged sequences.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> print(x + 1)
    Tensor([[2. 3.]
     [4. 5.]], device=xpux:0)
    """

    __array_priority__ = 1000  # NumPy arrays leave operators with a tensor to the tensor

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        device: str | Device | None = None,
        is_const: bool = False,
        no_cache: bool = False,
        name: str | None = None,
        format: str = "default",
    ):
        super().__init__()
        wanted = None if dtype is None else canonical(dtype)
        place = None if device is None else str(devices.require(device))
        if isinstance(data, _rt.Tensor):
            source = data._detach() if wanted is None else calls.astype(data._detach(), wanted)
            self._reset(source if place in (None, source.desc.device) else _rt.apply(Copy(place), source))
        else:
            assign(self, data, wanted, place or devices.canonical(devices.require()))
        if name is not None:
            self.name = name

    # -- what it is ----------------------------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """What the elements are; equals NumPy's class, such as numpy.float32, and prints like it."""
        return dtype_of(self.desc.dtype)

    @property
    def device(self) -> Device:
        """Where the elements are; prints as `xpux:0`."""
        return devices.parse(self.desc.device)

    @property
    def name(self) -> str:
        """A name for messages and dumps, "" by default."""
        return str(self.__dict__.get("_name", ""))

    @name.setter
    def name(self, name: str) -> None:
        self.__dict__["_name"] = name

    @property
    def format(self) -> str:
        """Always "default": the memory layout follows the operations and is never the user's business."""
        return "default"

    @property
    def qparams(self) -> QParams:
        """How it has been quantised, or is to be; its fields are None until somebody says so."""
        found: QParams = self.__dict__.setdefault("_qparams", None) or QParams(QuantMode.SYMMERTIC, None)
        self.__dict__["_qparams"] = found
        return found

    @property
    def T(self) -> Tensor:
        """The dims in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two dims in the other order. A tensor of less than two dims has none (AttributeError)."""
        if self.ndim < 2:
            raise AttributeError(f"a tensor of shape {self.shape} has no mT, which turns the last two dims")
        return self.transpose(*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)

    # -- out of tengen -------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray[Any, Any]:
        """The elements as a read-only NumPy array that shares their memory (bfloat16: a copy, as float32)."""
        return to_numpy(self)

    def item(self, *args: int) -> float | int | bool:
        """The element as a Python number: the only one, or the one at the given position."""
        if not args and self.size != 1:
            raise ValueError(
                f"item() of a tensor of shape {self.shape}: it has {self.size} elements; give the position of one"
            )
        number: float | int | bool = (
            to_numpy(self).item(*integers("item", "a position", args)) if args else to_numpy(self).item()
        )
        return number

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return to_numpy(self).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = to_numpy(self)
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        if api_version is not None and not "2021.12" <= api_version <= "2023.12":
            raise ValueError(f"tensors follow the array API standard of 2023.12, not of {api_version}")
        return import_module("tengen.array_api")  # which stands above and is loaded when somebody asks

    def to_device(self, device: str | Device, /, *, stream: Any = None) -> Tensor:
        """The same elements on `device`: `to`, as the array API standard calls it. `stream` has no meaning on a CPU."""
        return self.to(device)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__():
            raise BufferError(f"a tensor is exported where it is, DLPack device (1, 0), a CPU; not to {dl_device}")
        # Others abort the process, PyTorch among them, when they meet a stride that is negative.
        backwards = any(stride < 0 for stride in self.desc.strides)
        if backwards and copy is False:
            raise BufferError("this tensor is a view that runs backwards: it can only be exported as a copy")
        shared = _rt.apply(Copy(), self._detach()) if copy or backwards else self
        return shared._to_dlpack(max_version=max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous: it has {self.size} elements")
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        number = self.item()
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"a tensor of dtype {self.desc.dtype} cannot be an index")
        return number

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d tensor has no length")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).numpy().any())

    def __pos__(self) -> Tensor:
        made: Tensor = _rt.apply(Reshape(self.shape), self)
        return made

    def __round__(self) -> Tensor:
        made: Tensor = _rt.apply(Elemwise("ROUND"), self)
        return made

    def __repr__(self) -> str:
        with np.printoptions(precision=4):
            array = to_numpy(self)
            text = str(array) if array.ndim else repr(array.item()) if self.desc.dtype != "float32" else str(array[()])
        dtype = "" if self.desc.dtype == "float32" else f", dtype={self.desc.dtype}"
        return f"{type(self).__name__}({text}{dtype}, device={self.device})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(repr(self), spec)

    def __dir__(self) -> list[str]:
        return shown(self)

    # -- conversion ----------------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Tensor:
        """The elements as another dtype."""
        return calls.astype(self, dtype)

    def to(self, device: str | Device, *, _borrow: bool = False) -> Tensor:
        """The same elements on `device`. Raises DeviceError if it is not there."""
        place = str(devices.require(device))
        return self if place == self.desc.device else _rt.apply(Copy(place), self)

    def detach(self) -> Tensor:
        """The same value as a constant: gradients do not flow through it."""
        return self._detach()

    def __copy__(self) -> Tensor:
        return self._renew(type(self).__new__(type(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        made = self._renew(type(self).__new__(type(self)))
        memo[id(self)] = made
        return made

    def _renew(self, made: Tensor) -> Tensor:
        _rt.Tensor.__init__(made)
        made._reset(self._detach())
        made.__dict__.update(self.__dict__)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), np.array(self._array()), self.desc.dtype, str(self.device), self.name)

    # -- new values for this handle ------------------------------------------------------------------------

    def set_value(self, value: Any) -> None:
        """Take over the elements, shape and dtype of `value` (a tensor or anything a tensor can be made of); the device
        stays.
        """
        made = value if isinstance(value, _rt.Tensor) else Tensor(value, device=self.device)
        self._reset(
            made._detach()
            if made.desc.device == self.desc.device
            else _rt.apply(Copy(self.desc.device), made._detach())
        )

    def reset_zero(self) -> None:
        """Set every element to zero."""
        self._reset(Tensor(np.zeros(self.shape, np.float32), dtype=self.desc.dtype, device=self.device))

    def __getitem__(self, index: Any) -> Tensor:
        try:
            return get_item(self, index)
        except Exception as error:
            shorten(error)
            raise

    def __setitem__(self, index: Any, value: Any) -> None:
        try:
            set_item(self, index, value)
        except Exception as error:
            shorten(error)
            raise

    # -- operations as methods -----------------------------------------------------------------------------

    def reshape(self, *args: Any) -> Tensor:
        """The elements in row-major order under another shape; one extent may be -1."""
        return calls.reshape(self, args)

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """The dims from `start_axis` to `end_axis` (included) as one."""
        return calls.flatten(self, start_axis, end_axis)

    def transpose(self, *args: Any) -> Tensor:
        """The dims in another order; in reverse order without arguments."""
        return calls.transpose(self, args if args else range(self.ndim)[::-1])

    def sum(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis` (an int, several, or None for all)."""
        return calls.reduce(self, "SUM", axis, keepdims)

    def mean(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The mean over `axis`."""
        return calls.reduce(self, "MEAN", axis, keepdims)

    def prod(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The product over `axis`."""
        return calls.reduce(self, "PRODUCT", axis, keepdims)

    def max(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The largest over `axis`."""
        return calls.reduce(self, "MAX", axis, keepdims)

    def min(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The smallest over `axis`."""
        return calls.reduce(self, "MIN", axis, keepdims)


class Parameter(Tensor):
    """A tensor that a Module registers as one of its parameters and optimizers update."""


def _rebuild(cls: type[Tensor], array: np.ndarray[Any, Any], dtype: str, device: str, name: str) -> Tensor:
    """A tensor from what pickling stored; one from a GPU that is not there goes to the default device."""
    made = cls.__new__(cls)
    _rt.Tensor.__init__(made)
    made._assign(np.ascontiguousarray(array).reshape(array.shape), dtype, device)
    if name:
        made.name = name
    return made


install(Tensor)
explain_tensor(Tensor)
_OPERATORS = {
    "nb_add": "ADD", "nb_subtract": "SUB", "nb_multiply": "MUL", "nb_true_divide": "TRUE_DIV", "nb_floor_divide": "FLOOR_DIV",
    "nb_remainder": "MOD", "nb_power": "POW", "nb_negative": "NEGATE", "nb_absolute": "ABS", "nb_invert": "INVERT", "nb_and": "AND",
    "nb_or": "OR", "nb_xor": "XOR", "nb_lshift": "SHL", "nb_rshift": "SHR", "lt": "LT", "le": "LEQ", "eq": "EQ", "ne": "NEQ",
    "gt": "GT", "ge": "GEQ",
}  # fmt: skip
_INPLACE = "add subtract multiply true_divide floor_divide remainder power and or xor lshift rshift".split()
for _slot, _mode in _OPERATORS.items():
    _rt.set_operator(_slot, Elemwise(_mode))
for _slot in _INPLACE:
    _rt.set_operator(f"nb_inplace_{_slot}", Elemwise(_OPERATORS[f"nb_{_slot}"]))
_rt.set_operator("nb_matrix_multiply", Product())
