"""What sums of products are, as data: ops say it, and the schedule how they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal, NamedTuple

Pair = tuple[int, int]
Size = tuple[int, ...]

Form = Literal["matmul", "forward", "by data", "by weight"]
"""A product of matrices; a convolution, and its gradients."""


class Roles(NamedTuple):
    """What inputs and dims of a form are to the compiler.

    operands: which inputs are A and B of a contraction. channels: the dim of the output that a bias may run along, from the last one if
    negative; None: there is none. constant: the input that is often a parameter, whose packed copy is kept beside it. any_order: the output
    may lie in any order of dims.
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
    """Sizes of a convolution (cross-correlation) with zero padding on both sides. size, kernel, stride, padding and dilation have a
    number for each dimension of an image: (vertical, horizontal), before which depth may come.

    Raises ValueError where the sizes do not fit together.
    """

    __slots__ = ()

    def __new__(cls, *sizes: Any, **named: Any) -> ConvShape:
        made = super().__new__(cls, *sizes, **named)
        made._check()
        return made

    def _check(self) -> None:
        if self.groups < 1 or self.ic % self.groups or self.oc % self.groups:
            raise ValueError(f"convolution: {self.groups} groups do not divide {self.ic} and {self.oc} channels")
        if min(*self.stride, *self.dilation, *self.kernel) < 1 or min(self.padding) < 0:
            raise ValueError(f"convolution: stride, dilation and kernel are at least 1 and padding at least 0: {self}")
        if min(self.out) < 1:
            raise ValueError(f"convolution: the kernel is larger than the padded input: {self}")

    @property
    def out(self) -> Size:
        """The size of an image of the result."""
        zipped = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple([(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in zipped])

    @property
    def dims(self) -> range:
        return range(len(self.size))

    @property
    def is_flat(self) -> bool:
        """Of images of two dimensions, for which there are ways of their own."""
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
        """Multiply-adds with each element of the input."""
        return self.oc_group * self.taps // prod(self.stride)

    @property
    def skips_pixels(self) -> bool:
        """A window of one pixel whose steps leave pixels out."""
        return self.taps == 1 and prod(self.stride) > 1 and not any(self.padding)

    @property
    def is_depthwise(self) -> bool:
        """One channel for each group, in and out: all channels are columns, of the input too."""
        return self.groups > 1 and self.ic == self.groups == self.oc
