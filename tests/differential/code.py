"""A program as Python code: what the modes run, and what a failure prints."""

from __future__ import annotations

import re
from collections.abc import Callable

from .optimizers import RULES
from .program import CALLS, Program, Source, laid_out, shown, values_text
from .table import ROWS
from .truth import trained

IMPORTS = """\
import io
import numpy as np
import tengen
import tengen.functional as F
from tengen import Parameter, Tensor
from tengen._rt import apply
from tengen.autodiff import GradManager
from tengen.core.ops import builtin, collective, fake_quant, precision, quantized
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.linalg import Linear
from tengen.core.ops.formula import Activation
from tengen.core.ops.loop import Scan
from tengen.core.ops.recurrent import RNNStep
from tengen.core.ops.reduce import Reduce
from tengen.jit import SublinearMemoryConfig, exclude_from_trace, fuse, load, trace
from tengen.optimizer import SGD, Adam
"""

#: mode → how the function is made of `f`; "fused" and "loaded" are made in other ways.
WRAPPED = {
    "eager": "",
    "traced": "f = trace(f)",
    "without host": "f = trace(f, without_host=True)",
    "limited": "f = trace(f, sublinear_memory_config=SublinearMemoryConfig(lb_memory_mb=0))",
    "fused": "",
    "loaded": "f = trace(f, capture_as_const=True)",
    "recorded": "f = trace(f, record_only=True)",
}
MODES = tuple(m for m in WRAPPED if m != "recorded")

Memory = Callable[[Source, int], str]
"""The expression of the array that a source's tensor is made of, in a call."""


def literal(source: Source, call: int) -> str:
    array, _ = laid_out(source, call)
    if array.size <= 64:
        return (
            f"np.array({shown(array, source.dtype)})"
            if array.ndim and array.size
            else f"np.full({array.shape}, {shown(array, source.dtype) if not array.ndim else 0})"
        )
    text = values_text(source, call)
    plain = laid_out(source, call)[1] == "{t}"
    return text if plain else f"np.array({shown(array, source.dtype)})" if array.size < 3000 else text


def made(source: Source, call: int, memory: Memory) -> str:
    """The expression of a source's tensor."""
    _, take = laid_out(source, call)
    text = take.format(t=f'Tensor({memory(source, call)}, dtype="{source.dtype}")')
    return f"Parameter({text})" if source.role == "parameter" else text


def setup(program: Program, memory: Memory) -> str:
    """What is there before the function is called."""
    lines = [f"{s.name} = {made(s, 0, memory)}" for s in program.state]
    if program.gradient and (params := trained(program)):
        lines.append("opt = " + RULES[program.gradient.optimizer].code.format(params=f"[{', '.join(params)}]"))
    return "\n".join(lines)


def function(program: Program, fused: bool = False) -> str:
    """The definition of `f`, with fused=True of `part` too."""
    gradient = program.gradient
    count = gradient.steps if gradient else len(program.steps)
    before = [ROWS[s.row].statement(s) for s in program.steps[:count]]
    after = [ROWS[s.row].statement(s) for s in program.steps[count:]]
    lines = []
    if fused:
        inputs, outputs = cut(program, count)
        lines += ["@fuse", f"def part({', '.join(inputs)}):", *_indented(before), f"    return {_tuple(outputs)}"]
        before = [f"{_tuple(outputs)} = part({', '.join(inputs)})"]
    lines.append(f"def f({', '.join(s.name for s in program.arguments)}):")
    changed = {n for s in program.steps for n in s.outs} & {s.name for s in program.state}
    if changed:
        lines.append(f"    global {', '.join(sorted(changed))}")
    if gradient:
        wrt = gradient.wrt
        before = [
            f"with GradManager().attach([{', '.join(wrt)}]) as gm:",
            *_indented([*before, f"gm.backward({gradient.y}, {gradient.dy})"]),
            *(f"g_{n} = F.zeros_like({n}) if {n}.grad is None else {n}.grad" for n in wrt),
            *(["opt.step()"] if trained(program) else []),
            " = ".join(f"{n}.grad" for n in wrt) + " = None",
        ]
    return "\n".join([*lines, *_indented([*before, *after, f"return {_tuple(program.outputs)}"])])


def cut(program: Program, count: int) -> tuple[list[str], list[str]]:
    """What the first `count` steps take from elsewhere, and which of their results are read after them."""
    gradient, later = program.gradient, set(program.outputs)
    later |= {n for s in program.steps[count:] for n in s.inputs} | ({gradient.y} if gradient else set())
    made = list(dict.fromkeys(n for s in program.steps[:count] for n in s.outs))
    inputs = list(dict.fromkeys(n for s in program.steps[:count] for n in s.inputs if n not in made))
    return inputs, [n for n in made if n in later]


def _tuple(names: tuple[str, ...] | list[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"


def _indented(lines: list[str]) -> list[str]:
    return [f"    {part}" for line in lines for part in line.splitlines()]


def eligible(program: Program, mode: str) -> bool:
    """Whether a program can be run in a mode."""
    changes = any(ROWS[s.row].changes for s in program.steps)
    reads = any(ROWS[s.row].reads for s in program.steps)
    random = any(s.row.startswith("random") for s in program.steps)
    sources = {s.name for s in program.sources}
    changed = {n for s in program.steps for n in s.outs} & sources
    if mode == "without host":
        return not reads
    if mode == "limited":
        return program.gradient is not None and not random
    if mode == "fused":
        count = program.gradient.steps if program.gradient else len(program.steps)
        inputs, outputs = cut(program, count)
        return not changes and not random and not reads and bool(inputs) and bool(outputs)
    if mode == "loaded":
        return (
            not changed
            and program.gradient is None
            and not random
            and not reads
            and not sources & set(program.outputs)
            and bool(program.arguments)
        )
    return True


def snippet(program: Program, mode: str, expected: str) -> str:
    """A script of plain tengen code that shows a failure."""
    lines = [
        *IMPORTS.splitlines(),
        "",
        setup(program, literal),
        "",
        function(program, mode == "fused"),
        WRAPPED[mode],
        "",
        "calls = [",
    ]
    for call in range(CALLS):
        lines.append(f"    [{', '.join(made(s, call, literal) for s in program.arguments)}],")
    lines += ["]", "for number, arguments in enumerate(calls):"]
    if program.touched:
        lines += ["    if number == 1:", *(f"        {n} *= 0.5" for n in program.touched)]
    if mode == "loaded":
        lines += [
            "    if number == 1:",
            "        file = io.BytesIO()",
            "        f.dump(file)",
            "        file.seek(0)",
            "        f = load(file)",
        ]
    lines += ["    print(f(*arguments))"]
    lines += [f"    print({s.name!r}, {s.name})" for s in program.state]
    text = "\n".join(lines) + "\n" + "".join(f"# {line}\n" for line in expected.splitlines())
    unused = [line for line in IMPORTS.splitlines() if not _used(line, text)]
    return "\n".join(line for line in text.splitlines() if line not in unused) + "\n"


def _used(line: str, text: str) -> bool:
    body = "\n".join(t for t in text.splitlines() if "import " not in t)
    names = [name.split()[-1] for name in line.rpartition("import ")[2].split(", ")]
    return any(re.search(rf"\b{name}\b", body) for name in names)
