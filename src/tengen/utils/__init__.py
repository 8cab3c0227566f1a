"""Tools for use around training: summaries, profiles, checks, graphs, weights."""

from ..base.missing import explain_module
from . import (
    bn_fusion,
    comp_graph_tools,
    dlpack,
    einops,
    hook,
    module_stats,
    naming,
    network,
    network_node,
    profiler,
    tensor_sanity_check,
    tuple_function,
    weights,
)
from .finite import check_finite
from .memory import memory_summary
from .summary import summary

__all__ = [
    "bn_fusion",
    "check_finite",
    "comp_graph_tools",
    "dlpack",
    "einops",
    "hook",
    "memory_summary",
    "module_stats",
    "naming",
    "network",
    "network_node",
    "profiler",
    "summary",
    "tensor_sanity_check",
    "tuple_function",
    "weights",
]

explain_module(__name__)
