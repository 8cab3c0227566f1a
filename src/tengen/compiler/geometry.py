"""The sizes of sums of products, as data. Ops give them; the schedule decides how the sums are computed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any, Literal, NamedTuple

Pair = tuple[int, int]
Size = tuple[int, ...]

Form = Literal["matmul", "forward", "by data", "by weight"]
"""A matrix product, or a convolution or one of its gradients."""


class Roles(NamedTuple):
    """What the inputs and dims of a form are to the compiler.

    operands: which inputs are A and B of the contraction. channels: the dim of the output that a bias may run along,
    counted from the last one if negative, or None. constant: the input that is often a parameter, whose packed copy is
    kept beside it. any_order: whether the dims of the output may lie in any order.
    """

    operands: Pair = (0, 1)
    channels: int | None = None
    constant: int | None = None
    any_order: bool = False


ROLES: Mapping[Form, Roles] = {
    "matmul": Roles(channels=-1, constant=1, any_order=True),
    "forward": Roles(channels=1, constant=1),
    "by data": Roles(operands=(1, 0), channels=1, constant=0),
    "by weight": Roles(),
}


class MatmulShape(NamedTuple):
    """(batch..., m, k) @ (batch..., k, n). Batch dims of an operand may be 1, or missing."""

    m: int
    k: int
    n: int
    batch: Size = ()


class _ConvSizes(NamedTuple):
    n: int
    ic: int
    size: Size
    oc: int
    kernel: Size
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    groups: int = 1


class ConvShape(_ConvSizes):
    """Sizes of a convolution (cross-correlation) with zero padding on both sides.

    size, kernel, stride, padding and dilation have one number per dimension of an image: (vertical, horizontal), with
    depth before them in a volume. Raises ValueError if the sizes do not fit together.
    """

    def __new__(cls, *sizes: Any, **named: Any) -> ConvShape:
        made = super().__new__(cls, *sizes, **named)
        made._check()
        return made

    def _check(self) -> None:
        if self.groups < 1 or self.ic % self.groups or self.oc % self.groups:
            raise ValueError(f"convolution: {self.groups} groups do not divide {self.ic} and {self.oc} channels")
        if min(*self.stride, *self.dilation, *self.kernel) < 1 or min(self.padding) < 0:
            raise ValueError(
                f"convolution: stride, dilation and kernel must be at least 1, and padding at least 0: {self}"
            )
        if min(self.out) < 1:
            raise ValueError(f"convolution: the kernel is larger than the padded input: {self}")

    @cached_property
    def out(self) -> Size:
        """The size of an image of the result."""
        zipped = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple([(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in zipped])

    @property
    def dims(self) -> range:
        return range(len(self.size))

    @property
    def is_flat(self) -> bool:
        """Whether images have two dimensions; these have ways of their own."""
        return len(self.size) == 2

    @property
    def no_margins(self) -> tuple[Pair, ...]:
        return ((0, 0),) * len(self.size)

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    @property
    def ic_group(self) -> int:
        return self.ic // self.groups

    @property
    def oc_group(self) -> int:
        return self.oc // self.groups

    @property
    def reuse(self) -> int:
        """Multiply-adds per element of the input."""
        return self.oc_group * self.taps // prod(self.stride)

    @property
    def skips_pixels(self) -> bool:
        """Whether the window is a single pixel whose steps skip pixels."""
        return self.taps == 1 and prod(self.stride) > 1 and not any(self.padding)

    @property
    def is_depthwise(self) -> bool:
        """Whether each group has one channel, in and out. Then all channels are columns, of the input too."""
        return self.groups > 1 and self.ic == self.groups == self.oc
