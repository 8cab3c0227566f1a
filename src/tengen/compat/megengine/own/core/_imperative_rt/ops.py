"""Parts of `megengine.core._imperative_rt.ops` other than ops: random number generators, which ops refer to by number."""

from __future__ import annotations

import itertools
from typing import Any

import tengen

from ......random.rng import RNG, default_generator

__all__ = [
    "delete_rng_handle",
    "get_global_rng_seed",
    "get_rng_handle_compnode",
    "new_rng_handle",
    "set_global_rng_seed",
]

_numbers = itertools.count(1)
_generators: dict[int, tuple[Any, RNG]] = {}


def generator(handle: int) -> RNG:
    """The generator with a number; 0 is that of `tengen.random`."""
    if handle == 0:
        return default_generator()
    if handle not in _generators:
        raise ValueError(f"there is no generator of random numbers {handle}: new_rng_handle makes one")
    return _generators[handle][1]


def new_rng_handle(comp_node: Any, seed: int) -> int:
    """The number of a new generator."""
    handle = next(_numbers)
    _generators[handle] = comp_node, RNG(seed)
    return handle


def delete_rng_handle(handle: int) -> None:
    """Forget a generator."""
    generator(handle)
    _generators.pop(handle, None)


def get_rng_handle_compnode(handle: int) -> Any:
    """The device that a generator was made for."""
    generator(handle)
    return _generators[handle][0] if handle else "cpu0"


def get_global_rng_seed() -> int:
    """The seed of `tengen.random`."""
    return default_generator()._seed


def set_global_rng_seed(seed: int) -> None:
    """Have `tengen.random` start again with this seed."""
    tengen.random.seed(seed)
