"""Recorded functions that run: a Program and its weights, as something to call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .._rt import Tensor, apply
from ..base import device as devices
from ..base.dtype import NARROW_FLOATS, WEAK
from ..base.frames import shorten
from ..compiler.program import Value
from ..core import Tensor as UserTensor
from ..core.recorded import Recorded
from .constants import fold
from .frozen import Frozen
from .program_file import load_program

# The limits for what is computed when a function is loaded: bytes in all, and bytes for each byte of the weights.
ALWAYS_COMPUTED, MOST_COMPUTED = 16 << 20, 16

_NUMBERS: dict[str, Any] = {"weak_bool": bool, "weak_int": int, "weak_float": (int, float)}


class Described(NamedTuple):
    """An argument or output of a recorded function."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Loaded:
    """A recorded function to call, with tensors or arrays by position or name; it gives a tensor, or a tuple of several.

    Its attributes arguments and outputs are their names, shapes and dtypes; metadata is what was saved with it. What
    depends on weights alone is computed here, once. `load` makes it.

    Args:
        function: what was recorded.
        title: what errors call it.
        precision: see `load`.

    >>> import io
    >>> from tengen.jit import load, trace
    >>> double = trace(lambda x: x + x, capture_as_const=True)
    >>> _ = double(tengen.tensor([1.0]))
    >>> file = io.BytesIO()
    >>> _ = double.dump(file)
    >>> _ = file.seek(0)
    >>> load(file)(tengen.tensor([2.0])).tolist()
    [4.0]
    """

    def __init__(self, function: Frozen, title: str = "loaded function", precision: str | None = None):
        if precision not in (None, *NARROW_FLOATS):
            raise ValueError(
                f"load: precision must be None, {' or '.join(map(repr, NARROW_FLOATS))}, got {precision!r}"
            )
        self.metadata = dict(function.metadata)
        self.arguments = _described(function.arguments, function.argument_values)
        self.outputs = _described(function.outputs, function.program.outputs)
        self.title = title
        place = devices.canonical(devices.require())
        weights = {v: tensor_of(array, v.dtype, place) for v, array in function.constants.items()}
        whole = function if precision is None else function.in_precision(precision)
        whole = whole.expanded(lambda op: False)
        known = dict(zip(whole.constants, weights.values(), strict=True))
        # A file of a few bytes may ask for tables of any size. If one is too large, it is computed in each call.
        most = ALWAYS_COMPUTED + MOST_COMPUTED * sum(array.nbytes for array in function.constants.values())
        program, self._weights, _ = fold(whole.program, whole.argument_values, known, most)
        self._op = Recorded(title, program)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Raises TypeError or ValueError, naming the argument, if one is missing, unknown, or has another dtype or
        shape."""
        names = [a.name for a in self.arguments]
        if len(args) > len(names):
            raise TypeError(f"{self.title} takes {len(names)} arguments, {', '.join(names)}, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name in named:
            if name not in names or name in given:
                wrong = "is given twice" if name in given else f"is not one of its arguments, {', '.join(names)}"
                raise TypeError(f"{self.title}: {name!r} {wrong}")
        given |= named
        if missing := [name for name in names if name not in given]:
            raise TypeError(f"{self.title} needs {' and '.join(missing)}")
        try:
            return apply(self._op, *(self._taken(a, given[a.name]) for a in self.arguments), *self._weights)
        except Exception as error:
            shorten(error)
            raise

    def __repr__(self) -> str:
        def listed(parts: Iterable[Described]) -> str:
            return ", ".join(f"{p.name}: {p.dtype}{list(p.shape)}" for p in parts)

        return f"Loaded({self.title}: ({listed(self.arguments)}) -> ({listed(self.outputs)}))"

    def _taken(self, wanted: Described, value: Any) -> Any:
        """The value of an argument in the form that `apply` takes."""
        if wanted.dtype in WEAK:
            if not isinstance(value, _NUMBERS[wanted.dtype]):
                raise TypeError(f"{self.title}: {wanted.name} must be a {wanted.dtype[5:]}, got {type(value).__name__}")
            return float(value) if wanted.dtype == "weak_float" else value
        tensor = value if isinstance(value, Tensor) else _converted(value, wanted.dtype)
        if tensor.desc.dtype != wanted.dtype:
            raise TypeError(f"{self.title}: {wanted.name} must be of {wanted.dtype}, got {tensor.desc.dtype}")
        if tuple(tensor.shape) != wanted.shape:
            raise ValueError(
                f"{self.title}: {wanted.name} must have the shape {wanted.shape}, got {tuple(tensor.shape)}"
            )
        return tensor


def load(file: str | os.PathLike[str] | BinaryIO, precision: str | None = None) -> Loaded:
    """The function that a traced function's `dump` wrote, to be called.

    No code is run from it, whoever made it.

    Args:
        file: a path, or a file that is open for reading bytes.
        precision: "bfloat16" computes products in it, as `amp.autocast` does, whatever the function was recorded in; weights
            are converted once, here, and need half the memory. "float16" likewise. Arguments and results keep their
            dtypes. None computes as it was recorded.

    Returns: a Loaded.

    Raises:
        ValueError: precision is something else.
        SerializationError: (a ValueError) for a file that is damaged, cut short or not written by tengen.

    >>> import io
    >>> from tengen.jit import load, trace
    >>> double = trace(lambda x: x + x, capture_as_const=True)
    >>> _ = double(tengen.tensor([1.0]))
    >>> file = io.BytesIO()
    >>> _ = double.dump(file)
    >>> _ = file.seek(0)
    >>> load(file)(tengen.tensor([2.0])).tolist()
    [4.0]
    """
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
    try:
        return Loaded(load_program(file), os.path.basename(str(name)) if name else "loaded function", precision)
    except Exception as error:
        shorten(error)
        raise


def _described(names: Sequence[str], values: Sequence[Value]) -> tuple[Described, ...]:
    return tuple(Described(name, v.shape, v.dtype) for name, v in zip(names, values, strict=True))


def tensor_of(array: Any, dtype: str, device: str) -> UserTensor:
    """A tensor from an array in the form that files hold: of bits, for bfloat16."""
    made = UserTensor.__new__(UserTensor)
    Tensor.__init__(made)
    made._assign(np.require(array, requirements="C"), dtype, device)
    return made


def _converted(value: Any, dtype: str) -> Tensor:
    """A tensor of `dtype` if that only narrows or widens the elements, otherwise of the dtype that they have."""
    array = np.asarray(value)
    if dtype[0] == "q":
        return UserTensor(array)
    same = np.can_cast(array.dtype, "float32" if dtype == "bfloat16" else dtype, "same_kind")
    return UserTensor(array, dtype=dtype if same else None)
