"""A network as a table: what each module computes, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple

from ..base.naming import running_modules
from ..core import Tensor
from ..core.build import Around, type_of, watching
from ..core.memory import amount
from ..module import Module
from .flops import flops
from .module_stats import arguments, evaluating
from .table import table

__all__ = ["Summary", "SummaryRow", "summary"]


class SummaryRow(NamedTuple):
    """A module, with all that runs inside it.

    path: its path in the network, "" for the network itself; kind: its class; calls: in one call of the network; outputs: shapes of
    the results of its last call; parameters: their elements; flops: operations, a multiplication with its addition is one; seconds: of its
    calls together; memory: bytes of the results of all operations, without views; leaf: no module ran inside it.
    """

    path: str
    kind: str
    calls: int
    outputs: tuple[tuple[int, ...], ...]
    parameters: int
    flops: int
    seconds: float
    memory: int
    leaf: bool


class Summary(NamedTuple):
    """The rows of a network: first itself, then its modules in the order of their first calls. Prints as a table."""

    rows: list[SummaryRow]

    @property
    def total(self) -> SummaryRow:
        """The row of the network itself."""
        return self.rows[0]

    def slowest(self, most: int = 3) -> list[SummaryRow]:
        """The modules without others inside that take longest, slowest first."""
        return sorted((row for row in self.rows if row.leaf and row.calls), key=lambda row: -row.seconds)[:most]

    def __str__(self) -> str:
        whole = self.total.seconds or 1.0
        titles = ("module", "kind", "output", "parameters", "FLOPs", "time", "share", "memory")
        paths = {row.path for row in self.rows}
        text = table(titles, [_cells(row, paths, whole) for row in self.rows])
        named = [f"{row.path} ({100 * row.seconds / whole:.0f} %)" for row in self.slowest() if row.path]
        return f"{text}\nslowest: {', '.join(named)}" if named else text


def summary(net: Module, inputs: Any = None, input_shapes: Any = None, repeats: int = 3) -> Summary:
    """Measure what each module of a network costs, in evaluation mode, without a trace.

    Operations are counted where they run, so functions between layers are in the row of the module that calls them. The cost of a module
    includes the modules inside it. Parameters that modules share count once. The network is not changed.

    Args:
        net: the network.
        inputs: its arguments: an array or tensor, or a list, tuple or dict (keyword arguments) of them.
        input_shapes: instead, the shape of its argument, or a list of shapes, for random float32 numbers.
        repeats: the number of calls, of which the fastest counts, after one that is not timed.

    Returns: a Summary, which prints as a table.

    Raises:
        ValueError: both or neither of `inputs` and `input_shapes` are given; fewer than one repeat.

    >>> from tengen.utils import summary
    >>> net = M.Sequential(M.Linear(3, 4), M.ReLU(), M.Linear(4, 2))
    >>> made = summary(net, input_shapes=(8, 3))
    >>> [(row.path, row.outputs, row.parameters, row.flops) for row in made.rows if row.kind == "Linear"]
    [('0', ((8, 4),), 16, 100), ('2', ((8, 2),), 10, 66)]
    >>> print(made)
    module ...
    """
    if not isinstance(net, Module):
        raise TypeError(f"summary: net must be a Module, got {type(net).__name__}")
    if repeats < 1:
        raise ValueError(f"summary: repeats must be at least 1, got {repeats}")
    given, keywords = arguments(inputs, input_shapes, "summary")
    paths: dict[int, str] = {}
    for path, module in net.named_modules():
        paths.setdefault(id(module), path)  # a module with several places counts at the first
    costs, times = _Costs(net), _Times()
    with evaluating(net):
        with watching(costs.watch):
            net(*given, **keywords)
        with times.hooked(net, paths):
            for _ in range(repeats + 1):  # Plans are made anew after a watch, so the first call is slow
                times.begin()
                net(*given, **keywords)
    return Summary(_rows(net, paths, costs, times))


def _rows(net: Module, paths: dict[int, str], costs: _Costs, times: _Times) -> list[SummaryRow]:
    modules = {paths[id(module)]: module for module in net.modules()}
    rows = []
    for path, module in sorted(modules.items(), key=lambda item: _place(item[0], modules, times.order)):
        own = {id(parameter): parameter.size for parameter in module.parameters()}
        operations, memory = costs.of.get(id(module), (0, 0))
        calls, seconds = times.calls.get(path, 0), times.fastest.get(path, 0.0)
        kind, outputs = type(module).__name__, times.outputs.get(path, ())
        leaf = path not in times.parents
        rows.append(SummaryRow(path, kind, calls, outputs, sum(own.values()), operations, seconds, memory, leaf))
    return rows


def _place(path: str, modules: Container[str], called: Sequence[str]) -> tuple[int, bool]:
    """Where a row goes: in the order of first calls; one that is not called behind all that is in the same module."""
    if path in called:
        return called.index(path), False
    outer = _outer(path, modules)
    while outer not in called:
        outer = _outer(outer, modules)
    inside = f"{outer}." if outer else ""
    return max(number for number, other in enumerate(called) if other == outer or other.startswith(inside)), True


def _outer(path: str, modules: Container[str]) -> str:
    """The path of the module that this one is in, which may have it in a list or dict."""
    path = path.rpartition(".")[0]
    while path not in modules:
        path = path.rpartition(".")[0]
    return path


class _Costs:
    """Operations and bytes of results, by id of each module of a network in which they run."""

    def __init__(self, net: Module):
        self.of: dict[int, tuple[int, int]] = {}
        self._net = net

    def watch(self, op: Any, plan: Any, descs: Sequence[Any]) -> Around:
        operations = flops(op, [type_of(desc) for desc in descs], [placed.type for placed in plan.outputs])
        slots = {placed.slot for placed in plan.outputs if placed.slot >= plan.inputs}
        memory = sum(plan.allocations[slot - plan.inputs] for slot in slots)

        def after(_: Sequence[Any]) -> None:
            modules = {id(module) for module in running_modules()}
            if id(self._net) in modules:  # or it belongs to another thread
                for module in modules:
                    before = self.of.get(module, (0, 0))
                    self.of[module] = before[0] + operations, before[1] + memory

        return Around(lambda _: None, after)


class _Times:
    """How often each module is called, how long that takes and the shapes of its results, by path."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.parents: set[str] = set()
        self.outputs: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.calls: dict[str, int] = {}
        self.fastest: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._open: list[tuple[str, float]] = []
        self._run = -1
        self._thread = get_ident()  # another may be using the network

    def begin(self) -> None:
        """Start another call of the network."""
        self._run += 1
        self._seconds, self.calls, self._open = {}, {}, []

    @contextmanager
    def hooked(self, net: Module, paths: dict[int, str]) -> Iterator[None]:
        with ExitStack() as stack:
            for path, module in {paths[id(module)]: module for module in net.modules()}.items():
                for handle in (
                    module.register_forward_pre_hook(self._enter(path)),
                    module.register_forward_hook(self._leave(path)),
                ):
                    stack.callback(handle.remove)
            yield

    def _enter(self, path: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            if get_ident() != self._thread:
                return
            if path not in self.calls:
                self.calls[path] = 0
                if self._run == 0:
                    self.order.append(path)
            if self._open:
                self.parents.add(self._open[-1][0])
            self._open.append((path, perf_counter()))

        return enter

    def _leave(self, path: str) -> Callable[..., None]:
        def leave(_: Any, __: Any, outputs: Any) -> None:
            if get_ident() != self._thread:
                return
            _, began = self._open.pop()
            self._seconds[path] = self._seconds.get(path, 0.0) + perf_counter() - began
            self.calls[path] += 1
            self.outputs[path] = tuple(_shapes(outputs))
            if not self._open and self._run > 0:  # the network itself: the call has ended
                for name, seconds in self._seconds.items():
                    self.fastest[name] = min(seconds, self.fastest.get(name, seconds))

        return leave


def _shapes(outputs: Any) -> Iterator[tuple[int, ...]]:
    """Shapes of the tensors among results, in lists, tuples and dicts."""
    if isinstance(outputs, Tensor):
        yield tuple(outputs.shape)
    elif isinstance(outputs, dict):
        yield from _shapes(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _shapes(output)


def _cells(row: SummaryRow, paths: Container[str], whole: float) -> Sequence[object]:
    name, outer, depth = "(network)", row.path, 0
    if row.path:
        outer = _outer(row.path, paths)
        name = row.path[len(outer) :].lstrip(".")
        depth = 1
    while outer:
        outer, depth = _outer(outer, paths), depth + 1
    name = "  " * depth + name
    parameters = _count(row.parameters)
    if not row.calls:
        return (name, row.kind, "not called", parameters, "", "", "", "")
    calls = f" × {row.calls}" if row.calls > 1 else ""
    shapes = ", ".join(map(str, row.outputs)) + calls
    time = f"{1e3 * row.seconds:.3f} ms"
    return (
        name,
        row.kind,
        shapes,
        parameters,
        _count(row.flops),
        time,
        f"{100 * row.seconds / whole:.1f} %",
        amount(row.memory),
    )


def _count(number: int) -> str:
    """Format a number for people, in thousands."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)
