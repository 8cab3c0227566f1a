"""`trace`: a function over tensors, backward and optimizer step included, as one compiled Program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, update_wrapper
from time import perf_counter
from typing import Any, ClassVar

from .. import _rt
from ..core import Tensor
from .arguments import flatten, rebuild
from .explain import Explanation, reports
from .recorder import Recorder
from .standalone import Effects, Standalone, effects
from .traced import StaleTrace

MOST_VARIANTS = 32
"""Recordings that are kept for one set of argument types, where a function without host depends on what else it finds."""


class Known:
    """What is known of the calls with one set of argument types."""

    def __init__(self, arguments: Any, tensors: Sequence[Tensor], title: str, without_host: bool):
        self.arguments = arguments  # of the first call; what is told apart by identity must live on
        self.types = [f"{x.desc.dtype}{list(x.shape)}" for x in tensors]
        self.recorder = Recorder(title, without_host)
        self.standalone: list[Standalone] = []
        self.calls, self.seconds = 0, 0.0


class trace:
    """Run a function over tensors as one compiled Program.

    The first call with arguments of some types (shapes and dtypes of tensors, values of everything else) records what the function
    does to tensors, compiles that as a whole, and runs it; later calls run the same Plan. All effects are those of the function:
    tensors that it updates (parameters, running statistics, what optimizers keep), gradients, and the state of random number
    generators.

    Args:
        function: what to trace; tensors may stand in tuples, lists and dicts among its arguments and in its result.
        without_host: later calls do not run the Python function at all. What it computes with Python stays as it was in the first
            call, but for settings of optimizers, such as the learning rate, and random numbers. By default the function runs at each
            call, without computing: its operations must be those of the first, or TraceError says where they differ.
        capture_as_const: tensors that the function takes from outside keep the value of the first call, and become part of a dump.
        record_only: the calls only record, for `dump`.
        symbolic, imperative, profiling, opt_level, graph_opt_config, symbolic_shape: taken for the sake of programs that give them;
            every trace is compiled as a whole and specialised on shapes.

    >>> @trace(without_host=True)
    ... def double(x):
    ...     return x + x
    >>> double(tengen.tensor([1.0, 2.0])).numpy().tolist()
    [2.0, 4.0]
    """

    enabled: ClassVar[bool] = True
    """Set to False to run all traced functions as if they were not."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if not args:
            return partial(cls, **options)
        return super().__new__(cls)

    def __init__(
        self,
        function: Callable[..., Any],
        symbolic: bool = False,
        capture_as_const: bool = False,
        record_only: bool = False,
        sublinear_memory_config: Any = None,
        dtr_config: Any = None,
        profiling: bool = False,
        opt_level: int = 2,
        graph_opt_config: Any = None,
        symbolic_shape: bool = True,
        without_host: bool = False,
        imperative: bool = False,
    ):
        if not callable(function):
            raise TypeError(f"trace takes a function, got {type(function).__name__}")
        self.function = function
        self.symbolic, self.without_host, self.capture_as_const = symbolic, without_host, capture_as_const
        self._known: dict[Any, Known] = {}
        update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not trace.enabled or _rt.recording() is not None:  # inside another traced function this is a part of that
            return self.function(*args, **kwargs)
        tensors: list[Tensor] = []
        key = flatten((args, kwargs), tensors)
        known = self._known.get(key)
        if known is None:
            others = rebuild((args, kwargs), lambda _: None)
            known = self._known[key] = Known(others, tensors, self.__name__, self.without_host)
        start = perf_counter()
        result = self._run(known, tensors, partial(self.function, *args, **kwargs))
        known.calls, known.seconds = known.calls + 1, perf_counter() - start
        return result

    def _run(self, known: Known, tensors: Sequence[Tensor], call: Callable[[], Any]) -> Any:
        if not self.without_host:
            return known.recorder.run(tensors, call)
        for standalone in known.standalone:
            if standalone.fits():
                try:
                    return standalone(tensors)
                except StaleTrace:
                    known.standalone.remove(standalone)
                    break
        return self._record(known, tensors, call)

    def explain(self) -> Explanation:
        """The Plans that there are, why each was made, its kernels, launches, memory and time; prints as text.

        >>> @trace
        ... def square(x):
        ...     return x * x
        >>> square(tengen.tensor([1.0, 2.0])).tolist()
        [1.0, 4.0]
        >>> square.explain().calls[0][3][0].launches
        1
        """
        found = []
        for number, known in enumerate(self._known.values()):
            first = "the first call" if not number else "arguments of other types than before"
            plans = [] if self.without_host else reports(known.recorder, first)
            for age, standalone in enumerate(reversed(known.standalone)):
                again = "a tensor or a gradient from outside was not what it had been"
                plans += reports(standalone.recorder, again if age else first)
            found.append((f"({', '.join(known.types)})", known.calls, known.seconds, plans))
        return Explanation(self.__name__, found)

    def _record(self, known: Known, tensors: Sequence[Tensor], call: Callable[[], Any]) -> Any:
        """The first call of a function without host."""
        recorder = Recorder(self.__name__, without_host=True)

        def watched() -> tuple[Any, Effects]:
            result = call()
            return result, effects(recorder, tensors, result)

        result, found = recorder.run(tensors, watched)
        del known.standalone[MOST_VARIANTS - 1 :]
        known.standalone.insert(0, Standalone(recorder, len(tensors), found))
        return result


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
    return trace(*[] if func is None else [func], without_host=without_host, **trace_options)


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
