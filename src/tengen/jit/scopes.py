"""Companions of `trace`: parts of functions, and parts that are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import _rt
from .trace import trace


@contextmanager
def exclude_from_trace() -> Iterator[None]:
    """Run what stands in this `with` block at once, not as a part of the traced function around it.

    It serves operations that differ from call to call. Outside of traced functions it does nothing.

    Returns: a context manager.

    Raises:
        TraceError: the trace is without host.

    >>> from tengen.jit import exclude_from_trace
    >>> with exclude_from_trace():
    ...     y = tengen.tensor([1.0]) + 1
    >>> y.tolist()
    [2.0]
    """
    recording = _rt.recording()
    if recording is None:
        yield
        return
    recording.pause()
    try:
        yield
    finally:
        recording.resume()


def partial_trace(
    func: Callable[..., Any] | None = None, *, backend: str = "default", without_host: bool = True, **trace_options: Any
) -> Any:
    """Trace a part of a step, such as a network.

    Gradients flow through it. See `trace`.

    Args:
        func: the function; without it this is a decorator.
        backend: "default" or "xla", which mean the same here.
        without_host, trace_options: as for `trace`.

    Returns: a function with the same arguments.

    Raises:
        ValueError: the backend is another one.

    >>> from tengen.jit import partial_trace
    >>> partial_trace(lambda x: x + x)(tengen.tensor([1.0])).tolist()
    [2.0]
    """
    if backend not in ("default", "xla"):
        raise ValueError(f"partial_trace: the backend must be 'default' or 'xla' (which are the same), got {backend!r}")
    options = {"without_host": without_host, **trace_options}
    return partial(trace, **options) if func is None else trace(func, **options)


class xla_trace(trace):
    """What `trace(without_host=True)` is: tengen compiles by itself, and this is the name that programs for another compiler use.

    Args:
        function: what to trace.
        without_host, symbolic_shape, options: as for `trace`.

    >>> @xla_trace
    ... def double(x):
    ...     return x + x
    >>> double(tengen.tensor([1.0, 2.0])).numpy().tolist()
    [2.0, 4.0]
    """

    def __init__(
        self, function: Callable[..., Any], *, without_host: bool = True, symbolic_shape: bool = False, **options: Any
    ):
        super().__init__(function, without_host=without_host, symbolic_shape=symbolic_shape, **options)


def fuse(function: Callable[..., Any]) -> Any:
    """Make a function of tensor maths one op: it becomes one kernel, or a few, and so does its gradient.

    What the function computes is worked out once for each set of argument types, as by `trace(without_host=True)`.

    Args:
        function: takes and gives tensors.

    Returns: a function with the same arguments.

    Raises:
        TraceError: the function reads the value of a tensor.

    >>> @fuse
    ... def swish(x):
    ...     return x * F.sigmoid(x)
    >>> swish(tengen.tensor([0.0, 2.0])).numpy().round(3).tolist()
    [0.0, 1.7619999647140503]
    """
    return trace(function, without_host=True)
