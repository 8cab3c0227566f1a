"""Elementary functions for kernels: `FUNCTIONS[name](*vectors)` emits LLVM IR at their builder and returns the result.

float32 functions are polynomials without branches on single lanes, within 2 units in the last place (ULP) of the true
value (`normcdf`: 2**-23 absolutely) for every input, with the values and signs of C99's annex F at zeros, infinities and nan, and with subnormal
numbers. Where float32 arithmetic cannot give that, they compute in float64 lanes. They use no fast-math and no
instruction that rounds differently elsewhere, so the bits are the same on every target and for every vector width.
float64 functions call the C library lane by lane. Coefficients come from `tools/fit_polynomials.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..vector import Vec
from . import exponential, hyperbolic, rounding, special, trigonometric
from .libm import per_lane
from .power import pow_f32
from .random import philox

__all__ = ["FUNCTIONS", "philox"]

Emitter = Callable[..., Vec]


def _by_kind(name: str, **emitters: Emitter) -> Emitter:
    """One emitter that chooses by the kind of its first argument."""

    def emit(*args: Vec) -> Vec:
        emitter = emitters.get(args[0].kind)
        if emitter is None:
            raise TypeError(f"{name} is not defined for {args[0].kind}, only for {', '.join(emitters)}")
        return emitter(*args)

    return emit


def _rsqrt(x: Vec) -> Vec:
    return 1.0 / x.sqrt()


def _table() -> dict[str, Emitter]:
    float32: dict[str, Emitter] = {
        "exp": exponential.exp,
        "expm1": exponential.expm1,
        "log": exponential.log,
        "log1p": exponential.log1p,
        "tanh": exponential.tanh,
        "sin": trigonometric.sin,
        "cos": trigonometric.cos,
        "tan": trigonometric.tan,
        "asin": trigonometric.asin,
        "acos": trigonometric.acos,
        "atan": trigonometric.atan,
        "atan2": trigonometric.atan2,
        "sinh": hyperbolic.sinh,
        "cosh": hyperbolic.cosh,
        "asinh": hyperbolic.asinh,
        "acosh": hyperbolic.acosh,
        "atanh": hyperbolic.atanh,
        "erf": special.erf,
        "pow": pow_f32,
    }
    both: dict[str, tuple[Emitter, Emitter]] = {name: (emit, per_lane(name)) for name, emit in float32.items()}
    both["fmod"] = rounding.fmod_f32, per_lane("fmod")
    both["exp_nonpositive"] = exponential.exp_nonpositive, per_lane("exp")
    both["sigmoid"] = exponential.sigmoid, exponential.sigmoid_f64
    both["softplus"] = exponential.softplus, exponential.softplus_f64
    both["normcdf"] = special.normcdf, special.normcdf_f64
    both["erfc"] = special.erfc, per_lane("erfc")
    both["erfcinv"] = special.erfcinv, special.erfcinv_f64
    both["erfinv"] = special.erfinv, special.erfinv_f64
    both["rsqrt"] = _rsqrt, _rsqrt
    table = {name: _by_kind(name, f32=f32, f64=f64) for name, (f32, f64) in both.items()}

    divide, modulo = rounding.float_floor_div(table["fmod"]), rounding.float_mod(table["fmod"])
    table["floor_div"] = _by_kind(
        "floor_div", f32=divide, f64=divide, i32=rounding.floor_div_i32, i64=rounding.floor_div_i64
    )
    table["mod"] = _by_kind("mod", f32=modulo, f64=modulo, i32=rounding.mod_i32, i64=rounding.mod_i64)
    for name, floats, ints in (
        ("sign", rounding.float_sign, rounding.int_sign),
        ("round", rounding.float_round, rounding.int_round),
    ):
        table[name] = _by_kind(name, f32=floats, f64=floats, i32=ints, i64=ints)
    return table


FUNCTIONS: dict[str, Emitter] = _table()
