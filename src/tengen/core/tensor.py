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
from .convert import assign, dense_order, inverse, to_numpy
from .indexing import get_item, set_item
from .ops.base import integers
from .ops.elemwise import Elemwise
from .ops.linalg import Product
from .ops.shape import Fill, Reshape
from .places import copied
from .qparams import QParams, QuantMode


class Tensor(_rt.Tensor):
    """An n-dimensional array of one dtype on one device.

    data: a number, nested sequences of numbers, a NumPy array, another tensor. dtype: of the elements; by default that
    of the data, but float64
    becomes float32 and int64 becomes int32. device: a name such as "cpu0"; by default the default device.
    Raises TypeError for data that are not numbers, ValueError for ragged sequences.

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
            self._reset(source if place in (None, source.desc.device) else copied(source, place))
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
        """Always "default": the operations choose the memory layout, and users need not care about it."""
        return "default"

    @property
    def qparams(self) -> QParams:
        """Its quantisation parameters, actual or planned. Fields that nobody has set are None."""
        found: QParams = self.__dict__.setdefault("_qparams", None) or QParams(QuantMode.SYMMERTIC, None)
        self.__dict__["_qparams"] = found
        return found

    @property
    def T(self) -> Tensor:
        """The dims in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two dims exchanged. A tensor of fewer than two dims has none (AttributeError)."""
        if self.ndim < 2:
            raise AttributeError(f"a tensor of shape {self.shape} has no mT, which turns the last two dims")
        return self.transpose(*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)

    # -- out of tengen -------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray[Any, Any]:
        """The elements as a read-only NumPy array.

        It shares their memory, but for bfloat16, which gives a copy as float32, and for a tensor on a GPU.

        Returns: an array of the shape and dtype of the tensor.

        >>> Tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        return to_numpy(self)

    def item(self, *args: int) -> float | int | bool:
        """One element as a Python number.

        Args:
            args: where it is: nothing for the only one, or its position.

        Returns: a bool, int, float or complex.

        Raises:
            ValueError: there are several elements and no position.

        >>> Tensor([[1.0, 2.0]]).item(0, 1)
        2.0
        """
        if not args and self.size != 1:
            raise ValueError(
                f"item() of a tensor of shape {self.shape}: it has {self.size} elements; give the position of one"
            )
        number: float | int | bool = (
            to_numpy(self).item(*integers("item", "a position", args)) if args else to_numpy(self).item()
        )
        return number

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers.

        Returns: a list of lists, or a number for a tensor of no dims.

        >>> Tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return to_numpy(self).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = to_numpy(self)
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        if api_version is not None and not "2021.12" <= api_version <= "2023.12":
            raise ValueError(f"tensors follow the array API standard 2023.12, not {api_version}")
        return import_module("tengen.array_api")  # that layer stands above this one, so it is loaded on demand

    def to_device(self, device: str | Device, /, *, stream: Any = None) -> Tensor:
        """The elements on another device: `to`, as the array API standard calls it.

        Args:
            device: such as "cpu0".
            stream: without meaning on a CPU.

        Returns: a tensor of the same shape and dtype.

        >>> Tensor([1.0]).to_device("cpu0").tolist()
        [1.0]
        """
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
            here = self.__dlpack_device__()
            place = "the CPU" if here == (1, 0) else "the GPU"
            raise BufferError(
                f"a tensor can be exported only to {place} where it is, DLPack device {here}, not to {dl_device}"
            )
        # Other libraries, PyTorch among them, abort the process when they meet a negative stride.
        backwards = any(stride < 0 for stride in self.desc.strides)
        if backwards and copy is False:
            raise BufferError("this tensor is a view that runs backwards: it can only be exported as a copy")
        shared = copied(self._detach()) if copy or backwards else self
        return shared._to_dlpack(max_version=max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._dlpack_device()

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
        """The elements as another dtype.

        Floats go to integers by truncation.

        Args:
            dtype: a dtype or its name.

        Returns: a tensor of this dtype.

        Raises:
            TypeError: the dtype does not exist.

        >>> Tensor([1.5, -1.5]).astype("int32").tolist()
        [1, -1]
        """
        return calls.astype(self, dtype)

    def to(self, device: str | Device, *, _borrow: bool = False) -> Tensor:
        """The elements on another device.

        Args:
            device: such as "cpu0".
            _borrow: without meaning.

        Returns: another tensor of the same shape and dtype, also if the elements are there already.

        Raises:
            DeviceError: the device does not exist.

        >>> Tensor([1.0]).to("cpu0").tolist()
        [1.0]
        """
        place = str(devices.require(device))
        return +self if place == self.desc.device else copied(self, place)

    def detach(self) -> Tensor:
        """The value as a constant: gradients do not flow through it.

        Returns: a tensor that shares the elements.

        >>> Tensor([1.0]).detach().tolist()
        [1.0]
        """
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
        array = self._array()
        order = dense_order(array) or ()
        kept = np.array(array.transpose(order) if order else array)
        return _rebuild, (type(self), kept, self.desc.dtype, str(self.device), self.name, inverse(order))

    # -- new values for this handle ------------------------------------------------------------------------

    def set_value(self, value: Any) -> None:
        """Take over the elements, shape and dtype of another value; the device stays.

        Args:
            value: a tensor, or anything a tensor can be made of.

        >>> x = Tensor([1.0])
        >>> x.set_value([2.0, 3.0])
        >>> x.tolist()
        [2.0, 3.0]
        """
        made = value if isinstance(value, _rt.Tensor) else Tensor(value, device=self.device)
        self._reset(
            made._detach() if made.desc.device == self.desc.device else copied(made._detach(), self.desc.device)
        )

    def reset_zero(self) -> None:
        """Set each element to zero.

        >>> x = Tensor([1.0, 2.0])
        >>> x.reset_zero()
        >>> x.tolist()
        [0.0, 0.0]
        """
        dtype, device = self.desc.dtype, self.desc.device
        if dtype[0] == "q":
            self._reset(Tensor(np.zeros(self.shape, np.float32), dtype=dtype, device=device))
        else:
            self._reset(_rt.apply(Fill(self.shape, dtype, device), 0))

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
        """The elements in row-major order under another shape.

        Args:
            args: extents, one by one or as a sequence; one may be -1.

        Returns: a tensor of this shape.

        Raises:
            ValueError: the sizes differ.

        >>> Tensor([1, 2, 3, 4]).reshape(2, -1).tolist()
        [[1, 2], [3, 4]]
        """
        return calls.reshape(self, args)

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """The dims from `start_axis` to `end_axis` (included) as one.

        Args:
            start_axis, end_axis: the first and the last of these dims.

        Returns: a tensor with as many elements.

        >>> Tensor([[1, 2], [3, 4]]).flatten().tolist()
        [1, 2, 3, 4]
        """
        return calls.flatten(self, start_axis, end_axis)

    def transpose(self, *args: Any) -> Tensor:
        """The dims in another order.

        Args:
            args: the old dims in the new order, one by one or as a sequence; without any they are reversed.

        Returns: a tensor with these dims.

        >>> Tensor([[1, 2], [3, 4]]).transpose().tolist()
        [[1, 3], [2, 4]]
        """
        return calls.transpose(self, args if args else range(self.ndim)[::-1])

    def sum(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis`; see functional.sum.

        Args:
            axis: an int, several, or None for all axes.
            keepdims: whether the reduced axes stay, with extent 1.

        Returns: a tensor without the axes, or with extent 1 for each.

        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).sum(axis=1).tolist()
        [3.0, 7.0]
        """
        return calls.reduce(self, "SUM", axis, keepdims)

    def mean(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The mean over `axis`; see functional.mean.

        Args:
            axis: an int, several, or None for all axes.
            keepdims: whether the reduced axes stay, with extent 1.

        Returns: a tensor without the axes, or with extent 1 for each.

        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).mean(axis=1).tolist()
        [1.5, 3.5]
        """
        return calls.reduce(self, "MEAN", axis, keepdims)

    def prod(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The product over `axis`; see functional.prod.

        Args:
            axis: an int, several, or None for all axes.
            keepdims: whether the reduced axes stay, with extent 1.

        Returns: a tensor without the axes, or with extent 1 for each.

        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).prod(axis=1).tolist()
        [2.0, 12.0]
        """
        return calls.reduce(self, "PRODUCT", axis, keepdims)

    def max(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The largest element over `axis`; see functional.max.

        Args:
            axis: an int, several, or None for all axes.
            keepdims: whether the reduced axes stay, with extent 1.

        Returns: a tensor without the axes, or with extent 1 for each.

        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).max(axis=1).tolist()
        [2.0, 4.0]
        """
        return calls.reduce(self, "MAX", axis, keepdims)

    def min(self, axis: calls.Axes = None, keepdims: bool = False) -> Tensor:
        """The smallest element over `axis`; see functional.min.

        Args:
            axis: an int, several, or None for all axes.
            keepdims: whether the reduced axes stay, with extent 1.

        Returns: a tensor without the axes, or with extent 1 for each.

        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).min(axis=1).tolist()
        [1.0, 3.0]
        """
        return calls.reduce(self, "MIN", axis, keepdims)


class Parameter(Tensor):
    """A tensor that a Module registers as one of its parameters and optimizers update."""


def as_it_lies(data: Any, dtype: Any = None, device: Any = None, kind: type[Tensor] = Tensor) -> Tensor:
    """A tensor that is to go on where a saved one was: its dims lie in memory in the same order as those of `data`.

    The order of a sum may follow how its operands lie, so a run that is resumed has the same bits only then. What users make tensors of
    becomes row-major.
    """
    order = dense_order(data) if isinstance(data, np.ndarray) else None
    if order is None:
        return kind(data, dtype=dtype, device=device)
    made = _empty(kind)
    wanted = None if dtype is None else canonical(dtype)
    assign(made, data.transpose(order), wanted, devices.canonical(devices.require(device)), order=inverse(order))
    return made


def _empty(kind: type[Tensor]) -> Tensor:
    made = kind.__new__(kind)
    _rt.Tensor.__init__(made)
    return made


def _rebuild(
    cls: type[Tensor],
    array: np.ndarray[Any, Any],
    dtype: str,
    device: str,
    name: str,
    order: tuple[int, ...] = (),
) -> Tensor:
    """A tensor from pickled data. If it was on a GPU that does not exist here, it goes to the default device. order: which dim of `array`
    each dim of the tensor is, unless they are the same."""
    made = _empty(cls)
    place = devices.canonical(devices.require_or_default(device))
    made._assign(np.ascontiguousarray(array).reshape(array.shape), dtype, place, order=order)
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
