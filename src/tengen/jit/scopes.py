"""What goes with `trace`: parts of functions, and parts that are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import _rt
from .trace import trace


@contextmanager
def exclude_from_trace() -> Iterator[None]:
    """Run what stands inside at once and not as a part of the traced function around it, such as operations that differ from call to
    call. Outside of traced functions it does nothing.

    Raises TraceError where the trace is without host.
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
    """Trace a part of a step, such as a network; see `trace`. Gradients flow through it.

    backend: only "default" is there.
    """
    if backend != "default":
        raise ValueError(f"partial_trace: there is only the backend 'default', not {backend!r}")
    options = {"without_host": without_host, **trace_options}
    return partial(trace, **options) if func is None else trace(func, **options)


def fuse(function: Callable[..., Any]) -> Any:
    """Make a function of tensor maths one op: it becomes one kernel, or a few, and so does its gradient.

    What the function computes is worked out once for each set of argument types, as by `trace(without_host=True)`.

    >>> @fuse
    ... def swish(x):
    ...     return x * F.sigmoid(x)
    >>> swish(tengen.tensor([0.0, 2.0])).numpy().round(3).tolist()
    [0.0, 1.7619999647140503]

    Raises TraceError if the function reads the value of a tensor.
    """
    return trace(function, without_host=True)
