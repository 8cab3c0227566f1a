"""Fake quantisation: real numbers rounded to those that a quantised dtype has, for training. Gradients pass as if there
were no rounding (Bengio et al. 2013, "straight through").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...compiler.program import Value
from .base import Formula, Grads
from .elemwise import POW, Elemwise, where

ROUND, MAX, MIN = Elemwise("ROUND"), Elemwise("MAX"), Elemwise("MIN")


class _Fake(Formula, abstract=True):
    """What these ops have in common: integers from qmin to qmax."""

    qmin: int
    qmax: int

    def _inside(self, steps: Value, g: Value) -> Value:
        """`g` where the steps are in the range, else 0."""
        low = where(steps >= float(self.qmin), g, 0.0)
        return where(steps <= float(self.qmax), low, 0.0)

    def _clipped(self, steps: Value) -> Value:
        return MIN(MAX(steps, float(self.qmin)), float(self.qmax))

    def _per_step(self, steps: Value, whole: Value, g: Value) -> Value:
        """The gradient with respect to the step size: how much further than the number itself the rounded or clipped
        number moves with it."""
        low, high = float(self.qmin), float(self.qmax)
        moved = where(whole < low, low, where(whole > high, high, ROUND(steps) - steps))
        return g * moved


class FakeQuant(_Fake):
    """x rounded to (round(x / scale) + zero point, clipped) - zero point, times scale. Inputs: x, scale and perhaps a
    zero point."""

    qmin: int
    qmax: int

    name = "fake_quant"

    def _steps(self, x: Value, scale: Value, zero: Sequence[Value]) -> Value:
        steps = ROUND(x / scale)
        return steps + zero[0] if zero else steps

    def expand(self, *inputs: Value) -> Value:
        x, scale, *zero = inputs
        steps = self._clipped(self._steps(x, scale, zero))
        return (steps - zero[0] if zero else steps) * scale

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, scale, *zero), (g,) = inputs, grads
        return [g and self._inside(self._steps(x, scale, zero), g), None, *[None] * len(zero)]


class TQT(_Fake):
    """Fake quantisation with a learned threshold: inputs x and the logarithm, to base 2, of the scale. Source: Jain et al. 2019."""

    qmin: int
    qmax: int

    name = "tqt"

    def expand(self, *inputs: Value) -> Value:
        x, log = inputs
        scale = POW(2.0, log)
        return self._clipped(ROUND(x / scale)) * scale

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, log), (g,) = inputs, grads
        if g is None:
            return [None, None]
        scale = POW(2.0, log)
        steps = x / scale
        whole = ROUND(steps)
        return [self._inside(whole, g), self._per_step(steps, whole, g) * scale * math.log(2.0)]


class LSQ(_Fake):
    """Fake quantisation with a learned step. Inputs: x, step, zero point, and the factor of the step's gradient.

    Source: Esser et al. 2019.
    """

    qmin: int
    qmax: int

    name = "lsq"

    def expand(self, *inputs: Value) -> Value:
        x, step, zero, _ = inputs
        return (ROUND(self._clipped(x / step + zero)) - zero) * step

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, step, zero, scale), (g,) = inputs, grads
        if g is None:
            return [None] * 4
        steps = x / step + zero
        return [self._inside(steps, g), self._per_step(steps, steps, g) * scale, None, None]
