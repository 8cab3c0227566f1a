"""The error function and its relatives, and the normal distribution, of float64.

erfc(x) for x >= 0 is exp(-x*x) * q / (x + 1), where q is a polynomial in (x - 4) / (x + 4) for all x (M. M. Shepherd and
J. G. Laframboise, Chebyshev approximation of (1 + 2x) exp(x*x) erfc x in 0 <= x < infinity, 1981).
"""

from __future__ import annotations

import math

from ..vector import Vec
from .exponential_f64 import Power, exp_f64, log_f64
from .lanes import log2
from .pairs import Pair, divide, ordered_sum, two_product, two_sum
from .polynomial import by_pairs, horner

# erf(x) = x + x * p(x*x) for |x| <= 1
ERF = (
    *(0.12837916709551259, -0.37612638903183754, 0.11283791670955121, -0.02686617064512984, 0.0052239776254232985),
    *(-0.00085483270219348297, 0.00012055332902888736, -1.4925647567519332e-05, 1.6462045441468418e-06),
    *(-1.6364642158167616e-07, 1.4792401209404813e-08, -1.216456005728345e-09, 8.7090451290531062e-11),
    -4.2309458242953377e-12,
)
# (x + 1) * exp(x*x) * erfc(x) = FIRST + t * p(t), t = (x - 4) / (x + 4)
FIRST = 0.68499728812530691, 3.5982840695793599e-17
ERFCX = (
    *(-0.19934458280036707, 0.11704966551044246, -0.04808038122130933, 0.003962055681290131, 0.01531250967934886),
    *(-0.017515654646485111, 0.012161784752319521, -0.0060687352209183405, 0.0021164215893804753),
    *(-0.00038976747165629964, -6.0136798998780578e-05, 6.4032644548588194e-05, -1.3151054365252632e-05),
    *(-4.1381348482297912e-06, 2.6501324174139573e-06, 3.4675776630076714e-09, -3.6411647359145523e-07),
    *(5.208322959876513e-08, 4.7096628341320372e-08, -1.2110088332364132e-08, -6.1728334744411017e-09),
    *(2.11042363484461e-09, 7.4527203702481067e-10, -2.8773757549659766e-10, -5.7141010653324164e-11),
    2.2793001454289056e-11,
)
# erfinv(x) = x * p(w - 3), w = -log(1 - x*x) < 6 (M. Giles, Approximating the erfinv function, 2010)
ERFINV_MIDDLE = (
    *(1.6235420065140875, 0.24163040371223699, -0.0057381358219255277, -0.00083618016846398122, 0.00019506247075308679),
    *(-1.2718089845402476e-05, -1.7487970665513357e-06, 4.5075593043595521e-07, -2.3434245271198647e-08),
    *(-5.6524027774652304e-09, 1.0710089451143831e-09, -7.1029990904806151e-12, -1.4660214497237826e-11),
    1.0068360312633315e-12,
)
# erfinv(x) = x * p(sqrt(w) - 3) for 6 <= w < 36.8
ERFINV_TAIL = (
    *(2.8329767979309377, 1.0016753501861064, 0.0094455745806633056, -0.0076454222436116792, 0.0056857432397369274),
    *(-0.0035491424442735896, 0.0014726257286833716, -0.00016492362130645554, -0.00024482733600326219),
    *(0.00018928949801747501, -7.1047363053463539e-05, 1.5590485428244461e-05, -1.9103273886252357e-06),
    1.0135211480896247e-07,
)
LN2 = math.log(2)
SMALL = 0.5  # erfc is 1 - erf below it
NOTHING = 27.5  # erfc is 0 above it, and erfcx of its negative infinite
HALF_ROOT = 0.7071067811865476, -4.833646656726457e-17  # sqrt(1/2)


def erf_f64(x: Vec) -> Vec:
    a = x.abs()
    return (a < 1.0).where(a.fma(_erf_slope(a), a), 1.0 - _tail(a)).copysign(x)


def erfc_f64(x: Vec) -> Vec:
    return _complement((x, x.const(0.0)))


def normcdf_f64(x: Vec) -> Vec:
    """erfc(-x / sqrt(2)) / 2."""
    high, low = two_product(x, -HALF_ROOT[0])
    return _complement((high, (x.abs() < 64.0).where(x.fma(-HALF_ROOT[1], low), 0.0))) * 0.5


def _complement(x: Pair) -> Vec:
    """erfc of a pair."""
    a, negative = x[0].abs(), x[0] < 0.0
    tail = _tail(a, negative.where(-x[1], x[1]))
    whole, lost = ordered_sum(1.0, -x[0])
    small = whole + (lost - x[0].fma(_erf_slope(a), x[1]))
    return (a < SMALL).where(small, negative.where(2.0 - tail, tail))


