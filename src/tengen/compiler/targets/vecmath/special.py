"""The error function, its inverse, and the normal distribution."""

from __future__ import annotations

from ..vector import Vec
from .exponential import EXP2
from .polynomial import BIAS, by_pairs, exponent_scale, horner, nearest
from .special_f64 import erfc_f64, erfcinv_f64, erfcx_f64, erfinv_estimate

# erf(x) = x + x * p(x*x) for |x| <= 1
ERF_SMALL = (0.128379166, -0.37612626, 0.112835787, -0.0268533472, 0.0051871622, -0.00079978531, 7.80690316e-05)
# 1 - erf(x) = 2**(-x * p(x)) for 1 <= x < 4
ERF_LARGE = (1.62835348, 0.91609937, 0.153640926, -0.0345973521, 0.00540184835, -0.000501277915, 1.97067675e-05)
# 1 - (1 - normcdf(x))**(1/8) for 0 <= x <= 5.6
NORMCDF = (
    *(0.0829959586, 0.0914578214, 0.0319264866, 0.00067479111, -0.00150703045, -3.28888091e-05, 5.98425468e-05),
    *(-7.41577514e-06, 2.91930263e-07),
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


def erfc(x: Vec) -> Vec:
    return erfc_f64(x.to("f64")).to("f32")


def erfcx(x: Vec) -> Vec:
    return erfcx_f64(x.to("f64")).to("f32")


def erfcinv(x: Vec) -> Vec:
    return erfcinv_f64(x.to("f64")).to("f32")


def erfinv(x: Vec) -> Vec:
    return erfinv_estimate(x.to("f64")).to("f32")
