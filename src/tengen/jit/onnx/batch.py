"""One graph for every batch size, from the graphs of one function at two.

The graphs must have the same nodes; only constants may differ, such as the shape that a Reshape makes. A number that is
the same multiple or the same fraction of the batch size in both is computed from the shape of an argument when the
model runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...base.errors import ExportError
from ..frozen import Array
from .graph import Graph, Operand, Stored

NAME = "batch"


class Factor(NamedTuple):
    """A fraction in lowest terms."""

    times: int
    parts: int


class Batches(NamedTuple):
    """The batch sizes of two recordings, and the types of their inputs and outputs."""

    sizes: tuple[int, int]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def dims(self, operand: Operand) -> list[int | str]:
        """The dims of an input or output, with a name for those that depend on the batch size."""
        pairs = enumerate(zip(*self.shapes[operand.name], strict=True))
        return [a if a == b else self._dim(operand.name, d, a, b) for d, (a, b) in pairs]

    def _dim(self, name: str, d: int, a: int, b: int) -> str:
        factor = _factor((a, b), self.sizes)
        if factor is None:
            return f"{name}_dim{d}"
        times = f"{factor.times}*{NAME}" if factor.times != 1 else NAME
        return f"{times}/{factor.parts}" if factor.parts != 1 else times


def same_but_for_batch(graph: Graph, other: Graph) -> Batches:
    """Replace the parts of `graph` that depend on the batch size by nodes that compute them.

    Raises ExportError, naming the op, if the graphs differ in more than their batch size.
    """
    pairs = [*zip(graph.inputs, other.inputs, strict=False), *zip(graph.outputs, other.outputs, strict=False)]
    shapes = {a.name: (a.shape, b.shape) for a, b in pairs}
    source, sizes = _batch_of(graph.inputs, shapes)
    _check_nodes(graph, other)
    nodes, graph.nodes = graph.nodes, []
    graph.origin = NAME
    batch = graph.node("Shape", source, dtype="int64", start=0, end=1)
    targets = {node.inputs[1] for node in nodes if node.operator == "Reshape"}
    origins = {name: node.origin for node in nodes for name in node.inputs}
    for name, stored in list(graph.constants.items()):
        elsewhere = other.constants[name]
        if stored.array.shape == elsewhere.array.shape and np.array_equal(
            stored.array, elsewhere.array, equal_nan=True
        ):
            continue
        made = _at_any_batch(graph, batch, sizes, stored, elsewhere.array, name in targets)
        if made is None:
            raise ExportError(
                f"{origins[name]}: one of its numbers is {_shown(stored.array)} with batch size {sizes[0]} and "
                f"{_shown(elsewhere.array)} with {sizes[1]}; the model cannot compute it for any other"
            )
        if made.known is not None:
            graph.constants[name] = Stored(made.dtype, made.known)
        else:
            graph.nodes.append(graph.identity(made, name))
            del graph.constants[name]
    graph.nodes += nodes
    return Batches(sizes, shapes)


def _shown(array: Array) -> str:
    return str(array.tolist()) if array.size < 8 else f"an array of shape {array.shape}"


def _batch_of(
    inputs: Sequence[Operand], shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> tuple[Operand, tuple[int, int]]:
    """An argument whose first dim is the batch size, and its two sizes."""
    found = [(x, (a[0], b[0])) for x in inputs for a, b in [shapes[x.name]] if a != b and a and b]
    if not found or any(sizes != found[0][1] for _, sizes in found):
        raise ExportError(
            "the first dimensions of the arguments must differ between the two recordings, all in the same way"
        )
    for x, _ in found:
        if shapes[x.name][0][1:] != shapes[x.name][1][1:]:
            raise ExportError(f"argument {x.name} differs in more than its first dimension between the two recordings")
    if min(found[0][1]) < 2:
        raise ExportError(
            f"the batch size is {min(found[0][1])}, and a dimension of 1 is stretched where others are not: call the function with a "
            "batch of 2 or more, then dump it with dynamic_batch=True"
        )
    return found[0]


def _check_nodes(graph: Graph, other: Graph) -> None:
    for a, b in zip(graph.nodes, other.nodes, strict=False):
        if (a.operator, a.inputs, a.outputs, a.attributes) != (b.operator, b.inputs, b.outputs, b.attributes):
            raise ExportError(
                f"{a.origin}: with another batch size it is {b.operator} {b.attributes}, not {a.operator} {a.attributes}"
            )
    if len(graph.nodes) != len(other.nodes) or graph.constants.keys() != other.constants.keys():
        raise ExportError("the function applies other operations with another batch size")


def _factor(numbers: tuple[int, int], sizes: tuple[int, int]) -> Factor | None:
    """The ratio of a number to the batch size, if it is the same in both recordings."""
    (n, m), (size, other) = numbers, sizes
    shared = math.gcd(n, size)
    return Factor(n // shared, size // shared) if n * other == m * size else None


def _at_any_batch(
    g: Graph, batch: Operand, sizes: tuple[int, int], stored: Stored, elsewhere: Array, is_shape: bool
) -> Operand | None:
    """The constant computed from the batch size, a vector of one number; None if that is impossible."""
    array = stored.array
    if array.shape != elsewhere.shape:
        return _grown(g, batch, sizes, stored, elsewhere)
    if array.ndim > 1 or stored.dtype == "bfloat16" or array.dtype.kind not in "if":
        return None
    pairs = list(zip(array.reshape(-1).tolist(), elsewhere.reshape(-1).tolist(), strict=True))
    differing = [i for i, (a, b) in enumerate(pairs) if a != b]
    if is_shape and len(differing) == 1 and all(pair[0] > 0 for pair in pairs):
        target = array.copy()
        target[differing[0]] = -1
        return None if _factor(pairs[differing[0]], sizes) is None else g.constant(target, "int64")
    parts: list[Operand] = []
    for a, b in pairs:
        part = g.constant([a], stored.dtype) if a == b else _number(g, batch, sizes, (a, b), stored.dtype)
        if part is None:
            return None
        parts.append(part)
    whole = parts[0] if len(parts) == 1 else g.node("Concat", *parts, axis=0)
    return whole if array.ndim else g.node("Squeeze", whole, g.integers([0]))


def _number(
    g: Graph, batch: Operand, sizes: tuple[int, int], numbers: tuple[float, float], dtype: str
) -> Operand | None:
    """A number that is a multiple of the batch size, or for floats a fraction, as a vector of one element."""
    if isinstance(numbers[0], int) and isinstance(numbers[1], int):
        factor = _factor((numbers[0], numbers[1]), sizes)
        if factor is None:
            return None
        times = batch * factor.times if factor.times != 1 else batch
        return g.cast(times / factor.parts if factor.parts != 1 else times, dtype)
    size = g.cast(batch, "float64")
    tolerance = 1e-12 if dtype in ("float64", "weak_float") else 1e-6
    multiples = [n / s for n, s in zip(numbers, sizes, strict=True)]
    if math.isclose(*multiples, rel_tol=tolerance):
        return g.cast(size * multiples[0], dtype)
    wholes = [n * s for n, s in zip(numbers, sizes, strict=True)]
    return g.cast(g.constant(wholes[:1], "float64") / size, dtype) if math.isclose(*wholes, rel_tol=tolerance) else None


def _grown(g: Graph, batch: Operand, sizes: tuple[int, int], stored: Stored, elsewhere: Array) -> Operand | None:
    """A constant that is longer for a larger batch: constant along that axis, or in equal steps like running numbers."""
    array = stored.array
    if array.ndim != elsewhere.ndim or stored.dtype == "bfloat16":
        return None
    axes = [d for d in range(array.ndim) if array.shape[d] != elsewhere.shape[d]]
    factor = _factor((array.shape[axes[0]], elsewhere.shape[axes[0]]), sizes) if len(axes) == 1 else None
    if factor is None or factor.parts != 1:
        return None
    axis = axes[0]
    first, second = (np.take(array, [i], axis) for i in (0, 1))
    step = np.zeros_like(first) if array.dtype == np.bool_ else second - first
    for found in (array, elsewhere):
        places = np.arange(found.shape[axis]).reshape(-1, *(1,) * (array.ndim - axis - 1))
        rows = np.broadcast_to(first, found.shape) if not step.any() else first + places * step
        if not np.array_equal(found, rows):
            return None
    base = g.constant(first, stored.dtype)
    count = batch * factor.times
    if not step.any():
        extents = [count if d == axis else g.integers([s]) for d, s in enumerate(array.shape)]
        return g.node("Expand", base, extents[0] if len(extents) == 1 else g.node("Concat", *extents, axis=0))
    zero, one = (g.constant(n, "int64") for n in (0, 1))
    running = g.node("Range", zero, g.node("Squeeze", count, g.integers([0])), one)
    running = g.cast(g.reshape(running, [-1, *(1,) * (array.ndim - axis - 1)]), stored.dtype)
    return running * g.constant(step, stored.dtype) + base
