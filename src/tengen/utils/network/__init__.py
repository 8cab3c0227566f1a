"""Files of recorded functions taken apart, changed and written again.

`python -m tengen.utils.network info model.tg` says what is in one; `… draw model.tg picture.svg` draws it.
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
