"""Fit the polynomials of `tengen.compiler.vecmath` and print their coefficients, lowest order first.

Each row of FITS is a weighted minimax problem: make max |weight(x) * (target(x) - p(x))| over an interval small. The
weight is chosen so that the printed error is that of the whole function relative to its value. The solver is Lawson's
iteration (C. L. Lawson, 1961): least squares on Chebyshev nodes, reweighted by the size of the error until the error
has equal peaks. Coefficients are rounded one by one to the precision in which the kernel holds them, lowest first, and
the rest fitted again, so that rounding costs almost nothing.

    python tools/fit_polynomials.py [name ...]          needs numpy and mpmath
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 40
Real = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """One problem: a polynomial of `degree` for `target` on `interval`, its coefficients held as "f32" or "f64".

    "exact": as float64, for float64 functions. Least squares in float64 would lose the last bits, so the polynomial is the one that meets
    the target at Chebyshev's nodes, found in 60 digits, which is nearly as good. The last number printed is what the rounding of the
    first coefficient has lost.
    """

    target: Real
    weight: Real
    interval: tuple[float, float]
    degree: int
    precision: str


def _odd(function: Real) -> tuple[Real, Real]:
    """target and weight in u = x*x for function(x) = x + x**3 * p(u)."""

    def target(u: mp.mpf) -> mp.mpf:
        x = mp.sqrt(u)
        return (function(x) - x) / x**3

    return target, lambda u: mp.sqrt(u) ** 3 / function(mp.sqrt(u))


def _erfinv_middle(w: mp.mpf) -> mp.mpf:
    """erfinv(x) / x as a function of w = -log(1 - x*x)."""
    x = mp.sqrt(-mp.expm1(-w))
    return mp.erfinv(x) / x


def _erfcx_mapped(t: mp.mpf) -> mp.mpf:
    """(x + 1) * exp(x*x) * erfc(x) at t = (x - 4) / (x + 4), for all x >= 0."""
    if t == 1:
        return 1 / mp.sqrt(mp.pi)
    x = 4 * (1 + t) / (1 - t)
    if x < 50:
        return (x + 1) * mp.exp(x * x) * mp.erfc(x)
    series = mp.fsum((-1) ** n * mp.fac2(2 * n - 1) / (2 * x * x) ** n for n in range(20))
    return (x + 1) / x * series / mp.sqrt(mp.pi)


LN2, PI = float(mp.log(2)), float(mp.pi)
ROOT = (float(mp.sqrt(0.5)) - 1, float(mp.sqrt(2)) - 1)

FITS = {
    # e**r = 1 + r + r*r*p(r)
    "exp_wide": Fit(lambda r: (mp.exp(r) - 1 - r) / r**2, lambda r: r**2 / mp.exp(r), (-LN2, LN2), 5, "f32"),
    "exp": Fit(lambda r: (mp.exp(r) - 1 - r) / r**2, lambda r: r**2 / mp.exp(r), (-LN2 / 2, LN2 / 2), 4, "f32"),
    # e**r - 1 = r + r*r*p(r), relative to itself
    "expm1": Fit(lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / mp.expm1(r), (-LN2 / 2, LN2 / 2), 5, "f32"),
    # (1 - e**(-2r)) / 2 = r + r*r*p(r)
    "tanh": Fit(
        lambda r: (-mp.expm1(-2 * r) / 2 - r) / r**2,
        lambda r: -2 * r**2 / mp.expm1(-2 * r),
        (-LN2 / 4, LN2 / 4),
        4,
        "f32",
    ),
    # 2**f = 1 + f * p(f)
    "exp2": Fit(lambda f: (2**f - 1) / f, lambda f: f / 2**f, (-0.5, 0.5), 4, "f32"),
    # log(1 + f) = f - f*f/2 + f**3 * p(f)
    "log": Fit(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, lambda f: f**3 / mp.log1p(f), ROOT, 7, "f32"),
    # log(1 + z) = z + z*z*p(z)
    "log1p_unit": Fit(lambda z: (mp.log1p(z) - z) / z**2, lambda z: z**2 / mp.log1p(z), (0, 1), 8, "f32"),
    "sin": Fit(*_odd(mp.sin), (0, (PI / 4) ** 2), 2, "f32"),
    # cos(r) = 1 - u/2 + u*u*p(u)
    "cos": Fit(
        lambda u: (mp.cos(mp.sqrt(u)) - 1 + u / 2) / u**2,
        lambda u: u**2 / mp.cos(mp.sqrt(u)),
        (0, (PI / 4) ** 2),
        2,
        "f32",
    ),
    "asin": Fit(*_odd(mp.asin), (0, 0.25), 4, "f32"),
    "atan": Fit(*_odd(mp.atan), (0, 1), 7, "f32"),
    # erf(x) = x + x * p(x*x) for x < 1
    "erf_small": Fit(
        lambda u: mp.erf(mp.sqrt(u)) / mp.sqrt(u) - 1, lambda u: mp.sqrt(u) / mp.erf(mp.sqrt(u)), (0, 1), 6, "f32"
    ),
    # 1 - erf(x) = 2**(-x * p(x)) for 1 <= x < 4
    "erf_large": Fit(
        lambda x: -mp.log(mp.erfc(x), 2) / x, lambda x: mp.erfc(x) * x * mp.log(2) / mp.erf(x), (0.99, 3.95), 6, "f32"
    ),
    # normcdf(x) = 1 - (1 - p(x))**8, absolute, or relative to 1 / x for the sake of x * normcdf(-x)
    "normcdf": Fit(
        lambda x: 1 - mp.ncdf(-x) ** 0.125, lambda x: 8 * mp.ncdf(-x) ** 0.875 * max(1, x), (0, 5.6), 8, "f32"
    ),
    # the double-precision lanes: accurate to about 2**-34
    "log2_lanes": Fit(lambda f: mp.log1p(f) / f / mp.log(2), lambda f: f * mp.log(2) / mp.log1p(f), ROOT, 12, "f64"),
    "exp2_lanes": Fit(lambda r: (2**r - 1) / r, lambda r: r / 2**r, (-0.5, 0.5), 6, "f64"),
    "sinh_lanes": Fit(*_odd(mp.sinh), (0, 1), 3, "f64"),
    "tan_lanes": Fit(*_odd(mp.tan), (0, (PI / 4) ** 2), 7, "f64"),
    "atan_lanes": Fit(*_odd(mp.atan), (0, 1), 10, "f64"),
    # erfinv(x) = x * p(w), w = -log(1 - x*x) - 3 (M. Giles, "Approximating the erfinv function", 2010)
    "erfinv_middle": Fit(lambda w: _erfinv_middle(w + 3), lambda w: 1 / _erfinv_middle(w + 3), (-3, 3), 13, "f64"),
    # the same with w = sqrt(-log(1 - x*x)) - 3
    "erfinv_tail": Fit(
        lambda w: _erfinv_middle((w + 3) ** 2),
        lambda w: 1 / _erfinv_middle((w + 3) ** 2),
        (float(mp.sqrt(6)) - 3, 3.07),
        13,
        "f64",
    ),
    # float64: e**r = 1 + r + r*r/2 + r**3 * p(r)
    "exp_f64": Fit(
        lambda r: (mp.expm1(r) - r - r * r / 2) / r**3,
        lambda r: r**3 / mp.exp(r),
        (-LN2 / 2 - 1e-9, LN2 / 2 + 1e-9),
        9,
        "exact",
    ),
    # log((1 + s) / (1 - s)) = 2s + s**3 * (2/3 + u * p(u)), u = s*s
    "log_f64": Fit(
        lambda u: (2 * mp.atanh(mp.sqrt(u)) / mp.sqrt(u) - 2 - 2 * u / 3) / u**2,
        lambda u: u**2 / 2,
        (0, 0.02944),
        6,
        "exact",
    ),
    "sin_f64": Fit(*_odd(mp.sin), (0, (PI / 4 + 1e-7) ** 2), 6, "exact"),
    # cos(r) = 1 - u/2 + u*u*p(u)
    "cos_f64": Fit(
        lambda u: (mp.cos(mp.sqrt(u)) - 1 + u / 2) / u**2,
        lambda u: u**2 / mp.cos(mp.sqrt(u)),
        (0, (PI / 4 + 1e-7) ** 2),
        5,
        "exact",
    ),
    "asin_f64": Fit(*_odd(mp.asin), (0, 0.25), 13, "exact"),
    "atan_f64": Fit(*_odd(mp.atan), (0, 0.17158), 11, "exact"),
    # erf(x) = x + x * p(x*x) for x < 1
    "erf_f64": Fit(
        lambda u: mp.erf(mp.sqrt(u)) / mp.sqrt(u) - 1, lambda u: mp.sqrt(u) / mp.erf(mp.sqrt(u)), (0, 1), 13, "exact"
    ),
    "erfcx_f64": Fit(_erfcx_mapped, lambda t: 1 / _erfcx_mapped(t), (-1, 1), 26, "exact"),
}


def _lawson(x: np.ndarray, y: np.ndarray, weight: np.ndarray, degree: int, rounds: int = 60) -> np.ndarray:
    """Coefficients of the polynomial that nearly minimises max |weight * (y - p(x))|."""
    middle, half = (x[0] + x[-1]) / 2, (x[-1] - x[0]) / 2
    basis = np.polynomial.chebyshev.chebvander((x - middle) / half, degree)
    share, best, best_error = np.full(len(x), 1 / len(x)), None, np.inf
    for _ in range(rounds):
        scale = np.sqrt(share) * weight
        solution = np.linalg.lstsq(basis * scale[:, None], y * scale, rcond=None)[0]
        error = np.abs(weight * (y - basis @ solution))
        if error.max() < best_error:
            best, best_error = solution, error.max()
        share = share * (error + error.max() * 1e-6)
        share /= share.sum()
    series = np.polynomial.Chebyshev(best, domain=(x[0], x[-1]))
    return series.convert(kind=np.polynomial.Polynomial).coef


def _meeting(target: Real, interval: tuple[float, float], degree: int) -> list[mp.mpf]:
    """Coefficients of the polynomial that equals the target at Chebyshev's nodes."""
    lo, hi = map(mp.mpf, interval)
    angles = [mp.pi * (k + 0.5) / (degree + 1) for k in range(degree + 1)]
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(angle) for angle in angles]
    powers = mp.matrix([[x**k for k in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(powers, mp.matrix([target(x) for x in nodes])))


def _solve_exactly(fit: Fit, nodes: int = 200) -> tuple[list[float], float]:
    """As `solve`, for float64 functions."""
    with mp.workdps(60):
        found = _meeting(fit.target, fit.interval, fit.degree)
        kept = [found[0], *map(float, found[1:])]
        lo, hi = map(mp.mpf, fit.interval)
        places = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (k + 0.5) / nodes) for k in range(nodes)]
        errors = [abs(fit.weight(x) * (fit.target(x) - mp.polyval(kept[::-1], x))) for x in places]
    return [float(kept[0]), *kept[1:], float(kept[0] - float(kept[0]))], float(max(errors))


