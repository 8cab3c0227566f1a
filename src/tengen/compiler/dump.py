"""Writes what the compiler makes of a Program to files that people can read (the setting `dump`, TENGEN_DUMP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from . import cache
from .kernels.attention import PARAMETERS as ATTENTION_PARAMETERS
from .kernels.attention import AttentionKernel
from .kernels.attention_gradient import PARAMETERS as GRADIENT_PARAMETERS
from .kernels.attention_gradient import AttentionGradientKernel
from .kernels.block_product import BlockProduct
from .kernels.contraction import AMX_SIDE, SUM_PARAMETERS, ContractionKernel, SumKernel
from .kernels.device_sort import DeviceSort
from .kernels.epilogue import Epilogue
from .kernels.nest import Instr, Nest
from .kernels.nest_tiling import TILING_NAMES, NestSource
from .kernels.sort import PARAMETERS as SORT_PARAMETERS
from .kernels.sort import SortKernel
from .kernels.target import Target
from .kernels.window import Window
from .plan import DeviceLaunch, Launch, Plan
from .schedule.driver import Placement
from .schedule.groups import Group
from .schedule.steps import HostStep, Step

_number = count(1)


def write(folder: str, title: str, files: Mapping[str, str]) -> None:
    """One new folder for a Plan: what each step has made, and its kernels."""
    safe = "".join(c if c.isalnum() else "_" for c in title)
    place = Path(folder) / f"{next(_number):04d}_{safe}"
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text if text.endswith("\n") else text + "\n")


def show_kernels(sources: Sequence[Any], target: Target) -> dict[str, str]:
    """For each kernel its loop IR, LLVM IR and assembly, by the names of files."""
    files = {}
    for i, source in enumerate(sources):
        if isinstance(source, NestSource):
            files[f"kernel{i}.txt"] = show_nest(source.nest)
        elif isinstance(source, ContractionKernel):
            files[f"kernel{i}.txt"] = show_contraction(source)
        elif isinstance(source, BlockProduct):
            files[f"kernel{i}.txt"] = show_block_product(source)
        for suffix, text in cache.dump(source, target).items():
            files[f"kernel{i}.{suffix}"] = text
    return files


def show_groups(groups: Sequence[Group]) -> str:
    """The groups, one line each. A group becomes one kernel."""
    lines = []
    for number, group in enumerate(groups):
        reduced = f", reduces {list(group.axes)}" if group.axes else ""
        lines.append(f"group {number}: {list(group.shape)}{reduced}")
        lines += [f"  {', '.join(map(str, (v.type for v in node.outputs)))} = {node.op.name}" for node in group.nodes]
    return "\n".join(lines)


def show_steps(steps: Sequence[Step | HostStep]) -> str:
    """The steps, one line each, before buffers have a place."""
    lines = []
    for step in steps:
        reads, writes = ([buffer for buffer, _ in used] for used in (step.reads, step.writes))
        tiles = f", {step.tiles} tiles" if isinstance(step, Step) else ""
        lines.append(f"{step.name}: buffers {reads} -> {writes}{tiles}, work {step.work}")
    return "\n".join(lines)


def show_placement(placement: Placement | None) -> str:
    """Where each buffer lies, one line each."""
    assert placement is not None
    lines = [f"buffer {number}: slot {slot} + {at} bytes" for number, (slot, at) in enumerate(placement.slots)]
    lines += [f"output: buffer {buffer}, {view}" for buffer, view in placement.places]
    return "\n".join([*lines, *(f"buffer {b} may be input {i}" for b, i in placement.donated.items())])


def show_plan(plan: Plan, sources: Sequence[Any] = ()) -> str:
    """The steps of a Plan, one line each. sources: the kernels of its launches, in order; they know the names of their
    parameters."""
    kernels = iter(sources)
    lines = [f"inputs: {plan.inputs}", f"allocations (bytes): {list(plan.allocations)}"]
    for step in plan.steps:
        if isinstance(step, Launch):
            what = f"launch {step.name}: buffers {list(step.buffers)}, {step.tiles} tiles, work {step.work}"
            lines += [f"{what}, params {list(step.params)}", *_named(next(kernels, None), step.params)]
        elif isinstance(step, DeviceLaunch):
            where = f"grid {step.grid.grid}, block {step.grid.block}, work {step.work}"
            lines.append(f"launch {step.name}: buffers {list(step.buffers)}, {where}, params {list(step.grid.params)}")
            source = next(kernels, None)
            lines += _named(source, step.grid.params) if isinstance(source, DeviceSort) else []
        else:
            lines.append(f"call {step.name}: {[p.slot for p in step.inputs]} -> {[p.slot for p in step.outputs]}")
    lines += [f"output: slot {p.slot} + {p.offset} bytes, {p.type}, strides {p.strides}" for p in plan.outputs]
    lines += [f"slot {slot} may be the memory of input {i}" for slot, i in plan.donations]
    lines += [f"stage {name}: {1e3 * seconds:.3f} ms" for name, seconds in plan.stages]
    return "\n".join(lines)


def _named(source: Any, params: Sequence[int]) -> list[str]:
    """The parameters of a launch by name, one line per part. Parameters of a part that are 0 are left out."""
    named: list[tuple[str, Mapping[str, object]]] = []
    if isinstance(source, ContractionKernel):
        own = source.epilogue.numbers if source.epilogue else ()
        named = [("epilogue", dict(zip(own, params, strict=False)))] if own else []
        for number, part in enumerate(source.parts(params)):
            named.append((f"part {number}", {name: value for name, value in part._asdict().items() if value}))
    elif isinstance(source, NestSource):
        dims, tiling = source.nest.dims, len(params) - len(TILING_NAMES)
        named = [
            ("extents", {f"i{d}": extent for d, extent in enumerate(params[:dims])}),
            ("accesses", {"numbers": list(params[dims:tiling])}),
            ("tiling", dict(zip(TILING_NAMES, params[tiling:], strict=True))),
        ]
    elif isinstance(source, SumKernel):
        named = [("sum", dict(zip(SUM_PARAMETERS, params, strict=True)))]
    elif isinstance(source, DeviceSort):
        named = [(f"sort, {source.step}", dict(zip(source.numbers, params, strict=True)))]
    elif isinstance(source, SortKernel):
        named = [("sort", dict(zip(SORT_PARAMETERS, params, strict=True)))]
    elif isinstance(source, AttentionKernel):
        named = [("attention", dict(zip(ATTENTION_PARAMETERS, params, strict=True)))]
    elif isinstance(source, AttentionGradientKernel):
        named = [(f"attention, {source.part}", dict(zip(GRADIENT_PARAMETERS, params, strict=True)))]
    return [f"  {title}: " + " ".join(f"{name}={value}" for name, value in of.items()) for title, of in named]


def show_nest(nest: Nest) -> str:
    """A loop nest as text."""
    kinds = ["kept" if d < nest.kept else "reduced" for d in range(nest.dims)]
    roles = {nest.lane: ", lanes", nest.cross: ", across", nest.interleaved and nest.interleaved[0]: ", interleaved"}
    dims = [f"i{d} {kind}{roles.get(d, '')}" for d, kind in enumerate(kinds)]
    lines = [
        "dims: " + "; ".join(dims) + (f"; serial from i{nest.serial_from}" if nest.serial_from is not None else "")
    ]
    for number, access in enumerate(nest.accesses):
        extra = f", {len(access.bounds)} bounds, fill {access.fill}" if access.bounds else ""
        lines.append(
            f"buffer {number}: {access.dtype} steps {' '.join(access.steps)}{extra}"
            + (f", {access.indirect} indices" if access.indirect else "")
        )
    lines += [f"%{value} waits in buffer {access}" for value, access in nest.spills]
    lines += [f"i{dim} ends at %{value}" for dim, value in nest.ends]
    return "\n".join([*lines, *_code(nest.code)])


FORMULAS = {
    "broadcast": "C[m, n] = sum over k of A[m, k] * B[k, n]",
    "columns": "C[m, n] = sum over k of A[m, k, n] * B[k, n]",
    "steps": "C[m, n] = sum over k of A[m, k] * B[k, n], whose lanes are steps of k",
}
BEGINS = {
    ("registers", "zeros"): "0",
    ("registers", "result"): "C",
    ("blocked", "zeros"): "0 in the first block, C after it",
    ("blocked", "result"): "C",
}


def show_contraction(kernel: ContractionKernel) -> str:
    """A contraction as text: its operands, its loops and what its epilogue does."""
    moves = {"1": "side by side", "n": "as a parameter says", "panel": "a row of the panel"}
    across = (
        "pixels of a window" if kernel.window else f"rows {moves[kernel.a_rows]}, steps of k {moves[kernel.a_steps]}"
    )
    tile = f"{kernel.rows} rows x {kernel.vectors} vectors of {kernel.lanes} lanes"
    registers = f", in {kernel.rows // AMX_SIDE} x {kernel.vectors} registers of AMX" if kernel.amx else ""
    lines = [
        FORMULAS[kernel.a_form],
        f"A: {kernel.a}, {kernel.a_form}; {across}",
        f"B: {kernel.b}, {kernel.b_panels}; steps of k {moves[kernel.b_steps]}",
        f"C: {kernel.c}; the last panel is {'whole' if kernel.last_panel == 'whole' else 'a part of one'}",
        f"register tile: {tile}, {kernel.product} products of {kernel.sum_dtype}{registers}",
    ]
    if kernel.window:
        lines.append(_window(kernel.window))
    lines += _contraction_loops(kernel)
    if kernel.epilogue:
        lines += [f"epilogue, with channels along the {kernel.channels}:", show_epilogue(kernel.epilogue)]
    return "\n".join(lines)


def _window(window: Window) -> str:
    down, across = (f"{len(side.sees)} of {side.taps} taps" for side in (window.down, window.across))
    return f"window: results of a tile {down} down, {across} across" + (", by weight" if window.by_weight else "")


def _contraction_loops(kernel: ContractionKernel) -> list[str]:
    """The loops, one line each, and the body of the innermost ones."""
    outside = 2 if kernel.blocked else 1
    names = [f"k{i}" for i in range(outside, outside + kernel.k_loops)]
    unrolled = f", {kernel.unroll} steps a turn" * (kernel.unroll > 1)
    unrolled += f", {kernel.sum_steps} steps summed on their own" * (kernel.sum_steps > 0)
    lines = ["for each launch tile: of b0, b1, splits of k, groups of panels, blocks of rows"]
    for text in (
        *(["for each block of k: of k0, k1, k2 by k2_block"] if kernel.blocked else []),
        f"for each panel of {kernel.panel} columns",
        f"for each {kernel.rows} rows",
    ):
        lines.append("  " * len(lines) + text)
    indent = "  " * len(lines)
    lines.append(f"{indent}sums = {BEGINS[kernel.sums, kernel.begin]}")
    lines.append(f"{indent}for {', '.join(names)}{unrolled}: sums += A * B")
    folded = "fold(sums)" if kernel.folded else "sums"
    lines.append(f"{indent}C = {f'epilogue({folded})' if kernel.epilogue else folded}")
    return lines


def show_block_product(kernel: BlockProduct) -> str:
    """A sum of products on a GPU as text: its operands, its tile and what its epilogue does."""
    tile = kernel.tile
    lines = ["C[b, r, c] = sum over k of X[b, r, k] * Y[b, k, c]"]
    for name, operand, loops, _ in kernel.operands:
        along = "k" if operand.along_k else f"its {loops}s"
        lines.append(
            f"{name.upper()}: {operand.dtype}, {operand.loops} loops over its {loops}s, {operand.edges} edges; threads along "
            f"{along}, {operand.width} elements a copy"
        )
    lines.append(f"C: {kernel.c}; {kernel.batch} batch loops, {kernel.k} loops over k, sums of {kernel.sums}")
    lines.append(
        f"tile: {tile.rows} x {tile.columns}, {tile.depth} steps of k at a time, {tile.threads} threads with "
        f"{tile.thread_rows} x {tile.thread_columns} sums each"
    )
    if kernel.epilogue:
        channels = "rows" if kernel.channel_rows else "columns"
        lines += [f"epilogue, with channels along the {channels}:", show_epilogue(kernel.epilogue)]
    return "\n".join(lines)


def show_epilogue(epilogue: Epilogue) -> str:
    """The epilogue of a contraction as text."""
    kinds = ("a number", "along the channels", "of the result's size")
    lines = [
        f"source {number}: {source.dtype}, {'the sums' if source.is_sum else kinds[source.along]}"
        for number, source in enumerate(epilogue.sources)
    ]
    sums = [f"sum over rows: %{x.value}" + (", squares too, about a shift" if x.shifted else "") for x in epilogue.sums]
    return "\n".join([*lines, *_code(epilogue.code), f"result: %{epilogue.result} as {epilogue.dtype}", *sums])


def _code(code: Sequence[Instr]) -> list[str]:
    lines = []
    for number, instr in enumerate(code):
        args = ", ".join(f"%{a}" for a in instr.args)
        attr = f"  [{instr.attr}]" if instr.attr is not None else ""
        lines.append(f"%{number} = {instr.op}({args}) : {instr.dtype}{attr}")
    return lines
