"""Elementary functions for kernels: `emitter(name)(*vectors)` emits LLVM IR at their builder and returns the result.

Functions are polynomials without branches on single lanes. They have the values and signs of C99's annex F at zeros,
infinities and nan, and subnormal numbers. float32 functions are within 2 units in the last place (ULP) of the true
value for every input (`normcdf`: 2**-23 absolutely); where float32 arithmetic is not enough for that, they compute in
float64 lanes. float64 functions (modules `*_f64`) are within 1 ULP, `pow` and `rsqrt` within 1.5, `erfinv` and `erfcinv` within 2;
where float64 is not enough, they compute with pairs of numbers (`pairs`). They use no fast-math, no C library and no
instruction that rounds differently on another machine, so results are bit for bit the same on every target, CPU or GPU,
and for every vector width. Coefficients come from `tools/fit_polynomials.py`.

The emitter for float32 has the name of the function; emitters for other kinds add the kind: `sigmoid`, `sigmoid_f64`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...kernels.functions import FUNCTIONS
from ..vector import Vec
from . import (
    exponential,
    exponential_f64,
    hyperbolic,
    hyperbolic_f64,
    power,
    rounding,
    special,
    special_f64,
    trigonometric,
    trigonometric_f64,
)
from .random import philox

__all__ = ["emitter", "philox"]

Emitter = Callable[..., Vec]
MODULES = {
    "exponential": vars(exponential) | vars(exponential_f64),
    "hyperbolic": vars(hyperbolic) | vars(hyperbolic_f64),
    "power": vars(power),
    "rounding": vars(rounding),
    "special": vars(special) | vars(special_f64),
    "trigonometric": vars(trigonometric) | vars(trigonometric_f64),
}


@cache
def emitter(name: str) -> Emitter:
    """The emitter of the function `name` of FUNCTIONS. It raises TypeError for vectors of a kind that the function is
    not defined for."""
    code = FUNCTIONS[name].code
    if not isinstance(code, str):
        return code
    module, _, stem = code.partition(".")
    found = MODULES[module]
    emitters: dict[str, Emitter] = {"f32": found[stem], "f64": found[f"{stem}_f64"]}
    emitters |= {kind: found[f"{stem}_{kind}"] for kind in ("i32", "i64") if f"{stem}_{kind}" in found}

    def emit(*args: Vec) -> Vec:
        kind = args[0].kind
        if kind not in emitters:
            raise TypeError(f"{name} is not defined for {kind}, only for {', '.join(emitters)}")
        return emitters[kind](*args)

    return emit
