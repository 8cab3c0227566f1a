"""Runs a program in tengen, in each mode, and says where what it gives is not the truth or differs between modes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tengen
from tengen.jit import load

from .code import IMPORTS, MODES, WRAPPED, eligible, function, made, setup
from .compare import agree, equal
from .dtypes import INTS, Array
from .program import CALLS, Program, Source, laid_out
from .table import ROWS
from .truth import Known, Outcome, run_inexact
from .truth import run as run_truth

REFUSALS = ("OverflowError", "ValueError", "TypeError")


class Failure(NamedTuple):
    """What is wrong in one mode: `kind` is short and stays the same while a program shrinks, `text` tells all."""

    mode: str
    kind: str
    text: str


class Result(NamedTuple):
    """What one call left: as arrays in their dtype, or the class of the error and its message."""

    results: dict[str, tuple[str, Array]]
    state: dict[str, tuple[str, Array]]
    error: str | None = None
    message: str = ""


def array_of(tensor: Any) -> tuple[str, Array]:
    """dtype and a copy of the elements; float64 for floats that NumPy does not have."""
    return tensor.desc.dtype, np.array(tensor.numpy())


class Run:
    """One program in one mode."""

    def __init__(self, program: Program, mode: str):
        self.program, self.mode, self.count = program, mode, 0
        self.kept: dict[str, Any] = {}
        self.names: dict[str, Any] = {}
        exec(IMPORTS, self.names)
        self.names["memory"] = self._memory
        tengen.random.seed(7)
        exec(setup(program, self._text), self.names)
        exec(function(program, mode == "fused") + "\n" + WRAPPED[mode], self.names)

    def _text(self, source: Source, call: int) -> str:
        return f"memory({source.name!r}, {call})"

    def _memory(self, name: str, call: int) -> Array:
        source = self.program.source(name)
        assert source is not None
        array, _ = laid_out(source, call)
        return array.astype(source.dtype) if source.dtype != "bfloat16" else array.astype(np.float32)

    def all(self) -> list[Result]:
        """What each call gives, up to the first that raises an error."""
        found, first = list[Result](), dict[str, Any]()
        for call in range(CALLS):
            result = self._call(call, first)
            found.append(result)
            if result.error:
                return found
        for name, tensor in first.items():
            found[0].results[f"{name} of the first call, read at the end"] = array_of(tensor)
        return found

    def _call(self, call: int, first: dict[str, Any]) -> Result:
        names = self.names
        arguments = [eval(made(s, call, self._text), names) for s in self.program.arguments]
        if call == 1:
            for name in self.program.touched:
                names[name] *= 0.5
            if self.mode == "loaded":
                file = io.BytesIO()
                names["f"].dump(file)
                file.seek(0)
                names["f"] = load(file)
        try:
            returned = names["f"](*arguments)
            if not isinstance(returned, tuple):
                returned = (returned,)
            results = dict(zip(self.program.outputs, returned, strict=True))
            if call == 0:
                first.update({n: t for n, t in results.items() if self.program.source(n) is None})
            tensors = {
                **{s.name: names[s.name] for s in self.program.state},
                **{s.name: t for s, t in zip(self.program.arguments, arguments, strict=True)},
            }
            return Result({n: array_of(t) for n, t in results.items()}, {n: array_of(t) for n, t in tensors.items()})
        except Exception as raised:
            return Result({}, {}, type(raised).__name__, f"{type(raised).__name__}: {raised}")


def check(program: Program, modes: Sequence[str] = MODES) -> list[Failure]:
    """All failures of a program."""
    wanted = run_truth(program)
    strict = not run_inexact[0] and not _narrow(program) and program.gradient is None
    failures: list[Failure] = []
    base: list[Result] | None = None
    for mode in ("eager", *(m for m in modes if m != "eager")):
        if not eligible(program, mode):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = Run(program, mode).all()
            except Exception as raised:  # of the setup, which is never wrong
                failures.append(Failure(mode, f"setup {type(raised).__name__}", repr(raised)))
                continue
        if base is None:
            base = found
            refused = next((r for r in found if r.error), None)
            if refused and _may_refuse(program, refused.error):
                return failures
        failure = _judged(program, mode, found, wanted, base if mode != "eager" else None, strict)
        if failure is not None:
            failures.append(failure)
    return failures


def _may_refuse(program: Program, error: str | None) -> bool:
    """Numbers that do not fit the integers that they meet may be refused, and dtypes by operations of which nothing is known."""
    odd = any(_beyond(dict(s.params)) for s in program.steps)
    return (odd or _unknown(program)) and error in REFUSALS


def _unknown(program: Program) -> bool:
    return any(ROWS[s.row].truth is None for s in program.steps)


def _beyond(params: dict[str, Any]) -> bool:
    """Whether a step has a Python int that the integers beside it do not hold."""
    number, dtype = params.get("number"), params.get("of")
    return isinstance(number, int) and dtype in INTS and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _narrow(program: Program) -> bool:
    """Whether some value is a float that is stored with fewer digits than kernels compute with."""
    return any(s.dtype in ("float16", "bfloat16") for s in program.sources) or any(
        "float16" in map(str, dict(s.params).values()) for s in program.steps
    )


def _judged(
    program: Program,
    mode: str,
    found: Sequence[Result],
    wanted: Sequence[Outcome],
    base: Sequence[Result] | None,
    strict: bool,
) -> Failure | None:
    for call, result in enumerate(found):
        truth = wanted[call] if call < len(wanted) else None
        error = base[call].error if base is not None and call < len(base) else truth.error if truth else None
        if result.error != error and result.error in REFUSALS and _unknown(program):
            return None  # a trace refuses a dtype at the call, before it finds that an index is wrong
        if result.error != error:
            kind = f"raises {' '.join(result.message.split()[:2])}" if result.error else f"does not raise {error}"
            return Failure(mode, kind, f"call {call}: {result.message or 'no error'}; expected {error or 'none'}")
        if result.error or truth is None:
            return None
        for place in ("results", "state"):
            values, knowns = getattr(result, place), getattr(truth, place)
            others = getattr(base[call], place) if base is not None else {}
            for name, (dtype, array) in values.items():
                known: Known | None = knowns.get(name.partition(" ")[0])
                wrong = agree(dtype, array, known) if known is not None else None
                if wrong is None and name in others and _comparable(program, mode, known):
                    wrong = equal(array, others[name][1], exact=strict, known=known)
                    wrong = wrong and f"differs from eager: {wrong}"
                if wrong:
                    later = " changes later" if " of the first" in name else ""
                    what = " " + wrong.split()[2] if wrong.startswith("has the") else ""
                    kind = (
                        ("state" if place == "state" else "gradient" if name.startswith("g_") else "result")
                        + what
                        + later
                    )
                    return Failure(mode, kind, f"call {call}: {name} {wrong}")
    return None


def _comparable(program: Program, mode: str, known: Known | None) -> bool:
    """Whether the values must be those of eager mode: of what is not known, if no random numbers are drawn in another order."""
    return (
        known is not None
        or mode in ("traced", "without host")
        or not any(s.row.startswith("random") for s in program.steps)
    )
