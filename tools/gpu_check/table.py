"""The parts, in the order in which they run, and what each is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A part. function: `module:function`, which runs in a process of its own. seconds: after so many it is ended."""

    name: str
    function: str
    seconds: float
    doc: str


class Options(NamedTuple):
    """What a part is told. seconds: how long it has. small: sizes that take no time, and no speed is judged."""

    seconds: float
    small: bool = False
    record: str = ""
    recorded: str = ""

    def judged(self, value: float, least: float | None = None, most: float | None = None) -> dict[str, Any]:
        """The fields of a figure that should be at least or at most something."""
        aim = least if most is None else most
        good = (least is None or value >= least) and (most is None or value <= most)
        return {} if aim is None else {"aim": aim} if self.small else {"aim": aim, "ok": good}


FIRST_SEED = 60_000_000
"""Of the programs of the corpus."""

Say = Callable[..., None]
"""Writes a line. `case` names it; `ok` is False where it is not as it should be."""

PARTS = (
    Part("machine", "gpu_check.machine:machine", 40, "driver, GPUs, memory, compute-sanitizer, PyTorch"),
    Part("corpus", "gpu_check.corpus:corpus", 150, "random programs: on the GPU, on the CPU, and what NumPy says"),
    Part("racecheck", "gpu_check.sanitizer:racecheck", 45, "some of them under compute-sanitizer: races"),
    Part(
        "memcheck", "gpu_check.sanitizer:memcheck", 45, "some of them under compute-sanitizer: accesses out of bounds"
    ),
    Part("bandwidth", "gpu_check.bandwidth:bandwidth", 50, "maps and reductions of rows next to a copy"),
    Part("launches", "gpu_check.launches:launches", 25, "what a launch costs, alone and in a graph"),
    Part("matmul", "gpu_check.products:matmul", 55, "matrix products in each dtype, next to PyTorch"),
    Part("convolutions", "gpu_check.products:convolutions", 85, "those of ResNet-50, next to PyTorch"),
    Part("resnet50", "gpu_check.training:resnet50", 60, "a training step, next to PyTorch"),
    Part("digits", "gpu_check.training:digits", 40, "the demo from end to end, on the GPU and on the CPU"),
)
