"""Runs a contraction inside a Plan: gives its operands the layout they must have, then launches its kernels."""

from __future__ import annotations

from collections.abc import Sequence

from ..plan import ITEM_BYTES
from ..program import Contraction, Node, Type, Value
from ..view import Edge, View, contiguous
from .contraction import Relayout, Unit
from .lower import Emitter, Location
from .steps import Steps


def contract(steps: Steps, nodes: Sequence[Node]) -> None:
    """Append the steps of a contraction node, and of the one that adds a bias to it if there is a second."""
    node, out = nodes[0], nodes[-1].outputs[0]
    op = node.op
    assert isinstance(op, Contraction)
    homes = [steps.in_memory(v) for v in node.inputs]
    places = [(buffer, op.spread(view, out.type)) for buffer, view in homes]
    target = steps.target
    unit = Unit(target.lanes, target.registers, target.dots)
    plan = op.problem([view for _, view in places], [v.type for v in node.inputs], out.type, unit, len(nodes) > 1)
    buffers: dict[str, tuple[int, View]] = {}
    if len(nodes) > 1:
        (bias,) = (v for v in nodes[1].inputs if v is not node.outputs[0])
        buffers["bias"] = _row_of(steps, bias)
    for name, index, relayout in zip("ab", op.operands, (plan.a, plan.b), strict=True):
        buffer, view = places[index]
        if relayout is None or relayout.is_view(view.strides):
            buffers[name] = places[index]
        else:
            title = f"{op.name}: layout of {name}"
            kept = index == op.constant and buffer < len(steps.program.inputs)
            buffers[name] = _copy(steps, buffer, view, relayout, node.inputs[index].dtype, title, kept)
            if kept:
                steps.layouts[buffers[name][0]] = buffer
    result = View(out.shape, plan.out_strides)
    steps.bytes.append(plan.out_size * ITEM_BYTES[out.dtype])
    buffers["out"] = (len(steps.bytes) - 1, result)
    if plan.workspace:
        steps.bytes.append(plan.workspace)
        buffers["workspace"] = (len(steps.bytes) - 1, View((plan.workspace,), (1,)))
    dtypes = {"bias": out.dtype, "a": node.inputs[op.operands[0]].dtype, "b": node.inputs[op.operands[1]].dtype}
    for launch in plan.launches:
        pointers = [
            (buffers[n][0], buffers[n][1].offset * ITEM_BYTES[dtypes[n]] if n in dtypes else 0) for n in launch.buffers
        ]
        uses = [buffers[n] for n in launch.buffers]
        reads = [u for n, u in zip(launch.buffers, uses, strict=True) if n in dtypes]
        writes = [u for n, u in zip(launch.buffers, uses, strict=True) if n not in dtypes]
        numbers = launch.params, launch.tiles, launch.work
        steps.add_step(launch.kernel, pointers, *numbers, op.name, reads, writes, None, launch.joined)
    steps.where[out] = Location(buffers["out"][0], result)


def _row_of(steps: Steps, value: Value) -> tuple[int, View]:
    """Where the elements of a value lie one after the other."""
    buffer, view = steps.in_memory(value)
    if any(s != 1 and extent != 1 for s, extent in zip(view.strides, view.shape, strict=True)):
        place = steps.materialise(value)
        assert place.buffer is not None
        return place.buffer, place.view
    return buffer, view


def _copy(
    steps: Steps, source: int, view: View, relayout: Relayout, dtype: str, name: str, kept: bool
) -> tuple[int, View]:
    """A buffer with the elements of `source`, which lie like `view`, as `relayout` wants them. kept: by one launch."""
    e = Emitter(steps.locate, relayout.shape)
    stored = dtype if relayout.pair is None else "int32"
    buffer, layout = steps.buffer(Type(stored, relayout.shape)), contiguous(relayout.shape)
    if relayout.pair is None:
        seen = _seen(view, relayout)
        inside = None if kept else _inside(seen)
        if inside is not None:  # zeros first: squares that are turned in registers have no edges
            e.fill(stored, buffer, layout)
            steps.launch(e, (), name, {buffer})
            starts, extents = inside
            part = [v.slice(starts, extents, [1] * len(starts)) for v in (seen._replace(edges=()), layout)]
            e = Emitter(steps.locate, extents)
            e.copy(dtype, source, part[0], buffer, part[1])
        else:
            e.copy(dtype, source, seen, buffer, layout)
    elif (words := _words(view, relayout)) is not None:
        e.copy(stored, source, words, buffer, layout)
    else:
        e.copy_pairs(source, [_seen(view, half) for half in relayout.halves], buffer, layout)
    steps.launch(e, (), name, {buffer}, skip_for=buffer)
    return buffer, layout


def _inside(seen: View) -> tuple[list[int], list[int]] | None:
    """(starts, extents) of the indices that no edge leaves out, where those are a box and the copy jumps along its last dim; else
    None.
    """
    starts, extents = [0] * len(seen.shape), list(seen.shape)
    if not seen.edges or seen.strides[-1] in (0, 1) or 1 not in seen.strides:
        return None
    for edge in seen.edges:
        along = [d for d, c in enumerate(edge.coefficients) if c and seen.shape[d] > 1]
        if len(along) != 1 or edge.coefficients[along[0]] != 1:
            return None
        d = along[0]
        start = max(starts[d], -edge.offset)
        stop = min(starts[d] + extents[d], edge.limit - edge.offset)
        starts[d], extents[d] = start, max(0, stop - start)
    return (starts, extents) if all(extents) else None


def _seen(view: View, relayout: Relayout) -> View:
    """The source over the indices of the physical buffer."""
    edges = tuple(Edge(a.coefficients, a.offset, a.limit) for a in relayout.axes if relayout.leaves(a))
    return View(relayout.shape, relayout.strides(view.strides), view.offset + relayout.offset(view.strides), edges)


def _words(view: View, relayout: Relayout) -> View | None:
    """The same in words of 32 bits, if each pair of the source is such a word (x86 reads them from any address)."""
    first, second = relayout.halves
    seen = _seen(view, first)
    whole = seen.edges == _seen(view, second).edges  # none of them cuts a pair in two
    if not whole or relayout.pair_step(view.strides) != 1 or any(s % 2 for s in (*seen.strides, seen.offset)):
        return None
    return seen._replace(strides=tuple(s // 2 for s in seen.strides), offset=seen.offset // 2)
