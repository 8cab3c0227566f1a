"""Trigonometric functions of float32 and their inverses; tan and atan2 in float64 lanes."""

from __future__ import annotations

from ..vector import Vec
from .polynomial import horner
from .reduction import reduce_f32, reduce_f64_lanes

# sin(r) = r + r**3 * p(r*r), cos(r) = 1 - r*r/2 + r**4 * p(r*r), tan(r) = r + r**3 * p(r*r) for |r| <= pi/4
SIN = (-0.166666552, 0.00833218917, -0.000195182918)
COS = (0.0416666456, -0.00138873106, 2.44325674e-05)
TAN = (
    *(0.33333331850171827, 0.13333410366290779, 0.053954666881879026, 0.021984386919593646, 0.0083325589771957084),
    *(0.0049901516805105836, -0.00059293688810338745, 0.0020398552778148932),
)
# asin(x) = x + x**3 * p(x*x) for |x| <= 1/2
ASIN = (0.166667521, 0.0749530941, 0.0454691499, 0.0241847783, 0.0421583056)
# atan(x) = x + x**3 * p(x*x) for |x| <= 1, in float32 and to 2**-34
ATAN = (-0.333331525, 0.199937671, -0.142110035, 0.106657863, -0.0755172893, 0.0432059728, -0.0163642373, 0.00291975634)
ATAN_LANES = (
    *(-0.33333332133645865, 0.19999927236888171, -0.14284167109426749, 0.11094502629354103, -0.089854340942767411),
    *(0.072594234110639949, -0.054515691591447535, 0.034475546551290349, -0.016299206853697096, 0.004926254573620557),
    -0.0006979387313612559,
)
PI = 3.141592653589793
PI_2 = 1.5707963267948966
PI_2_HIGH = 1.57079637050628662109375  # pi/2 rounded to float32
PI_2_LOW = -4.371138828673793e-08


def sin(x: Vec) -> Vec:
    r, quadrant = reduce_f32(x)
    return _sine_of_quadrant(r, quadrant)


def cos(x: Vec) -> Vec:
    r, quadrant = reduce_f32(x)
    return _sine_of_quadrant(r, quadrant + 1)


def _sine_of_quadrant(r: Vec, quadrant: Vec) -> Vec:
    """sin(r + quadrant * pi/2)."""
    square = r * r
    sine = _odd(r, square, SIN).copysign(r)  # keeps minus zero, which the sum with a positive zero loses
    cosine = (square * square).fma(horner(square, COS), square.fma(-0.5, 1.0))
    value = (quadrant & 1).ne(0).where(cosine, sine)
    return (value.bitcast("i32") ^ (quadrant & 2).shl(30)).bitcast("f32")


def tan(x: Vec) -> Vec:
    r, quadrant = reduce_f64_lanes(x)
    tangent = _odd(r, r * r, TAN)
    return (quadrant & 1).ne(0).where(-1.0 / tangent, tangent).to("f32")


def asin(x: Vec) -> Vec:
    p, large = _asin_half(x)
    # asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))
    return large.where(p.fma(-2.0, PI_2_HIGH) + PI_2_LOW, p).copysign(x)


def acos(x: Vec) -> Vec:
    p, large = _asin_half(x)
    rest = PI_2_HIGH - (large.where(p, p.copysign(x)) - PI_2_LOW)
    half = large.where((x > 0.0).where(p, rest), rest)
    return large.where(half + half, half)


def _asin_half(x: Vec) -> tuple[Vec, Vec]:
    """(asin(|x|), no) for |x| <= 1/2, (asin(sqrt((1 - |x|) / 2)), yes) above."""
    a = x.abs()
    large = a > 0.5
    square = large.where(a.fma(-0.5, 0.5), a * a)
    return _odd(large.where(square.sqrt(), a), square, ASIN), large


def atan(x: Vec) -> Vec:
    a = x.abs()
    large = a > 1.0
    z = large.where(1.0 / a, a)
    p = _odd(z, z * z, ATAN)
    return large.where(PI_2_HIGH - (p - PI_2_LOW), p).copysign(x)


def atan2(y: Vec, x: Vec) -> Vec:
    up, along = y.abs().to("f64"), x.abs().to("f64")
    steep = up > along
    larger, smaller = steep.where(up, along), steep.where(along, up)
    # equal sides are 45 degrees even when both are infinite, and none when both are zero
    z = smaller.eq(larger).where(larger.eq(0.0).where(larger.const(0.0), 1.0), smaller / larger)
    angle = _odd(z, z * z, ATAN_LANES)
    angle = steep.where(PI_2 - angle, angle)
    return (x.bitcast("i32") < 0).where(PI - angle, angle).to("f32").copysign(y)


def _odd(x: Vec, square: Vec, coefficients: tuple[float, ...]) -> Vec:
    """x + x**3 * p(x*x)."""
    return (x * square).fma(horner(square, coefficients), x)
