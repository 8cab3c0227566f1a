"""Makes a failing program small: fewer steps, smaller shapes, plain layouts, as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import numpy as np

from .dtypes import FLOATS
from .program import Gradient, Program, Source, Step, data
from .table import ROWS
from .truth import Machine, run

Fails = Callable[[Program], bool]


def shrink(program: Program, fails: Fails, seconds: float = 60.0) -> Program:
    """The smallest program that was found to fail within so many seconds."""
    end = monotonic() + seconds
    errors = {o.error for o in run(program, versions=1)}
    moved = True
    while moved:
        moved = False
        for propose in (_without_steps, _without_parts, _plainer, _smaller):
            again = True
            while again:
                again = False
                for candidate in propose(program):
                    if monotonic() > end:
                        return program
                    if candidate != program and _valid(candidate, errors) and fails(candidate):
                        program, moved, again = candidate, True, True
                        break
    return program


def _valid(program: Program, errors: set[str | None]) -> bool:
    """Whether the truth can run it, and raises nothing that the program did not raise before."""
    try:
        return {o.error for o in run(program, versions=1)} <= errors | {None}
    except Exception:
        return False


def clean(program: Program) -> Program:
    """Without steps and sources that nobody needs."""
    needed, gradient = set(program.outputs), program.gradient
    kept: list[Step] = []
    recorded = 0
    if gradient is not None and not (
        any(f"g_{n}" in needed for n in gradient.wrt) or gradient.optimizer or _reads(program, gradient)
    ):
        gradient = None
    state = {s.name for s in program.sources}
    for number in reversed(range(len(program.steps))):
        step = program.steps[number]
        if gradient is not None and number == gradient.steps - 1:
            needed |= {gradient.y, gradient.dy, *gradient.wrt}
        if needed & set(step.outs) or state & set(step.outs):
            kept.append(step)
            needed |= set(step.inputs)
            recorded += gradient is not None and number < gradient.steps
    if gradient is not None:
        needed |= {gradient.y, gradient.dy, *gradient.wrt}
        gradient = gradient._replace(steps=recorded)
    sources = tuple(s for s in program.sources if s.name in needed)
    names = {s.name for s in sources}
    return Program(
        sources, tuple(reversed(kept)), program.outputs, gradient, tuple(t for t in program.touched if t in names)
    )


def _reads(program: Program, gradient: Gradient) -> bool:
    return any(n.startswith("g_") for s in program.steps[gradient.steps :] for n in s.inputs)


def _without_steps(program: Program) -> Iterator[Program]:
    """Without results, and with one step less; what it made becomes an argument, or what it was made of."""
    for name in program.outputs:
        if len(program.outputs) > 1:
            yield clean(program._replace(outputs=tuple(o for o in program.outputs if o != name)))
    for number in reversed(range(len(program.steps))):
        step = program.steps[number]
        rest = program.steps[:number] + program.steps[number + 1 :]
        gradient = program.gradient
        if gradient is not None and number < gradient.steps:
            gradient = gradient._replace(steps=gradient.steps - 1)
        shorter = program._replace(steps=rest, gradient=gradient)
        made = step.outs[: ROWS[step.row].results]
        if not made:
            yield clean(shorter)
            continue
        before = tuple(n for n in step.inputs if program.source(n) is None)
        if set(made) & set(program.outputs):
            yield clean(
                shorter._replace(
                    outputs=tuple(dict.fromkeys([*(o for o in program.outputs if o not in made), *before]))
                    or program.outputs[:0]
                )
            )
        for name in step.inputs:
            yield clean(_renamed(shorter, made[0], name))
        types = _types(program)
        if all(m in types for m in made):
            sources = tuple(
                Source(
                    f"a{100 + int(m[1:])}",
                    "argument",
                    *types[m],
                    ("plain",) * 3,
                    "grid" if types[m][1] in FLOATS else "mask",
                    5,
                )
                for m in made
            )
            cut = shorter._replace(sources=program.sources + sources)
            for m, source in zip(made, sources, strict=True):
                cut = _renamed(cut, m, source.name)
            yield clean(cut)


def _renamed(program: Program, old: str, new: str) -> Program:
    """Another variable in the place of one; results that would be sources are dropped."""

    def name(n: str) -> str:
        return new if n == old else n

    steps = tuple(s._replace(inputs=tuple(map(name, s.inputs)), outs=tuple(map(name, s.outs))) for s in program.steps)
    outputs = tuple(o for o in program.outputs if o != old)
    gradient = program.gradient and program.gradient._replace(y=name(program.gradient.y))
    return program._replace(steps=steps, outputs=outputs, gradient=gradient)


def _types(program: Program) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of the variables, as far as they are known."""
    machine = Machine(0, 1)
    for source in program.sources:
        machine.put(source.name, data(source, 0), source.dtype)
        machine.put(f"g_{source.name}", data(source, 0), source.dtype)
    with np.errstate(all="ignore"):
        for step in program.steps:
            try:
                machine.run(step)
            except Exception:
                break
    return {n: (tuple(k.shape), k.dtype) for n, k in machine.names.items() if k is not None}


def _without_parts(program: Program) -> Iterator[Program]:
    if program.gradient is not None:
        yield clean(
            program._replace(gradient=None, outputs=tuple(o for o in program.outputs if not o.startswith("g_")))
        )
        if program.gradient.optimizer:
            yield clean(program._replace(gradient=program.gradient._replace(optimizer="")))
        for name in program.gradient.wrt:
            rest = tuple(n for n in program.gradient.wrt if n != name)
            if rest:
                yield clean(
                    program._replace(
                        gradient=program.gradient._replace(wrt=rest),
                        outputs=tuple(o for o in program.outputs if o != f"g_{name}"),
                    )
                )
    if program.touched:
        yield program._replace(touched=())


def _changed(program: Program, number: int, source: Source) -> Program:
    return program._replace(sources=(*program.sources[:number], source, *program.sources[number + 1 :]))


def _plainer(program: Program) -> Iterator[Program]:
    for number, source in enumerate(program.sources):
        if set(source.layouts) != {"plain"}:
            yield _changed(program, number, source._replace(layouts=("plain",) * 3))
            yield _changed(program, number, source._replace(layouts=source.layouts[:1] * 3))
        if source.role == "parameter":
            yield _changed(program, number, source._replace(role="outside"))
        if source.dtype in FLOATS and source.values != "grid":
            yield _changed(program, number, source._replace(values="grid"))
        if source.dtype in FLOATS and source.dtype != "float32":
            yield _changed(program, number, source._replace(dtype="float32"))


def _smaller(program: Program) -> Iterator[Program]:
    """With one extent smaller, in every source, or in one."""
    extents = sorted({e for s in program.sources for e in s.shape if e > 1}, reverse=True)
    for extent in extents:
        for less in sorted({1, 2, 3, extent // 2, extent - 1} & set(range(1, extent))):
            yield program._replace(
                sources=tuple(
                    s._replace(shape=tuple(less if e == extent else e for e in s.shape)) for s in program.sources
                )
            )
    for number, source in enumerate(program.sources):
        for axis, extent in enumerate(source.shape):
            for less in sorted({1, 2, extent // 2} & set(range(1, extent))):
                yield _changed(
                    program, number, source._replace(shape=(*source.shape[:axis], less, *source.shape[axis + 1 :]))
                )
