"""An instruction set as kernels see it."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """An instruction set as kernels see it.

    lanes: 32-bit elements of a vector register. masked, gathered: element widths (bits) that have masked loads and stores, and gathers.
    half: float16 conversions are instructions. dots: so are sums of products of bfloat16 pairs. amx: and whole products of small matrices
    of them (AMX). vnni: so are sums of four products of 8-bit integers, unsigned times signed.
    """

    name: str
    cpu: str
    features: str
    lanes: int
    masked: tuple[int, ...] = ()
    gathered: tuple[int, ...] = ()
    half: bool = False
    dots: bool = False
    amx: bool = False
    vnni: bool = False

    @property
    def fma(self) -> bool:
        """A product and a sum are one instruction."""
        return self.name != "x86-64"

    @property
    def registers(self) -> int:
        """Vector registers."""
        return 32 if self.lanes == 16 or self.name == "neon" else 16
