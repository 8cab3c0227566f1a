"""What `--api` ends with: the geometric mean of the ratios, and the rows that are slower than the peer, sorted."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ..report import duration


def slower(rows: Sequence[dict[str, Any]], limit: float = 1.0) -> list[str]:
    """Lines of text."""
    found = [(row["ratios"]["PyTorch"]["median"], row) for row in rows if "PyTorch" in row["ratios"]]
    if not found:
        return []
    ratios = [ratio for ratio, _ in found]
    above = sorted(((ratio, row) for ratio, row in found if ratio > limit), key=lambda pair: -pair[0])
    lines = [
        f"{len(found)} rows of the API: geometric mean {statistics.geometric_mean(ratios):.3f} of PyTorch's time; "
        f"{len(above)} ({len(above) / len(found):.1%}) above {limit:g}, {sum(ratio > 1.3 for ratio in ratios)} above 1.3"
    ]
    for ratio, row in above:
        taken = row["frameworks"]
        lines.append(
            f"{ratio:7.2f}  {row['name']}  {duration(taken['tengen']['median'])}, PyTorch {duration(taken['PyTorch']['median'])}"
        )
    return lines
