"""Positions where a mask is set, against NumPy's, for every instruction set that this machine has; each tile may run at any time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from plans import run_op

from tengen.base import config
from tengen.compiler import compile_program
from tengen.compiler.kernels.target import Target
from tengen.compiler.program import Type, build
from tengen.compiler.schedule import positions
from tengen.compiler.schedule.positions import TILE
from tengen.compiler.targets.host import available, host_target
from tengen.compiler.view import contiguous
from tengen.core.ops.index import FlatNonzero

random = np.random.default_rng(0)


@pytest.fixture(params=available())
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with config.override(isa=request.param):
        yield host_target()


class Wide(FlatNonzero):
    """The positions of a mask that is too large for int32."""

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return Type("int64", (types[0].size,)), Type("int64", ())


def check(op: FlatNonzero, mask: np.ndarray, target: Target) -> None:
    """The positions, their number, and that what is behind them has not been touched."""
    got, count = run_op(op, mask, target=target)
    expected = np.flatnonzero(mask)
    assert count == expected.size
    np.testing.assert_array_equal(got[: expected.size], expected)
    assert (got[expected.size :].view(np.uint8) == 0xAB).all()


@pytest.mark.parametrize("op", [FlatNonzero(), Wide()], ids=["int32", "int64"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_any_length_and_share(target: Target, op: FlatNonzero, share: float) -> None:
    for length in (0, 1, 7, 63, 64, 65, 1000, TILE - 1, TILE, TILE + 1, 3 * TILE + 100):
        check(op, random.random(length) < share, target)


def test_words_that_are_full_beside_words_that_are_not(target: Target) -> None:
    mask = np.repeat(random.random(2 * TILE // 64) < 0.5, 64)
    check(FlatNonzero(), mask, target)
    mask[::997] ^= True
    check(FlatNonzero(), mask, target)


def test_masks_that_lie_apart(target: Target) -> None:
    mask = random.random((30, 7, 11)) < 0.4
    for seen in (mask.transpose(2, 0, 1), mask[::-2, :, 3:], np.broadcast_to(mask[0], (5, 7, 11)), mask[:, :, :0]):
        check(FlatNonzero(), seen, target)


def test_a_large_mask_has_larger_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a tile does not add up the counts of many others."""
    monkeypatch.setattr(positions, "MOST_TILES", 4)
    for length in (4 * TILE + 65, 9 * TILE):
        mask = random.random(length) < 0.1
        plan = compile_program(build(FlatNonzero(), [Type("bool", mask.shape)]), [contiguous(mask.shape)])
        assert max(step.tiles for step in plan.steps) <= 4
        check(FlatNonzero(), mask, host_target())


def test_positions_beyond_2_to_the_31_are_int64() -> None:
    dtypes = [FlatNonzero().infer(Type("bool", (size,)))[0].dtype for size in (2**31, 2**31 + 1)]
    assert dtypes == ["int32", "int64"]


def test_only_masks() -> None:
    with pytest.raises(TypeError, match="the mask must be bool, got float32"):
        FlatNonzero().infer(Type("float32", (3,)))
