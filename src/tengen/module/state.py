"""Loading a state dict into tensors, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..base.errors import StateDictError, some
from ..base.usage import warn
from ..core import Tensor, as_it_lies
from ..dtype import is_quantize
from ..logger import get_logger

_logger = get_logger(__name__)


def load_state(
    tensors: list[tuple[str, Tensor, tuple[int, ...]]],
    state_dict: Mapping[str, Any] | Callable[[str, Tensor], np.ndarray | None],
    strict: bool,
    owner: str,
) -> None:
    """Set `tensors` to what `state_dict` has for their names; see `Module.load_state_dict`.

    tensors: (name, tensor, its shape in state dicts; its own is taken too). owner: what errors call the module.
    """
    if isinstance(state_dict, Mapping):
        values = {name: state_dict.get(name) for name, _, _ in tensors}
    elif callable(state_dict):
        values = {name: state_dict(name, tensor) for name, tensor, _ in tensors}
    else:
        raise TypeError(f"a state dict must be a dict or a function of (name, tensor), got {type(state_dict).__name__}")

    new = {name: _fit(name, tensor, shape, values[name]) for name, tensor, shape in tensors if values[name] is not None}
    problems = [value for value in new.values() if isinstance(value, str)]
    missing = [name for name, value in values.items() if value is None]
    unused = [name for name in state_dict if name not in values] if isinstance(state_dict, Mapping) else []
    loose = [(text, names) for text, names in (("missing", missing), ("not in the module", unused)) if names]
    if problems or (strict and loose):
        title = f"the state dict does not fit {owner}; nothing was loaded"
        given = state_dict if isinstance(state_dict, Mapping) else values
        listed = [f"{text}: {', '.join(map(str, names))}" for text, names in loose] if strict else []
        raise StateDictError("\n  ".join([title, *listed, *problems, *_advice(given)]))
    if tensors and unused and not new:
        warn(
            f"load_state_dict(strict=False) of {owner}: nothing was loaded, as no name of the state dict, such as {unused[0]!r}, is one "
            f"of the module, such as {missing[0]!r}; give the part that is its state dict, with names that are those of the module"
        )
    for text, names in loose:
        _logger.warning("load_state_dict(strict=False) of %s: %s: %s", owner, text, some(names))
    for name, tensor, _ in tensors:
        if name in new:
            # What is quantised keeps the scale that it was saved with.
            dtype = None if is_quantize(new[name].dtype) else tensor.dtype
            tensor._reset(as_it_lies(new[name], dtype, str(tensor.device)))


def _advice(values: Mapping[str, Any]) -> list[str]:
    """How to load what PyTorch has saved, or what is inside of a checkpoint, if that is what was given."""
    for name, value in values.items():
        if isinstance(value, Mapping) and any(hasattr(inner, "shape") for inner in value.values()):
            return [f"this is a checkpoint, which has a state dict inside: give its part [{name!r}]", *_advice(value)]
    tensors = any(_is_of_torch(value) for value in values.values())
    if not tensors and not any(str(name).endswith("num_batches_tracked") for name in values):
        return []
    return [
        "this is PyTorch's: tengen.utils.weights.match(net, state) brings its names and shapes together with those here"
    ]


def _is_of_torch(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _fit(name: str, tensor: Tensor, shape: tuple[int, ...], value: Any) -> Any:
    """The value as it can be given to `tensor`, or what is wrong with it."""
    if not isinstance(value, (Tensor, np.ndarray, np.generic)):
        kind = f"torch.{type(value).__name__}" if _is_of_torch(value) else type(value).__name__
        return f"{name}: expected a NumPy array or a tensor, got {kind}"
    have, want = tuple(value.shape), tuple(tensor.shape)
    if have not in (want, shape):
        return f"{name}: shape {have} where the module has {want}"
    fitting = {"f": "fbui", "c": "cfbui"}.get(tensor.dtype.kind, "bui")
    if value.dtype.kind not in fitting:
        return f"{name}: dtype {value.dtype} cannot be loaded into one of {tensor.desc.dtype}"
    return value if have == want else value.reshape(want)