def erfcx_f64(x: Vec) -> Vec:
    """exp(x*x) * erfc(x), which is 2 * exp(x*x) - erfcx(-x)."""
    a = x.abs()
    high, low = _scaled_tail(a)
    square, lost = _square((a > NOTHING).where(NOTHING, a))
    power = Power(square, lost)
    most, less = (power.scaled(part + part) for part in power.pair())
    total, lost = ordered_sum(most, -high)
    negative = (most < 2.0**100).where(total + (lost + (less - low)), most)
    result = a.eq(math.inf).where(0.0, high + low)
    return (x < 0.0).where(negative, result)


def _erf_slope(a: Vec) -> Vec:
    """erf(a) / a - 1 for |a| <= 1."""
    square = a * a
    return by_pairs(square, square * square, ERF)


def _tail(a: Vec, low: Vec | None = None, factor: Vec | float = 1.0) -> Vec:
    """factor * erfc(a + low) for a >= 0: to about 58 bits before it is rounded, from 0.4 on."""
    limited = (a > NOTHING).where(NOTHING, a)
    square, lost = _square(limited)
    power = Power(-square, -lost)
    exponential, (share, rest) = power.pair(), _scaled_tail(limited)
    if low is not None:
        rest = low.fma(-2.0 / math.sqrt(math.pi), rest)
    high, lost = two_product(exponential[0], share)
    return power.scaled((high + (lost + exponential[0].fma(rest, exponential[1] * share))) * factor)


def _square(x: Vec) -> Pair:
    return two_product(x, x)


def _scaled_tail(a: Vec) -> Pair:
    """exp(a*a) * erfc(a) for a >= 0."""
    limited = (a > 2.0**60).where(2.0**60, a)
    t, rest = divide(two_sum(limited, -4.0), two_sum(limited, 4.0))
    slope, lost = ordered_sum(ERFCX[0], t * by_pairs(t, t * t, ERFCX[1:]))
    product, low = two_product(t, slope)
    low = t.fma(lost, rest.fma(slope, low))
    high, lost = ordered_sum(FIRST[0], product)
    return divide((high, lost + (low + FIRST[1])), two_sum(a, 1.0))


def erfinv_f64(x: Vec) -> Vec:
    """One step of Halley's method, which triples the 28 bits of the estimate.

    The error of the estimate is computed with erfc where erf would round it away.
    """
    y = erfinv_estimate(x)
    a = x.abs()
    magnitude = y.abs()
    error = (a < 0.5).where(magnitude.fma(_erf_slope(magnitude), magnitude - a), (1.0 - a) - _tail(magnitude))
    step = error * (math.sqrt(math.pi) / 2) * exp_f64(y * y)
    better = (magnitude - step / magnitude.fma(step, 1.0)).copysign(x)
    return (a < 1.0).where(better, y)


def erfinv_estimate(x: Vec) -> Vec:
    """erfinv of f64 lanes to about 2**-28; infinite at +-1, nan beyond."""
    w = log2((1.0 - x) * (1.0 + x)) * -LN2
    middle, tail = horner(w - 3.0, ERFINV_MIDDLE), horner(w.sqrt() - 3.0, ERFINV_TAIL)
    factor = w.eq(math.inf).where(math.inf, (w < 6.0).where(middle, tail))
    return x * factor


def erfcinv_f64(x: Vec) -> Vec:
    """erfinv(1 - x) if that keeps the digits. Near the ends, two steps of Halley's method with erfc, as in erfinv_f64.

    They begin with the estimate of the polynomials, or beyond their range with the root of the leading terms of
    -log(erfc(y)) = y² + log(y √π).
    """
    upper = x > 1.0
    share = upper.where(2.0 - x, x)
    log_share = log_f64(share)
    w = -(log_share + log2(2.0 - share) * LN2)
    near = (1.0 - share) * horner(w.sqrt() - 3.0, ERFINV_TAIL)
    y = (w < 6.0).where((1.0 - share) * horner(w - 3.0, ERFINV_MIDDLE), near)
    y = (w < 36.0).where(y, (-log_share - log2(-log_share * math.pi) * (LN2 / 2)).sqrt())
    factor = (share < 2.0**-900).where(share.const(2.0**100), 1.0)  # subnormal numbers have few digits
    for _ in range(2):
        gap = 1.0 - _tail(y, factor=factor) / (share * factor)
        step = gap * (math.sqrt(math.pi) / 2) * exp_f64(y * y + log_share)
        y = y - step / y.fma(step, 1.0)
    y = share.eq(0.0).where(math.inf, y)
    y = upper.where(-y, y)
    middle = 1.0 - x
    return (middle.abs() <= 0.5).where(erfinv_f64(middle), y)
