"""Reads, changes and writes files of recorded functions.

`python -m tengen.utils.network info model.tg` shows what is in a file; `… draw model.tg picture.svg` draws it.
"""

from .filters import (
    NodeFilter,
    NodeFilterCheckType,
    NodeFilterHasInput,
    NodeFilterName,
    NodeFilterNotType,
    NodeFilterType,
    as_oprnode,
    as_varnode,
)
from .network import CompGraphDumpResult, Network, set_symbolic_shape

__all__ = [
    "CompGraphDumpResult",
    "Network",
    "NodeFilter",
    "NodeFilterCheckType",
    "NodeFilterHasInput",
    "NodeFilterName",
    "NodeFilterNotType",
    "NodeFilterType",
    "as_oprnode",
    "as_varnode",
    "set_symbolic_shape",
]
