"""Numbers as pairs: the unevaluated sum of a float and a much smaller one, which together have about 100 bits.

Sums and products without error are those of T. J. Dekker (A floating-point technique for extending the available
precision, 1971) and D. E. Knuth (The Art of Computer Programming, volume 2, section 4.2.2). One `fma` gives the error
of a product.
"""

from __future__ import annotations

from ..vector import Vec

Pair = tuple[Vec, Vec]


def two_sum(a: Vec, b: Vec | float) -> Pair:
    """(a + b rounded, what the rounding has lost)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def ordered_sum(a: Vec | float, b: Vec) -> Pair:
    """The same where |a| >= |b|, or a is 0."""
    total = a + b
    return total, (a - total) + b


def two_product(a: Vec, b: Vec | float) -> Pair:
    """(a * b rounded, what the rounding has lost)."""
    product = a * b
    return product, a.fma(b, -product)


def divide(a: Pair, b: Pair) -> Pair:
    """a / b, to about 100 bits."""
    inverse = 1.0 / b[0]
    quotient = a[0] * inverse
    rest = (-quotient).fma(b[0], a[0]) + (-quotient).fma(b[1], a[1])
    return ordered_sum(quotient, rest * inverse)


def root(x: Pair) -> Pair:
    """The square root of 0 or of a number of at least 2**-100, to about 100 bits."""
    high = x[0].sqrt()
    rest = (-high).fma(high, x[0]) + x[1]
    return ordered_sum(high, rest / (high + high + 2.0**-200))
