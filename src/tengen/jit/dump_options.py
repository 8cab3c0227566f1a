"""Options of MegEngine's `dump` that tengen's does not need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from ..base.usage import warn

#: What MegEngine's optimizer may do. tengen chooses layouts and fuses where the file is loaded, so these have no effect,
_LAYOUTS = {
    f"enable_{name}"
    for name in (
        "hwcd4 nchw88 nchw44 nchw44_dot nchw4 nchw32 chwn4 nchw64 fuse_conv_bias_nonlinearity fuse_conv_bias_with_z "
        "fuse_preprocess fuse_grain"
    ).split()
}
#: but for these, which change what is computed.
_HALF = {"enable_io16xc32", "enable_ioc16"}
#: What MegEngine writes beside the network: test cases, lists of ops for a smaller build, versions of its format.
_BESIDE = set(
    "append append_json enable_metadata input_data input_transform keep_opr_priority maxerr model_version no_assert no_change_graph "
    "optimize_for_inference repeat resize_input silent strip_info_file".split()
)


def check_options(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set.

    Args:
        function: what was called; errors give its name, and may propose one of its own arguments.
        options: those that it does not have itself, by name.

    Raises:
        ValueError: there is no such option, or it asks for what a file cannot hold.
    """
    known, name = _LAYOUTS | _HALF | _BESIDE, function.__name__
    if unknown := sorted(options.keys() - known):
        own = [p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        near = import_module("difflib").get_close_matches(unknown[0], [*own, *sorted(known)], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*own, *sorted(known)])}"
        raise ValueError(f"{name}: unknown option {unknown[0]!r}; {hint}")
    if options.get("append"):
        raise ValueError(f"{name}: a file holds one network, so append=True is not possible; write another file")
    for option in sorted(option for option in _HALF if options.get(option)):
        warn(f"{name}: {option} has no effect: the network goes on in the dtypes that it has")
    if options.get("input_data") is not None:
        warn(f"{name}: input_data has no effect: a file holds no test cases")
    return {option: value for option, value in options.items() if value}
