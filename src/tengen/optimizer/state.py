"""Whether a saved state fits an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base.errors import StateDictError

Shapes = Mapping[str, tuple[int, ...]]


def check_state(
    owner: str, groups: Sequence[Sequence[Any]], states: Mapping[Any, Shapes], saved: Mapping[str, Any]
) -> list[tuple[Any, str, Any]]:
    """What to load, as (parameter, name, value). Raises StateDictError, listing what is wrong.

    Args:
        owner: the name of the optimizer, for messages.
        groups: the parameters of each group.
        states: the shapes of what is kept for each parameter, by name.
        saved: a state dict of an optimizer.
    """
    missing = [name for name in ("param_groups", "state") if not isinstance(saved, Mapping) or name not in saved]
    if missing:
        raise StateDictError(
            f"this is not a state dict of an optimizer: it has no {' and no '.join(map(repr, missing))}"
        )
    have, want = [len(group.get("params", ())) for group in saved["param_groups"]], [len(group) for group in groups]
    if have != want:
        raise StateDictError(
            f"the state dict does not fit {owner}: groups of {have} parameters where the optimizer has {want}"
        )

    found, problems = [], []
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    params = [param for group in groups for param in group]
    for number, param in zip(numbers, params, strict=True):
        kept, given = states.get(param, {}), saved["state"].get(number, {})
        if set(kept) != set(given):
            problems.append(f"parameter {number}: state {sorted(given)} where the optimizer keeps {sorted(kept)}")
            continue
        for name, want_shape in kept.items():
            have_shape = np.shape(given[name])
            if have_shape != want_shape:
                problems.append(f"parameter {number}, {name}: shape {have_shape} where the optimizer has {want_shape}")
            found.append((param, name, given[name]))
    if problems:
        raise StateDictError("\n  ".join([f"the state dict does not fit {owner}; nothing was loaded", *problems]))
    return found
