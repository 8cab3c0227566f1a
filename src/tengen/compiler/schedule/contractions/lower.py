"""Makes the steps of a contraction: copies that give its operands the layouts they must have, then the launches of its
kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ....base import config
from ...geometry import ConvShape, MatmulShape
from ...kernels.epilogue import CHANNEL, ELEMENT, NUMBER, Epilogue, Source
from ...kernels.target import DeviceTarget, Target
from ...plan import ITEM_BYTES
from ...program import Contraction, Elementwise, Node, Type, Value, ViewOp
from ...view import Edge, View, contiguous
from ..groups import Group
from ..memory.ownership import EVERYWHERE
from ..nests.lower import Emitter, Operand
from ..places import Location
from ..steps import Step, Steps
from ..ways import Request, offered, spread
from .column_sums import taken
from .epilogue import Ending, ending
from .problem import ContractionPlan, KernelRun, Offer, Relayout, Unit

LEAST_ROWS = 16
"""The average number of rows for one sum of a kernel, at least; below that, sums cost no less than reading the rows."""


def contract(steps: Steps, nodes: Sequence[Node], reductions: Sequence[Group] = ()) -> None:
    """Append the steps of a contraction node and of the element-wise nodes that follow it.

    The kernels do those too if they can, and take the sums over rows of the result that `reductions` want.
    """
    node, *rest = nodes
    op, product = node.op, node.outputs[0]
    assert isinstance(op, Contraction)
    homes = [steps.in_memory(v) for v in node.inputs]
    geometry = op.geometry([v.type for v in node.inputs], product.type)
    places = [(buffer, spread(geometry, view)) for buffer, view in homes]
    chosen, fused = _chosen(steps, nodes, geometry, [view for _, view in places], reductions)
    operands = _copied(steps, fused) if fused else []
    plan = chosen.plan()
    buffers = _factors(steps, node, places, plan)
    made = rest[-1].outputs[0] if fused and rest else product
    layout, own = View(made.shape, plan.out_strides), True
    if (place := steps.destinations.get(made)) and place.view.strides == layout.strides:
        layout, own = place.view, place.whole is None
        if place.whole:
            buffers["out"] = steps.wholes[place.whole].buffer or 0, layout.offset * ITEM_BYTES[made.dtype]
    seen: dict[str, View] = {}
    if fused:
        laid = [_laid(steps, operand, source, layout) for operand, source in operands]
        buffers.update(zip(fused.epilogue.buffers, laid, strict=True))
        for name, (operand, source) in zip(fused.epilogue.buffers, operands, strict=True):
            if source.along == ELEMENT:  # it is read where the result is written, so it may be the same memory
                seen[name] = layout._replace(offset=operand.view.offset)
    sizes = {"out": plan.out_size * ITEM_BYTES[made.dtype], "workspace": plan.workspace}
    if fused and plan.row_tiles:
        sizes["sums"] = plan.row_tiles * fused.sum_bytes
    for name in [name for name, size in sizes.items() if (own if name == "out" else size)]:
        steps.bytes.append(sizes[name])
        buffers[name] = (len(steps.bytes) - 1, 0)
    name = op.name
    for launch in plan.launches:
        pointers = _pointers(launch, buffers)
        given = dict.fromkeys([buffer for buffer, _ in launch.buffers])
        writes = [(buffers[buffer][0], layout) for buffer in given if buffer in sizes]
        reads = [(buffers[buffer][0], seen.get(buffer, EVERYWHERE)) for buffer in given if buffer not in sizes]
        run = launch.given(fused.numbers) if fused and launch.epilogue else launch
        parts, how = (run.params, run.tiles, run.work, name), {"joined": run.joined, "side": run.side}
        steps.add_step(run.kernel, pointers, *parts, reads, writes, blocks=run.blocks, **how)
    steps.where[made] = Location(buffers["out"][0], layout)
    if fused and plan.row_tiles:
        steps.taken.update(taken(fused.reductions, buffers["sums"][0], plan.row_tiles))
    if rest and not fused:
        _afterwards(steps, rest, layout)


def _pointers(launch: KernelRun, buffers: Mapping[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """(buffer, offset in bytes) of everything a launch is given. buffers: the same for the names that it uses."""
    pointers = []
    for name, at in launch.buffers:
        buffer, start = buffers[name]
        pointers.append((buffer, start + at))
    return pointers


def _chosen(
    steps: Steps,
    nodes: Sequence[Node],
    geometry: MatmulShape | ConvShape,
    views: Sequence[View],
    reductions: Sequence[Group],
) -> tuple[Offer, Ending | None]:
    """The offer to plan for a contraction, and the epilogue of its kernels, if they do one.

    Several requests may be made, from the best to the simplest: with the sums that `reductions` want, then without
    them; each in the place where the result should lie, then in a buffer of its own. A single request is not enough,
    because the answer decides: whether the sums are worth taking depends on how the kernels lay out the result and into
    how many parts they cut its rows.
    """
    node, *rest = nodes
    op, product = node.op, node.outputs[0]
    assert isinstance(op, Contraction)
    types = [v.type for v in node.inputs]
    unit, repeated = _unit(steps.target), steps.repeated
    request = Request(op.form, geometry, views, types, product.type, unit, repeated=repeated, zero=op.zero)
    place = steps.destinations.get(nodes[-1].outputs[0])

    def offer(epilogue: Epilogue | None) -> Offer:
        if place:
            made = offered(request._replace(epilogue=epilogue, strides=place.view.strides))
            # If not, another kernel stores the value that has the destination.
            complete = not rest or (epilogue and made.why_not is None)
            if complete and not (place.whole and made.has_workspace):
                return made
        return offered(request._replace(epilogue=epilogue) if epilogue else request)

    if not (rest or reductions):
        return offer(None), None
    if reductions:
        end = ending(steps, product, rest, op.roles.channels, reductions)
        if end.reductions:
            made = offer(end.epilogue)
            result, rows = View(product.shape, made.out_strides), product.size // end.channels
            few = made.why_not is None and 0 < LEAST_ROWS * made.row_tiles <= rows
            if few and all(_lies_alike(*x, result) for x in end.operands):
                return made, end
    last = ending(steps, product, rest, op.roles.channels) if rest else None
    made = offer(last.epilogue if last else None)
    return made, last if made.why_not is None else None


def _unit(target: Target) -> Unit:
    if isinstance(target, DeviceTarget):
        return Unit(target.lanes, 0, device=target, tf32=config.get("tf32"))
    tiles = config.get("winograd")
    return Unit(target.lanes, target.registers, target.dots, tiles, target.amx, level2=target.level2)


def _copied(steps: Steps, end: Ending) -> list[tuple[Operand, Source]]:
    """The operands of an epilogue, with copies in memory of those that would be computed where they are read."""
    if not end.uncopied:
        return list(end.operands)
    read = {operand.buffer for operand, _ in end.operands}
    made = {number: steps.materialise(value).buffer for number, value in end.uncopied.items() if number in read}
    return [(x._replace(buffer=made.get(x.buffer or 0, x.buffer)), source) for x, source in end.operands]


def _lies_alike(operand: Operand, source: Source, result: View) -> bool:
    """Whether an epilogue can read an operand where it is."""
    seen, want = _as_read(operand, source, result)
    return source.along == NUMBER or seen.strides == want.strides


def _factors(
    steps: Steps, node: Node, places: Sequence[tuple[int, View]], plan: ContractionPlan
) -> dict[str, tuple[int, int]]:
    """Where operands a and b begin: (buffer, offset in bytes), laid out as the plan wants them."""
    op = node.op
    assert isinstance(op, Contraction)
    found = {}
    for name, index, relayout in zip("ab", op.roles.operands, (plan.a, plan.b), strict=True):
        (buffer, view), dtype = places[index], node.inputs[index].dtype
        if relayout is not None and not relayout.is_view(view.strides):
            source, read, title = buffer, dtype, f"{op.name}: layout of {name}"
            if wide := _unconverted(steps, node.inputs[index], view):
                steps.bypassed.add(buffer)
                (source, view), read = wide, "float32"
            given, key = source < len(steps.program.inputs), (source, view, relayout, dtype)
            kept = index == op.roles.constant and given
            in_order = (
                not plan.workspace
            )  # otherwise k is split, so a thread reads a part of each panel, or maps read it
            dtypes = read, dtype
            buffer, view = steps.copies.get(key) or _copy(steps, source, view, relayout, dtypes, title, kept, in_order)
            if kept:
                steps.layouts[buffer] = source
            if given:  # a gradient by weight reads it in the same layout as the convolution
                steps.copies[key] = buffer, view
        elif index == op.roles.constant and (wide := _unconverted(steps, node.inputs[index], view)):
            _keep_conversion(steps, buffer, wide[0])
        found[name] = (buffer, view.offset * ITEM_BYTES[dtype])
    if plan.prepared:
        _prepare(steps, op, found, *plan.prepared)
    return found


def _unconverted(steps: Steps, value: Value, view: View) -> tuple[int, View] | None:
    """Where a 16-bit operand that lies like `view` is available as float32: in the input of the Program that it was
    converted from. None if there is none.

    So with mixed precision, a weight or an image is converted while it is copied into another layout. A weight that has
    not changed needs neither.
    """
    while isinstance(value.op, ViewOp):
        (value, *_) = value.operands
    if value not in steps.where or not isinstance(value.op, Elementwise) or not value.op.converts:
        return None
    (given,) = value.operands
    if given.dtype != "float32" or value.dtype not in ("float16", "bfloat16") or not steps.holds(given):
        return None
    place, made = steps.locate(given), steps.where[value].view
    if place.buffer is None or place.buffer >= len(steps.program.inputs) or place.view.strides != made.strides:
        return None
    return place.buffer, view._replace(offset=view.offset + place.view.offset - made.offset)


def _keep_conversion(steps: Steps, buffer: int, source: int) -> None:
    """Have the runtime keep a converted input, which the kernels read as it lies, beside that input, if one step makes
    it and nothing else."""
    makers = [step for step in steps.steps if any(b == buffer for b, _ in step.writes)]
    if steps.target.keeps_copies and len(makers) == 1 and isinstance(step := makers[0], Step):
        used = {b for b, _ in (*step.reads, *step.writes)}
        if used == {buffer, source} and step.skip_for in (None, buffer):
            step.skip_for = buffer
            steps.layouts[buffer] = source


def _prepare(steps: Steps, op: Contraction, found: dict[str, tuple[int, int]], launch: KernelRun, size: int) -> None:
    """Append the step that makes, from operand b, what the kernels read in its place."""
    steps.bytes.append(size)
    buffer, (source, _) = len(steps.bytes) - 1, found["b"]
    found["prepared"] = buffer, 0
    if op.roles.operands[1] == op.roles.constant and source < len(steps.program.inputs):
        steps.layouts[buffer] = source
    parts = launch.params, launch.tiles, launch.work, f"{op.name}: transform of b"
    steps.add_step(
        launch.kernel, _pointers(launch, found), *parts, [(source, EVERYWHERE)], [(buffer, EVERYWHERE)], buffer
    )


def _laid(steps: Steps, operand: Operand, source: Source, result: View) -> tuple[int, int]:
    """Where an operand of an epilogue begins: (buffer, offset in bytes). Its channels lie side by side, or its elements
    like those of the result."""
    buffer, view = operand.buffer, operand.view
    assert buffer is not None
    if not _lies_alike(operand, source, result):
        seen, view = _as_read(operand, source, result)
        reach = 1 + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True))
        buffer = steps.buffer(Type(operand.dtype, (reach,)))  # with gaps, if the result is a part of something
        e = Emitter(steps.locate, seen.shape)
        e.copy(operand.dtype, operand.buffer, seen, buffer, view)
        steps.launch(e, (), "layout", {buffer})
    return buffer, view.offset * ITEM_BYTES[operand.dtype]


def _as_read(operand: Operand, source: Source, result: View) -> tuple[View, View]:
    """An operand over the dims that it moves along: as it is, and as an epilogue reads it."""
    view = operand.view
    moving = [d for d, extent in enumerate(view.shape) if extent > 1 and (view.strides[d] or source.along == ELEMENT)]
    shape = tuple([view.shape[d] for d in moving])
    strides = (1,) if source.along == CHANNEL else tuple([result.strides[d] for d in moving])
    return View(shape, tuple([view.strides[d] for d in moving]), view.offset), View(shape, strides)


def _afterwards(steps: Steps, nodes: Sequence[Node], layout: View) -> None:
    """Append a separate step for element-wise nodes, whose last value is stored like `layout`."""
    out = nodes[-1].outputs[0]
    e = Emitter(steps.locate, out.shape)
    for node in nodes:
        e.node(node)
    place = steps.destination(out, layout)
    e.store(out, place.buffer or 0, place.view)
    steps.launch(e, (), nodes[-1].op.name, {place.buffer or 0})
    steps.where[out] = place


def _copy(
    steps: Steps,
    source: int,
    view: View,
    relayout: Relayout,
    dtypes: tuple[str, str],
    name: str,
    kept: bool,
    in_order: bool,
) -> tuple[int, View]:
    """A buffer with the elements of `source`, which lie like `view`, in the layout of `relayout`.

    dtypes: that of `source`, and the one to store. kept: one launch must do it, because the runtime keeps the copy.
    in_order: the copy is written from its beginning to its end, so that a thread writes most of what it will read; data
    that another core has written or read comes slowly.
    """
    e = Emitter(steps.locate, relayout.shape)
    read, stored = dtypes if relayout.along is None else (dtypes[0], "int32")
    buffer, layout = steps.buffer(Type(stored, relayout.shape)), contiguous(relayout.shape)
    e.order = (layout,) if in_order else ()
    if relayout.along is None:
        seen = _seen(view, relayout)
        inside = None if kept else _inside(seen)
        if inside is not None:  # zeros first, because squares that are turned in registers have no edges
            e.fill(stored, buffer, layout)
            steps.launch(e, (), name, {buffer})
            starts, extents = inside
            part = [v.slice(starts, extents, [1] * len(starts)) for v in (seen._replace(edges=()), layout)]
            e = Emitter(steps.locate, extents)
            e.order = (part[1],) if in_order else ()
            e.copy(read, source, part[0], buffer, part[1], stored)
        else:
            e.copy(read, source, seen, buffer, layout, stored)
    elif read != dtypes[1]:
        e.round_pairs(source, [_seen(view, part) for part in relayout.parts], buffer, layout)
    elif (words := _words(view, relayout)) is not None:
        e.copy(stored, source, words, buffer, layout)
    else:
        e.copy_words(source, [_seen(view, part) for part in relayout.parts], buffer, layout)
    steps.launch(e, (), name, {buffer}, copy=(buffer, None))
    return buffer, layout


def _inside(seen: View) -> tuple[list[int], list[int]] | None:
    """(starts, extents) of the indices that no edge excludes, if these are a box and the copy jumps along its last dim;
    otherwise None."""
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
    edges = tuple([Edge(a.coefficients, a.offset, a.limit) for a in relayout.axes if relayout.leaves(a)])
    return View(relayout.shape, relayout.strides(view.strides), view.offset + relayout.offset(view.strides), edges)


def _words(view: View, relayout: Relayout) -> View | None:
    """The source in words of 32 bits, if the numbers of each word are a word there too (x86 reads them from any
    address)."""
    (seen, *others), width = [_seen(view, part) for part in relayout.parts], relayout.numbers
    whole = all(seen.edges == other.edges for other in others)  # no edge cuts a word in two
    if not whole or relayout.step_within(view.strides) != 1 or any(s % width for s in (*seen.strides, seen.offset)):
        return None
    return seen._replace(strides=tuple(s // width for s in seen.strides), offset=seen.offset // width)
