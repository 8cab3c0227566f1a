"""Elementary functions for kernels: `emitter(name)(*vectors)` emits LLVM IR at their builder and returns the result.

float32 functions are polynomials without branches on single lanes, within 2 units in the last place (ULP) of the true
value (`normcdf`: 2**-23 absolutely) for every input, with the values and signs of C99's annex F at zeros, infinities and nan, and with subnormal
numbers. Where float32 arithmetic is not enough for that, they compute in float64 lanes. They use no fast-math, and no
instruction that rounds differently on another machine, so results are bit for bit the same on every target and for
every vector width. float64 functions call the C library lane by lane, except for remainders. Coefficients come from
`tools/fit_polynomials.py`.

The emitter for float32 has the name of the function; emitters for other kinds add the kind: `sigmoid`, `sigmoid_f64`. A
function that the C library has under this name needs no emitter for float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...kernels.functions import FUNCTIONS
from ..vector import Vec
from . import exponential, hyperbolic, power, rounding, special, trigonometric
from .libm import call, per_lane
from .polynomial import horner
from .random import philox

__all__ = ["call", "emitter", "horner", "philox"]

Emitter = Callable[..., Vec]
MODULES = {
    "exponential": exponential, "hyperbolic": hyperbolic, "power": power, "rounding": rounding, "special": special,
    "trigonometric": trigonometric,
}  # fmt: skip


@cache
def emitter(name: str) -> Emitter:
    """The emitter of the function `name` of FUNCTIONS. It raises TypeError for vectors of a kind that the function is
    not defined for."""
    code = FUNCTIONS[name].code
    if not isinstance(code, str):
        return code
    module, _, stem = code.partition(".")
    found = vars(MODULES[module])
    emitters: dict[str, Emitter] = {"f32": found[stem], "f64": found.get(f"{stem}_f64") or per_lane(stem)}
    emitters |= {kind: found[f"{stem}_{kind}"] for kind in ("i32", "i64") if f"{stem}_{kind}" in found}

    def emit(*args: Vec) -> Vec:
        kind = args[0].kind
        if kind not in emitters:
            raise TypeError(f"{name} is not defined for {kind}, only for {', '.join(emitters)}")
        return emitters[kind](*args)

    return emit
