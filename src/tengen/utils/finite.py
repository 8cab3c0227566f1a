"""Finds where NaN and infinities come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..base.dtype import is_float
from ..base.naming import running_modules
from ..base.usage import user_frame
from ..core.build import Around, watching
from ..jit import trace
from ..module import Module

__all__ = ["check_finite"]

_BACKWARD = "grad_"
_MOST_CALLS = 100_000  # calls are remembered, so that a backward finds its forward


class Place(NamedTuple):
    """Where an op was called: the line of the program, and the modules that were running, outermost first."""

    file: str
    line: int
    modules: Sequence[Module]

    def __str__(self) -> str:
        from linecache import getline  # which few need

        code = getline(self.file, self.line).strip()
        said = f"{self.file}:{self.line}" + (f": {code}" if code else "")
        return f"{said}\n  {self._module()}" if self.modules else said

    def _module(self) -> str:
        outer, inner = self.modules[0], self.modules[-1]
        path = next((name for name, module in outer.named_modules() if module is inner), "")
        return f"in {path} ({type(inner).__name__}) of {type(outer).__name__}" if path else f"in {type(outer).__name__}"


def here() -> Place:
    """The line of the program that is running, and the modules."""
    frame = user_frame()
    return Place(frame.f_code.co_filename, frame.f_lineno, running_modules())


class _Call(NamedTuple):
    """A call of an op: its name, where it was, the addresses of its inputs and outputs, the shapes of its outputs."""

    name: str
    place: Place
    addresses: set[int]
    shapes: list[tuple[int, ...]]


class Places:
    """Where the ops of a thread were called. A backward is found at its forward, by the arrays that the forward keeps for it."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._end = 0  # a backward walks through the calls from here to the first

    def note(self, name: str, xs: Sequence[Any], ys: Sequence[Any]) -> Place:
        """Remember a call; returns where it was, which for a backward is where its forward was."""
        forward = self._forward_of(name, xs) if name.startswith(_BACKWARD) else None
        place = forward.place if forward is not None else here()
        if len(self._calls) > _MOST_CALLS:
            del self._calls[: _MOST_CALLS // 2]
            self._end = len(self._calls)
        self._calls.append(_Call(name, place, set(map(_address, [*xs, *ys])), [y.shape for y in ys]))
        if forward is None:
            self._end = len(self._calls)
        return place

    def _forward_of(self, name: str, xs: Sequence[Any]) -> _Call | None:
        """The call that a backward belongs to: of those of its name the last before the one that was found last, first of all one that has
        kept some of these arrays for it. The gradients among them have the shapes of its results."""
        shapes, addresses = {x.shape for x in xs}, set(map(_address, xs))
        likely: tuple[int, _Call] | None = None
        for index in range(self._end - 1, -1, -1):
            call = self._calls[index]
            if call.name == name.removeprefix(_BACKWARD) and any(shape in shapes for shape in call.shapes):
                if call.addresses & addresses:
                    self._end = index
                    return call
                likely = likely or (index, call)
        if likely is None:
            return None
        self._end = likely[0]
        return likely[1]


class _Checker:
    def __init__(self, nan: bool, inf: bool):
        self._nan, self._inf = nan, inf
        self._places = Places()

    def watch(self, op: Any, plan: Any, descs: Sequence[Any]) -> Around:
        given = [desc.dtype for desc in descs if not desc.dtype.startswith("weak_")]
        made = [placed.type.dtype for placed in plan.outputs]
        inputs: list[Any] = []

        def before(arrays: Sequence[Any]) -> None:
            inputs[:] = arrays

        def after(arrays: Sequence[Any]) -> None:
            xs = inputs[:]
            inputs.clear()
            place = self._places.note(op.name, xs, arrays)
            for number, (array, dtype) in enumerate(zip(arrays, made, strict=True)):
                if bad := self._bad(array, dtype):
                    which = "the result" if len(made) == 1 else f"result {number}"
                    raise FloatingPointError(self._message(op.name, which, bad, array, xs, given, place))

        return Around(before, after)

    def _bad(self, array: Any, dtype: str) -> str:
        """What is not finite in an array: "3 NaN of 8 elements, the first at [0, 1]"; "" if all is finite."""
        if not is_float(dtype):
            return ""
        values = _numbers(array, dtype)
        kinds = ((np.isnan, "NaN", self._nan), (np.isinf, "infinite", self._inf))
        for test, word, wanted in kinds:
            if wanted and (found := test(values)).any():
                first = [int(number) for number in np.argwhere(found)[0]]
                return f"{int(found.sum())} {word} of {values.size} elements" + (
                    f", the first at {first}" if first else ""
                )
        return ""

    def _message(
        self, name: str, which: str, bad: str, array: Any, xs: Sequence[Any], given: Sequence[str], place: Place
    ) -> str:
        lines = [f"{name}: {which}, {_looks(array)}, has {bad}"]
        for number, (x, dtype) in enumerate(zip(xs, given, strict=True)):
            already = self._bad(x, dtype)
            lines.append(
                f"  input {number}: {_looks(x, dtype)}" + (f", has {already} already" if already else _range(x, dtype))
            )
        if name.startswith(_BACKWARD):
            return "\n".join([*lines, f"  in the backward of {name.removeprefix(_BACKWARD)}, called at {place}"])
        lines.append(
            f"  at {Place(place.file, place.line, [])}"
        )  # the modules add themselves to the message on its way out
        return "\n".join(lines)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _numbers(array: Any, dtype: str) -> Any:
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array


def _looks(array: Any, dtype: str = "") -> str:
    return f"{dtype or array.dtype} {tuple(array.shape)}"


def _range(array: Any, dtype: str) -> str:
    if not is_float(dtype) or not array.size:
        return ""
    values = _numbers(array, dtype)
    return f", from {float(values.min()):.6g} to {float(values.max()):.6g}"


@contextmanager
def check_finite(nan: bool = True, inf: bool = True) -> Iterator[None]:
    """Raise an error at the first op in a `with` block whose result has a NaN or an infinity.

    The error names the op, its inputs, the line of the program and the modules that were running; for a
    backward, those of its forward. Traced functions run op by op in the block. Use it to find
    faults, because everything takes longer.

    If an input has them already, the error says so: then they come from outside the block.

    Args:
        nan: look for NaN.
        inf: look for infinities; False where they are intended, as in attention masks.

    Returns: a context manager.

    Raises:
        FloatingPointError: a result has a NaN or an infinity.

    >>> with check_finite():
    ...     F.log(tengen.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    FloatingPointError: log: the result, float32 (2,), has 1 NaN of 2 elements, the first at [1]
      input 0: float32 (2,), from -1 to 1
      at <doctest tengen.utils.finite.check_finite[0]>:2: F.log(tengen.tensor([1.0, -1.0]))
    """
    traced, trace.enabled = trace.enabled, False
    try:
        with watching(_Checker(nan, inf).watch):
            yield
    finally:
        trace.enabled = traced
