"""Philox2x32-10, a counter-based random generator.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from ..vector import Vec

MULTIPLIER = 0xD256D193
KEY_STEP = 0x9E3779B9  # the golden ratio
ROUNDS = 10
LOW = 0xFFFFFFFF


def philox(counter: Vec, seed: Vec) -> tuple[Vec, Vec]:
    """Two random numbers in 0 .. 2**32-1 for each counter (all 64 bits count) and seed (the low 32 count), all i64."""
    left, right, key = counter & LOW, counter.lshr(32), seed & LOW
    for _ in range(ROUNDS):
        product = left * MULTIPLIER
        left, right = product.lshr(32) ^ key ^ right, product & LOW
        key = (key + KEY_STEP) & LOW
    return left, right
