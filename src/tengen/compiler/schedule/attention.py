"""How attention is computed: blocks of which size, and where the result lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..attention import Attention, AttentionGradient
from ..kernels.attention import PANEL_VECTORS, AttentionKernel, float_bits, product_of
from ..kernels.attention_gradient import PANELS, AttentionGradientKernel
from ..plan import ITEM_BYTES
from ..program import Node, Type, Value
from ..view import View, contiguous
from .memory.ownership import EVERYWHERE
from .places import Location

if TYPE_CHECKING:
    from .steps import Steps

KEYS = 64  # of a block; its scores stay in the nearest cache
SCRATCH = 160 << 10  # bytes of the stack for blocks of queries and their sums
MOST_QUERIES = 256
TILES = 32  # enough for all cores
FEW_QUERIES = 4
"""Up to so many, each reads the keys by itself."""
GRADIENT_KEYS = 64
SMALLEST = 2.0**-120
GROUPED_TILES = 16
"""As many tiles sweep the keys, at least: where heads are few each group of keys needs memory as large as the queries."""


def attend(steps: Steps, node: Node, op: Attention) -> None:
    """Append the step that computes an Attention."""
    q, k, v, *bias = node.inputs
    out, levels = node.outputs
    n, heads, length, width = q.shape
    places = [rows_in_memory(steps, x) for x in (q, k, v)]
    layout = like(out.shape, places[0].view)
    results = [(steps.buffer(out.type), layout), (steps.buffer(levels.type), contiguous(levels.shape))]
    target = steps.host(op.name)
    panel = PANEL_VECTORS * target.lanes
    most = 1 if length <= FEW_QUERIES else queries_of_block(panel, width + v.shape[3])
    block = 1 if most == 1 else block_of(panel, most, n * heads, length)
    blocks = -(-length // block)
    product = product_of(q.dtype, target)
    product = "pairs" if most == 1 and product == "amx" else product
    kernel = AttentionKernel(
        *(q.dtype, product, bool(bias), op.causal, width, v.shape[3]),
        *(most, KEYS, target.lanes, target.registers),
    )
    strides = [s for view in (*(p.view for p in places), layout) for s in view.strides[:3]]
    reads = [(p.buffer or 0, p.view) for p in places]
    more: Sequence[int] = (0,) * 4
    if bias:
        reads.append(steps.in_memory(bias[0]))
        more = reads[-1][1].strides
    params = (heads, blocks, block, length, k.shape[2], _scale(op), *strides, *more)
    at = [(b, view.offset * ITEM_BYTES[x.dtype]) for (b, view), x in zip(reads, (q, k, v, *bias), strict=True)]
    buffers = [*at[:3], *((b, 0) for b, _ in results), *at[3:]]
    work = 2 * n * heads * length * k.shape[2] * (width + v.shape[3])
    steps.add_step(kernel, buffers, params, n * heads * blocks, work, op.name, reads, results)
    for value, place in zip(node.outputs, results, strict=True):
        steps.where[value] = Location(*place)


def attend_backwards(steps: Steps, node: Node, op: AttentionGradient) -> None:
    """Append the steps that compute an AttentionGradient."""
    q, k, v, *bias = node.inputs[:-3]
    y, levels, g = node.inputs[-3:]
    n, heads, length, width = q.shape
    keys, value_width = v.shape[2:]
    places = {name: rows_in_memory(steps, x) for name, x in zip("qkvgy", (q, k, v, g, y), strict=True)}
    target = steps.host(op.name)
    kernels = {
        part: AttentionGradientKernel(
            *(part, q.dtype, product_of(q.dtype, target), bool(bias), op.causal, width, value_width),
            *(GRADIENT_KEYS, target.lanes, target.registers),
        )
        for part in ("turn", "sweep", "gather")
    }
    panel = kernels["turn"].panel
    panels, all_heads = -(-length // panel), n * heads
    groups = max(1, min(-(-GROUPED_TILES // max(all_heads, 1)), -(-keys // GRADIENT_KEYS)))
    memory = {
        name: steps.buffer(Type("float32", (*((groups,) if name == "sums" else ()), all_heads, panels, size)))
        for name, size in kernels["turn"].sizes.items()
    }
    results = dict(zip(("dq", "dk", "dv"), node.outputs, strict=True))
    for name, out in results.items():
        steps.where[out] = places[name] = _destination(steps, out, like(out.shape, places[name[1]].view))
    for name, x in (("levels", levels), *(("bias", x) for x in bias)):
        places[name] = Location(*steps.in_memory(x))
    for name, buffer in memory.items():
        places[name] = Location(buffer, EVERYWHERE)
    strides = [s for name in ("q", "k", "v", "g", "y", "dq", "dk", "dv") for s in places[name].view.strides[:3]]
    more = places["bias"].view.strides if bias else (0,) * 4
    params = heads, all_heads, panels, groups, length, keys, _scale(op), *strides, *more
    work = 5 * n * heads * length * keys * (width + value_width)
    written = {"turn": PANELS, "sweep": ("dk", "dv", "sums"), "gather": ("dq",)}
    tiles = {"turn": all_heads * panels, "sweep": all_heads * groups, "gather": all_heads * panels}
    size = {"float32": 4}.get(q.dtype, 2)
    for part, kernel in kernels.items():
        uses = {name: places[name] for name in kernel.buffers}
        item = {name: 4 if name in ("levels", "bias") else size for name in uses}
        offsets = {name: 0 if name in memory else p.view.offset * item[name] for name, p in uses.items()}
        buffers = [(p.buffer or 0, offsets[name]) for name, p in uses.items()]
        reads = [(p.buffer or 0, p.view) for name, p in uses.items() if name not in written[part]]
        writes = [(p.buffer or 0, p.view) for name, p in uses.items() if name in written[part]]
        steps.add_step(
            kernel, buffers, params, tiles[part], work if part == "sweep" else work // keys, op.name, reads, writes
        )


def _destination(steps: Steps, out: Value, layout: View) -> Location:
    """Where a result goes: rows may lie anywhere."""
    place = steps.destination(out, layout)
    if place.view.strides[-1] == 1 or out.shape[-1] == 1:
        return place
    return Location(steps.buffer(out.type), layout)


def _scale(op: Attention | AttentionGradient) -> int:
    """As a parameter. It stays above 0 in float32, because -inf times 0 would be NaN."""
    return float_bits(max(op.scale, SMALLEST))


def rows_in_memory(steps: Steps, x: Value) -> Location:
    """Where a value lies, with the elements of a row side by side."""
    buffer, view = steps.in_memory(x)
    if view.strides[-1] != 1 and x.shape[-1] > 1:
        return steps.materialise(x)
    return Location(buffer, view)


def like(shape: tuple[int, ...], view: View) -> View:
    """A dense layout with the order of the first dims that a view has; the last dim is the innermost."""
    strides, step = [0] * len(shape), 1
    order = sorted(range(len(shape) - 1), key=lambda d: -abs(view.strides[d]) if view.shape[d] > 1 else 0)
    for d in reversed([*order, len(shape) - 1]):
        strides[d] = step
        step *= max(shape[d], 1)
    return View(shape, tuple(strides))


def queries_of_block(panel: int, width: int) -> int:
    """At most so many queries are a block, whole panels, for so many numbers of each."""
    return max(min(MOST_QUERIES, SCRATCH // (4 * max(width, 1))) // panel, 1) * panel


def block_of(panel: int, most: int, heads: int, length: int) -> int:
    """Queries of a block: as many as may be, unless that leaves cores without work."""
    panels = max(min(most // panel, -(-length // panel)), 1)
    while panels > 1 and heads * -(-length // (panels * panel)) < TILES:
        panels = -(-panels // 2)
    return panels * panel
