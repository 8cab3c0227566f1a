"""What kernels run on, as far as kernels depend on it."""

from __future__ import annotations

from typing import NamedTuple


class HostTarget(NamedTuple):
    """The instruction set of a CPU.

    lanes: 32-bit elements of a vector register. masked, gathered: element widths (bits) that have masked loads and
    stores, and gathers.
    half: there are instructions for float16 conversions. dots: for sums of products of bfloat16 pairs. vnni: for sums
    of four products of 8-bit integers, unsigned times signed. amx: for products of small matrices of both (AMX).
    level2: bytes of a core's level-2 cache.
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
    level2: int = 1 << 20

    @property
    def fma(self) -> bool:
        """Whether one instruction multiplies and adds."""
        return self.name != "x86-64"

    @property
    def registers(self) -> int:
        """The number of vector registers."""
        return 32 if self.lanes == 16 or self.name == "neon" else 16


Target = HostTarget
