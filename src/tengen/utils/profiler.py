"""Measures how long each op takes, and writes a trace for Chrome's viewer or Perfetto, and a page that shows it."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, ExitStack, contextmanager
from glob import glob
from time import perf_counter_ns
from typing import Any, ClassVar

from .. import _rt
from ..base.device import parse
from ..base.files import write_whole
from ..core.build import Around, route_of, watching
from ..jit.explain import of_plan
from ..logger import get_logger
from ..module import Module
from .finite import Place, Places
from .profile_page import page

__all__ = ["Profiler", "is_profiling", "merge_trace_events", "profile", "scope"]

_logger = get_logger(__name__)
_FORMATS = ("chrome_timeline.json", "html")


class Profiler(ContextDecorator):
    """Times each op that runs in a `with` block, or in a decorated function, and writes the profile when that ends.

    `path/PID.chrome_timeline.json` is for chrome://tracing and ui.perfetto.dev; `path/PID.html` is a page for any browser: a timeline, a flame
    graph, and tables by op, kernel, module and line. Forward, backward and optimizer steps are all profiled; a backward counts for
    the module and the line of its forward. A traced function is one op, with its kernels inside.
    Plans are made anew under the profiler, so the first call of each op takes longer: profile several steps.

    Args:
        path: the folder; it is made if it does not exist.
        format, formats: "chrome_timeline.json" or "html", or several. The page is always written.
        with_backtrace: keep the line of the program that called each op; the page then has a table of lines.
        with_scopes: keep the modules that were running, too; the page then has a table of modules.
        kwargs: settings of MegEngine's profiler for GPUs, which have no effect here.

    Raises ValueError for other formats, RuntimeError inside another Profiler.

    >>> with Profiler("profile") as profiler:
    ...     _ = F.exp(tengen.tensor([1.0])) + 1
    >>> [row["name"] for row in profiler.events if row["cat"] == "op"]
    ['exp', 'add']
    """

    _running: ClassVar[Profiler | None] = None

    def __init__(
        self,
        path: str = "profile",
        format: str = "chrome_timeline.json",
        formats: Sequence[str] | None = None,
        with_backtrace: bool = False,
        with_scopes: bool = False,
        **kwargs: Any,
    ):
        self.formats = [format] if formats is None else list(formats)
        for name in self.formats:
            if name not in _FORMATS:
                raise ValueError(f"Profiler: a profile is written as {' or '.join(_FORMATS)}, got {name!r}")
        self.path = path
        self.with_backtrace, self.with_scopes = with_backtrace, with_scopes
        self.events: list[dict[str, Any]] = []
        self._stack = ExitStack()
        self._start = 0
        self._places: defaultdict[int, Places] = defaultdict(Places)  # by thread
        self._last: dict[
            int, tuple[dict[str, Any], Any, Any]
        ] = {}  # by thread: an event whose kernels are not known yet

    def __enter__(self) -> Profiler:
        if Profiler._running is not None:
            raise RuntimeError("a Profiler is already running, and it sees all ops")
        self.events, self._start = [], perf_counter_ns()
        self._places.clear()
        self._stack.enter_context(watching(self._watch))
        Profiler._running = self
        return self

    def __exit__(self, *_: Any) -> None:
        Profiler._running = None
        self._stack.close()
        for thread in list(self._last):
            self._add_kernels(thread)
        if self.with_scopes:
            self.events += _module_events(self.events)
        self._write()

    # -- what happens ------------------------------------------------------------------------------------------

    def _now(self) -> float:
        """Microseconds since the start."""
        return (perf_counter_ns() - self._start) / 1e3

    def _watch(self, op: Any, plan: Any, descs: Sequence[Any]) -> Around:
        began: dict[int, float] = {}
        given: dict[int, Sequence[Any]] = {}
        runtime: list[Any] = []
        named = {"inputs": [_looks(d.dtype, d.shape) for d in descs if not d.dtype.startswith("weak_")]}
        named["outputs"] = [_looks(placed.type.dtype, placed.type.shape) for placed in plan.outputs]

        where = self.with_backtrace or self.with_scopes
        place = parse(route_of(op, descs).at).physical

        def before(inputs: Sequence[Any]) -> None:
            thread = threading.get_ident()
            self._add_kernels(thread)
            if where:
                given[thread] = inputs
            began[thread] = self._now()

        def after(outputs: Sequence[Any]) -> None:
            _rt.synchronize(place)  # so that the event covers what a GPU does for the op
            end, thread = self._now(), threading.get_ident()
            event = self._event(op.name, "op", began[thread], end, args=dict(named))
            if where:
                self._say_where(event, self._places[thread].note(op.name, given.pop(thread), outputs))
            self._last[thread] = event, plan, runtime[-1]

        return Around(before, after, runtime.append, arrays=where)

    def _event(self, name: str, kind: str, start: float, end: float, args: dict[str, Any]) -> dict[str, Any]:
        event = {"name": name, "cat": kind, "ph": "X", "ts": start, "dur": end - start, "pid": os.getpid()}
        event |= {"tid": threading.get_ident(), "args": args}
        self.events.append(event)
        return event

    def _say_where(self, event: dict[str, Any], place: Place) -> None:
        if self.with_backtrace:
            event["args"]["line"] = f"{place.file}:{place.line}"
        if self.with_scopes:
            event["args"]["modules"] = [_path(place.modules[0], module) for module in place.modules]

    def _add_kernels(self, thread: int) -> None:
        """Add events for the steps of the last op of this thread, one after the other."""
        event, plan, runtime = self._last.pop(thread, ({}, None, None))
        taken = runtime.take_seconds() if plan is not None else []
        if not taken:  # or a traced function that is profiled itself has taken them
            return
        start = event["ts"]
        for step, seconds in zip(plan.steps, of_plan(plan, taken), strict=True):
            took = min(seconds * 1e6, event["ts"] + event["dur"] - start)
            inner = {"name": step.name, "cat": "kernel", "ph": "X", "ts": start, "dur": took}
            self.events.append(inner | {"pid": event["pid"], "tid": thread, "args": {}})
            start += took

    # -- what is written ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        import json

        os.makedirs(self.path, exist_ok=True)
        made = {"traceEvents": self.events, "displayTimeUnit": "ms", "metadata": {"by": "tengen"}}
        contents = {"html": page(self.events)}
        if "chrome_timeline.json" in self.formats:
            contents["chrome_timeline.json"] = json.dumps(made)
        for ending, text in contents.items():
            with write_whole(os.path.join(self.path, f"{os.getpid()}.{ending}")) as file:
                file.write(text.encode())
        _logger.info("profile: %d events, written to %s", len(self.events), self.path)


def _looks(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} {tuple(shape)}"


def _path(outer: Module, inner: Module) -> str:
    name = next((name for name, module in outer.named_modules() if module is inner), "")
    return f"{name} ({type(inner).__name__})" if name else type(outer).__name__


def _module_events(events: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """An event for each run of consecutive ops in the same module, outer modules first."""
    ops = sorted((event for event in events if event["cat"] == "op"), key=lambda event: (event["tid"], event["ts"]))
    for depth in range(max((len(event["args"]["modules"]) for event in ops), default=0)):
        opened: dict[str, Any] | None = None
        last: Any = None
        for event in ops:
            modules = event["args"]["modules"][: depth + 1]
            key = (event["tid"], modules)
            if len(modules) <= depth:
                opened, last = None, None
            elif opened is not None and key == last:
                opened["dur"] = event["ts"] + event["dur"] - opened["ts"]
            else:
                opened, last = {**event, "name": modules[-1], "cat": "module", "args": {}}, key
                yield opened


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Name what runs in a `with` block in the profile of a running Profiler."""
    running = Profiler._running
    start = running._now() if running is not None else 0.0
    try:
        yield
    finally:
        if running is not None and running is Profiler._running:
            running._event(name, "scope", start, running._now(), {})


def is_profiling() -> bool:
    """Whether a Profiler is running."""
    return Profiler._running is not None


def profile(*args: Any, **kwargs: Any) -> Any:
    """Decorator: profile each call of a function. It may have the arguments of Profiler.

    >>> @profile("profile")
    ... def step():
    ...     return F.exp(tengen.tensor([0.0])).item()
    >>> step()
    1.0
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        function: Callable[..., Any] = args[0]
        return Profiler()(function)
    return Profiler(*args, **kwargs)


def merge_trace_events(directory: str) -> str:
    """Merge the timelines of all processes in a folder to `merge.chrome_timeline.json` there; returns its path.

    Raises FileNotFoundError if there are none.
    """
    import json

    target = os.path.join(directory, "merge.chrome_timeline.json")
    found = sorted(set(glob(os.path.join(directory, "*.chrome_timeline.json"))) - {target})
    if not found:
        raise FileNotFoundError(f"{directory} has no *.chrome_timeline.json, which Profiler writes")
    events: list[Any] = []
    for path in found:
        with open(path, encoding="utf-8") as file:
            events += json.load(file)["traceEvents"]
    with write_whole(target) as out:
        out.write(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())
    return target
