"""What is asked of tengen's speed, as data: one row a requirement."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Row = dict[str, Any]


def ratio(row: Row) -> float | None:
    """Times PyTorch, in the fastest of its settings."""
    found = row["ratios"].get("PyTorch")
    return found and found["median"]


def onnx_ratio(row: Row) -> float | None:
    """Times ONNX Runtime."""
    found = row["ratios"].get("ONNX Runtime")
    return found and found["median"]


def limited_ratio(row: Row) -> float | None:
    """Times the same without a limit on memory."""
    found = row["ratios"].get("all memory")
    return found and found["median"]


def eager_ratio(row: Row) -> float | None:
    """Times eager PyTorch, by the fastest turns: the slower settings have only few."""
    eager = row["settings"].get("PyTorch", {}).get("eager")
    return row["frameworks"]["tengen"]["fastest"] / eager if eager else ratio(row)


def share(row: Row) -> float | None:
    """The part of the machine's limit that is reached."""
    return row["frameworks"]["tengen"].get("share_of_limit")


def of_direct(row: Row) -> float | None:
    """The same of the limit of computing directly, which ways with fewer multiplications pass."""
    return share(row)


def seconds(row: Row) -> float:
    return row["frameworks"]["tengen"]["median"]


def beyond_numpy(row: Row) -> float:
    """Seconds more than NumPy takes."""
    return seconds(row) - row["frameworks"]["NumPy"]["median"]


@dataclass(frozen=True)
class Requirement:
    """what: of all rows whose name fits one of `cases`. combine: makes one number of theirs. required, aim: at most, or
    for a share at least, this much.
    """

    title: str
    cases: tuple[str, ...]
    what: Callable[[Row], float | None]
    required: float
    aim: float
    combine: Callable[[Sequence[float]], float] = max

    def reading(self, rows: Sequence[Row]) -> float | None:
        """The number that counts; None if nothing was measured for it."""
        chosen = [row for row in rows if any(fnmatchcase(row["name"], pattern) for pattern in self.cases)]
        found = [value for value in map(self.what, chosen) if value is not None]
        return self.combine(found) if found else None

    def holds(self, reading: float, limit: float) -> bool:
        return reading >= limit if self.what in (share, of_direct) else reading <= limit


def _resnet_layers(form: str) -> tuple[str, ...]:
    return tuple(f"conv/resnet50/b8/* {k}x{k}* {form}" for k in (1, 3))


REQUIREMENTS = (
    Requirement("add of 100 elements", ("overhead/add 100",), ratio, 0.5, 0.3),
    Requirement("MLP train step", ("overhead/mlp train",), ratio, 0.5, 0.35),
    Requirement("LeNet train step", ("network/lenet train",), ratio, 0.6, 0.4),
    Requirement("ResNet-18 train step", ("network/resnet18 train",), ratio, 0.85, 0.75),
    Requirement("ResNet-18 inference", ("network/resnet18 inference",), ratio, 1.0, 1.0),
    Requirement("transformer layer train step", ("network/transformer train",), ratio, 0.6, 0.45),
    Requirement("matmul 1024³, of the peak", ("matmul/1024",), share, 0.85, 0.92),
    Requirement("ResNet-50 3×3 and 1×1, batch 8, forward, of the peak", _resnet_layers("forward"), of_direct, 0.80, 0.90, statistics.geometric_mean),
    Requirement("the same by data", _resnet_layers("by data"), of_direct, 0.80, 0.90, statistics.geometric_mean),
    Requirement("the same by weight", _resnet_layers("by weight"), of_direct, 0.75, 0.88, statistics.geometric_mean),
    Requirement("depthwise 3×3, the slowest", ("conv/*depthwise*",), ratio, 0.6, 0.6),
    Requirement("softmax, the slowest, to eager PyTorch", ("elementwise/softmax*",), eager_ratio, 0.5, 0.5),
    Requirement("layer_norm, the slowest, to eager PyTorch", ("elementwise/layer_norm*",), eager_ratio, 0.5, 0.5),
    Requirement("gelu, to eager PyTorch", ("elementwise/gelu*",), eager_ratio, 0.5, 0.5),
    Requirement("traced: MLP train step", ("traced/mlp train",), ratio, 0.2, 0.2),
    Requirement("traced: LeNet train step", ("traced/lenet train",), ratio, 0.35, 0.35),
    Requirement("traced: ResNet-18 train step", ("traced/resnet18 train",), ratio, 0.75, 0.75),
    Requirement("traced: ResNet-18 inference, to ONNX Runtime", ("traced/resnet18 inference",), onnx_ratio, 1.0, 1.0),
    Requirement("traced: transformer layer train step", ("traced/transformer train",), ratio, 0.45, 0.45),
    Requirement("traced: transformer layer train step, bfloat16", ("traced/transformer train, b*",), ratio, 0.7, 0.7),
    Requirement("traced: ResNet-18 train step in 60 % of its memory, to without limit", ("traced/resnet18 train, in*",), limited_ratio, 1.4, 1.4),
    Requirement("traced: gelu", ("traced/gelu*",), ratio, 1.0, 1.0),
    Requirement("the slowest of all rows but those of starting", ("[!s]*",), ratio, 1.1, 0.9),
    Requirement("import, seconds more than NumPy's", ("startup/import",), beyond_numpy, 0.100, 0.060),
    Requirement("first ResNet-18 step, empty cache, seconds", ("startup/first resnet18*empty*",), seconds, 6.0, 3.0),
    Requirement("first ResNet-18 step, warm cache, seconds", ("startup/first resnet18*warm*",), seconds, 1.0, 0.4),
    Requirement("the same, traced, empty cache", ("startup/first traced*empty*",), seconds, 6.0, 6.0),
    Requirement("the same, traced, warm cache", ("startup/first traced*warm*",), seconds, 1.0, 1.0),
    Requirement("planning of an unseen shape, seconds", ("startup/unseen*",), seconds, 1e-3, 1e-4),
)  # fmt: skip
