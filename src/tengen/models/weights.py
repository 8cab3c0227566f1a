"""Loads weights from files of tengen, PyTorch or safetensors into networks that have the names of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import StateDictError, some
from ..logger import get_logger
from ..module import Module
from ..serialization import load
from ..utils.weights import inside, partners

File = str | os.PathLike[str] | Mapping[str, Any] | None
"""Where weights come from: a file, a state dict, or nowhere."""


def load_weights(
    net: Module,
    weights: File,
    rename: Mapping[str, str] | None = None,
    beside: str = "$^",
    head: Sequence[str] = (),
) -> None:
    """Load the weights of a file into a new network; does nothing without a file.

    The file must have every tensor of the network, and the network every tensor of the file, by name and shape: a file of a deeper network
    has all names of a shallow one, too.

    Args:
        net: gets the values.
        weights: path of a file that `tengen.load` reads, or a state dict.
        rename: regular expressions, with replacements, for names of the file.
        beside: a regular expression for what files have besides the network.
        head: names in the network whose shapes depend on the number of classes; they keep their values if the file has other shapes.

    Raises StateDictError if file and network differ.
    """
    if weights is None:
        return
    state = dict(inside(weights if isinstance(weights, Mapping) else load(weights)))
    said = "the state dict" if isinstance(weights, Mapping) else os.fspath(weights)
    own = dict(net.named_tensors())
    fresh = [name for name in head if name in state and tuple(state[name].shape) != tuple(own[name].shape)]
    if fresh:
        get_logger().info("%s: first values are kept, because the shapes in %s are different", ", ".join(fresh), said)
        state |= {name: own[name] for name in fresh}
    found = partners(net, state, rename, by_order=False)
    if not found.rows:
        raise StateDictError(f"{said}: no name and shape in it is one of {type(net).__name__}")
    unused = [name for name in found.unused if not re.search(beside, name)]
    for names, what in ((found.missing, "lacks"), (unused, "also has")):
        if names:
            raise StateDictError(f"{said} is of another network than {type(net).__name__}: it {what} {some(names, 8)}")
    found.load(net)