def solve(fit: Fit, nodes: int = 600) -> tuple[list[float], float]:
    """The rounded coefficients and the largest weighted error."""
    if fit.precision == "exact":
        return _solve_exactly(fit)
    lo, hi = fit.interval
    x = (lo + hi) / 2 - (hi - lo) / 2 * np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    y = np.array([float(fit.target(mp.mpf(float(v)))) for v in x])
    weight = np.abs(np.array([float(fit.weight(mp.mpf(float(v)))) for v in x]))
    if fit.precision == "f64":
        kept = [float(c) for c in _lawson(x, y, weight, fit.degree)]
    else:
        kept = []
        for k in range(fit.degree + 1):
            rest = (y - np.polynomial.polynomial.polyval(x, [*kept, 0.0])) / x**k
            kept.append(float(np.float32(_lawson(x, rest, weight * np.abs(x) ** k, fit.degree - k)[0])))
    error = np.abs(weight * (y - np.polynomial.polynomial.polyval(x, kept))).max()
    return kept, float(error)


def main(names: list[str]) -> None:
    for name in names or FITS:
        fit = FITS[name]
        coefficients, error = solve(fit)
        digits = 9 if fit.precision == "f32" else 17
        print(f"{name}: degree {fit.degree}, error 2**{np.log2(error):.1f}")
        print("    (" + ", ".join(f"{c:.{digits}g}" for c in coefficients) + ")")


if __name__ == "__main__":
    main(sys.argv[1:])
