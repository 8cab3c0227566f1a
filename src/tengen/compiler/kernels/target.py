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

    @property
    def shuffles(self) -> bool:
        """Whether kernels take apart what alternates, and run rows side by side, in vector registers."""
        return True

    @property
    def at_once(self) -> bool:
        """Whether several writers may add integers to the same memory."""
        return False

    @property
    def keeps_copies(self) -> bool:
        """Whether the runtime keeps converted and packed weights beside them."""
        return True

    @property
    def part(self) -> int:
        """The least elements of a part of a reduction to few results."""
        return 1 << 15

    @property
    def parts(self) -> int:
        """The most parts of such a reduction."""
        return 64


class DeviceTarget(NamedTuple):
    """A GPU. family: who makes it ("nvidia"). capability: what it can do, as its family counts it: (9, 0) is sm_90."""

    family: str
    capability: tuple[int, int]

    @property
    def name(self) -> str:
        major, minor = self.capability
        return f"sm_{major}{minor}"

    @property
    def lanes(self) -> int:
        """Threads that run in step: neighbours that they load are loaded together."""
        return 32

    @property
    def half(self) -> bool:
        """Whether there are instructions for float16 conversions."""
        return True

    @property
    def fma(self) -> bool:
        """Whether one instruction multiplies and adds."""
        return True

    @property
    def matrices(self) -> tuple[str, ...]:
        """The dtypes of small matrices that the threads of a warp multiply together; float32 with fewer bits."""
        return ("bfloat16", "float16", "float32") if self.capability >= (8, 0) else ()

    @property
    def shuffles(self) -> bool:
        """Whether kernels take apart what alternates, and so on, in registers: here each thread has its own element."""
        return False

    @property
    def at_once(self) -> bool:
        """Whether several writers may add integers to the same memory."""
        return True

    @property
    def keeps_copies(self) -> bool:
        """Whether the runtime keeps converted and packed weights beside them. It would have to know by then that no
        kernel before has failed."""
        return False

    @property
    def part(self) -> int:
        """The least elements of a part of a reduction to few results: some for each thread of a block."""
        return 1 << 13

    @property
    def parts(self) -> int:
        """The most parts of such a reduction: a few blocks for each of the multiprocessors of a large GPU."""
        return 512


Target = HostTarget | DeviceTarget
