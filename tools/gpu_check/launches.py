"""What a launch of a kernel costs the host: by eager operations, by a trace, and in a graph."""

from __future__ import annotations

from typing import Any

import tengen.functional as F
from tengen.jit import trace

from .measure import begin, seconds, values, wait
from .table import Options, Say

ALONE, IN_GRAPH = 4e-6, 1.5e-6
EACH = 2  # kernels of a step below: softmax of the rows, then of the columns


def launches(options: Options, say: Say) -> None:
    """Seconds for each launch."""
    begin()
    x = values((8, 64))
    spent = seconds(lambda: F.exp(x), wait, options.small)
    say(case="eager operation", value=spent * 1e6, unit="us", **options.judged(spent * 1e6, most=ALONE * 1e6))
    count = 4 if options.small else 128

    def chain(x: Any) -> Any:
        for _ in range(count):
            x = F.softmax(F.softmax(x, 1), 0)
        return x

    for name, call, most in (
        ("eager chain", chain, ALONE),
        ("graph", trace(chain, without_host=True), IN_GRAPH),
    ):
        spent = seconds(lambda call=call: call(x), wait, options.small) / (EACH * count)
        say(
            case=f"{name} of {EACH * count} kernels",
            value=spent * 1e6,
            unit="us",
            **options.judged(spent * 1e6, most=most * 1e6),
        )
