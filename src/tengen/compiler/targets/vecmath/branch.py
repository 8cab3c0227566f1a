"""Code for rare lanes, skipped when no lane needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..vector import Vec


def where_rare(mask: Vec, usual: Sequence[Vec], compute: Callable[[], Sequence[Vec]]) -> list[Vec]:
    """`usual`, with the lanes of `mask` replaced by what `compute` emits. A single branch skips that if no lane is set.

    It starts new basic blocks: when it returns, the builder stands in the block after the branch.
    """
    builder = mask.builder
    before = builder.block
    with builder.if_then(mask.any(), likely=False):
        replaced = [mask.where(new, old) for new, old in zip(compute(), usual, strict=True)]
        inside = builder.block
    merged = []
    for old, new in zip(usual, replaced, strict=True):
        phi = builder.phi(old.value.type)
        phi.add_incoming(old.value, before)
        phi.add_incoming(new.value, inside)
        merged.append(old.like(phi))
    return merged
