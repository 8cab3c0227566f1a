"""Walks along the edges of a graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from ..network_node import OpNode, VarNode


def dependencies(vars: Iterable[VarNode]) -> list[VarNode]:
    """The values and all that they depend on, nearest first."""
    found = dict.fromkeys(vars)
    waiting = list(found)
    for var in waiting:
        new = [v for v in dict.fromkeys(var.owner.inputs) if v not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return waiting


def in_order(vars: Iterable[VarNode]) -> list[OpNode]:
    """The ops that compute these values, each after those that it reads; among those that could come next, the oldest.

    Raises ValueError, naming the ops, if they form a cycle.
    """
    ops = {var.owner: None for var in dependencies(vars)}
    waits = {op: len({v.owner for v in op.inputs}) for op in ops}
    readers: dict[OpNode, list[OpNode]] = {op: [] for op in ops}
    for op in ops:
        for source in {v.owner for v in op.inputs}:
            readers[source].append(op)
    ready = [(op.id, op) for op in ops if not waits[op]]
    heapq.heapify(ready)
    found = []
    while ready:
        _, op = heapq.heappop(ready)
        found.append(op)
        for reader in readers[op]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, (reader.id, reader))
    if len(found) < len(ops):
        raise ValueError(f"the network has a cycle: {' -> '.join(op.name for op in _circle(waits))}")
    return found


def _circle(waits: dict[OpNode, int]) -> list[OpNode]:
    """Find a cycle among ops that wait for each other: each op reads the one before it, and the first reads the last."""
    op = next(op for op, count in waits.items() if count)
    way: list[OpNode] = []
    while op not in way:
        way.append(op)
        owners: list[OpNode] = [v.owner for v in op.inputs]
        op = next(owner for owner in owners if waits[owner])
    return [*way[way.index(op) :], op][::-1]


def copied(vars: Sequence[VarNode], replaced: dict[Any, Any]) -> list[Any]:
    """Copy values with some values replaced: what depends on these is made again, the rest is shared."""
    made = dict(replaced)
    for op in in_order(vars):
        if any(v in made for v in op.inputs) and not all(v in made for v in op.outputs):
            inputs = [made.get(v, v) for v in op.inputs]
            again = type(op)(op.op, inputs, [v.type for v in op.outputs], op._name)
            for old, new in zip(op.outputs, again.outputs, strict=True):
                new._name = old._name
                made.setdefault(old, new)
    return [made.get(v, v) for v in vars]
