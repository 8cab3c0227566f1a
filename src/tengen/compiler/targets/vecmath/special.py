"""The error function, its inverse, and the normal distribution."""

from __future__ import annotations

import math

from ..vector import Vec
from .exponential import EXP2
from .lanes import log2
from .libm import call
from .polynomial import BIAS, by_pairs, exponent_scale, horner, nearest

LN2 = math.log(2)

# erf(x) = x + x * p(x*x) for |x| <= 1
ERF_SMALL = (0.128379166, -0.37612626, 0.112835787, -0.0268533472, 0.0051871622, -0.00079978531, 7.80690316e-05)
# 1 - erf(x) = 2**(-x * p(x)) for 1 <= x < 4
ERF_LARGE = (1.62835348, 0.91609937, 0.153640926, -0.0345973521, 0.00540184835, -0.000501277915, 1.97067675e-05)
# 1 - (1 - normcdf(x))**(1/8) for 0 <= x <= 5.6
NORMCDF = (
    *(0.0829959586, 0.0914578214, 0.0319264866, 0.00067479111, -0.00150703045, -3.28888091e-05, 5.98425468e-05),
    *(-7.41577514e-06, 2.91930263e-07),
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


def erf(x: Vec) -> Vec:
    a = x.abs()
    a = (a > 4.0).where(4.0, a)
    small = a.fma(horner(a * a, ERF_SMALL), a)
    power = -a * horner(a, ERF_LARGE)
    n, bits = nearest(power, 1.0, BIAS["f32"])
    f = power - n
    large = (-exponent_scale(bits, "f32")).fma(f.fma(horner(f, EXP2), 1.0), 1.0)
    return (a < 1.0).where(small, large).copysign(x)


def normcdf(x: Vec) -> Vec:
    """The standard normal distribution function, with an absolute error of 2**-23.

    A root of its upper tail beyond |x| is nearly a straight line down to 0, so a polynomial is close to it. Each step
    2t - t*t makes 1 - p**n from 1 - p**(n/2), without the cancellation that the power itself would cause.
    """
    a = x.abs()
    a = (a > 6.0).where(6.0, a)  # where the result is already 1
    t = by_pairs(a, a * a, NORMCDF)
    for _ in range(3):
        t = (-t).fma(t, t + t)
    return (t - 0.5).copysign(x) + 0.5


def normcdf_f64(x: Vec) -> Vec:
    return call("erfc", x * -math.sqrt(0.5)) * 0.5


def erfc(x: Vec) -> Vec:
    return call("erfc", x.to("f64")).to("f32")


def erfcinv(x: Vec) -> Vec:
    return erfcinv_f64(x.to("f64")).to("f32")


def erfcinv_f64(x: Vec) -> Vec:
    """erfinv(1 - x) if that keeps the digits. Near the ends, two steps of Halley's method with erfc, as in erfinv_f64.

    They begin with the estimate of the polynomials, or beyond their range with the root of the leading terms of
    -log(erfc(y)) = y² + log(y √π).
    """
    upper = x > 1.0
    share = upper.where(2.0 - x, x)
    log_share = log2(share) * LN2
    w = -(log_share + log2(2.0 - share) * LN2)
    near = (1.0 - share) * horner(w.sqrt() - 3.0, ERFINV_TAIL)
    y = (w < 6.0).where((1.0 - share) * horner(w - 3.0, ERFINV_MIDDLE), near)
    y = (w < 36.0).where(y, (-log_share - log2(-log_share * math.pi) * (LN2 / 2)).sqrt())
    for _ in range(2):
        gap = 1.0 - call("erfc", y) / share
        step = gap * (math.sqrt(math.pi) / 2) * call("exp", y * y + log_share)
        y = y - step / y.fma(step, 1.0)
    y = share.eq(0.0).where(math.inf, y)
    y = upper.where(-y, y)
    middle = 1.0 - x
    return (middle.abs() <= 0.5).where(erfinv_f64(middle), y)


def erfinv(x: Vec) -> Vec:
    return _erfinv_estimate(x.to("f64")).to("f32")


def erfinv_f64(x: Vec) -> Vec:
    """One step of Halley's method, which triples the 28 bits of the estimate.

    The error of the estimate is computed with erfc where erf would round it away.
    """
    y = _erfinv_estimate(x)
    a = x.abs()
    magnitude = y.abs()
    error = (a < 0.5).where(call("erf", magnitude) - a, (1.0 - a) - call("erfc", magnitude))
    step = error * (math.sqrt(math.pi) / 2) * call("exp", y * y)
    better = (magnitude - step / magnitude.fma(step, 1.0)).copysign(x)
    return (a < 1.0).where(better, y)


def _erfinv_estimate(x: Vec) -> Vec:
    """erfinv of f64 lanes to about 2**-28; infinite at +-1, nan beyond."""
    w = log2((1.0 - x) * (1.0 + x)) * -LN2
    middle, tail = horner(w - 3.0, ERFINV_MIDDLE), horner(w.sqrt() - 3.0, ERFINV_TAIL)
    factor = w.eq(math.inf).where(math.inf, (w < 6.0).where(middle, tail))
    return x * factor
