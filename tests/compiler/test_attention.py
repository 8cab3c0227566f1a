"""Attention kernels against the formula in float64, for every instruction set that this machine has; each tile may run at any time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emulated_amx import amx_machine
from plans import run_op

from tengen.base import config
from tengen.compiler.kernels.attention import AttentionKernel
from tengen.compiler.kernels.target import HostTarget
from tengen.compiler.targets import attention as emitter
from tengen.compiler.targets.host import available, host_target
from tengen.core.ops.dot_product import FusedAttention, FusedAttentionGradient

random = np.random.default_rng(0)
OP = FusedAttention(False, 0.3)
CAUSAL = FusedAttention(True, 0.3)


ALIKE = {"avx512bf16", "avx512vnni", "avx512", "avxvnni"}  # for these kernels they are as another one is


@pytest.fixture(params=[isa for isa in available() if isa not in ALIKE or isa == available()[0]])
def target(request: pytest.FixtureRequest) -> Iterator[HostTarget]:
    with config.override(isa=request.param):
        yield host_target()


def operands(length: int, keys: int, width: int, value_width: int, n: int = 2, heads: int = 3) -> list[np.ndarray]:
    """Transposed views of (n, length, heads, width), as layers make them."""
    sizes = (length, width), (keys, width), (keys, value_width)
    return [random.standard_normal((n, rows, heads, w), dtype=np.float32).swapaxes(1, 2) for rows, w in sizes]


def formula(op: FusedAttention, *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The result, and log2 of the sum of the powers of each row."""
    q, k, v, *bias = (x.astype(np.float64) for x in arrays)
    scores = op.scale * (q @ k.swapaxes(2, 3)) + (bias[0] if bias else 0)
    if op.causal:
        scores = np.where(np.arange(scores.shape[3]) > np.arange(scores.shape[2])[:, None], -np.inf, scores)
    high = scores.max(3, keepdims=True)
    powers = np.exp(scores - high)
    total = powers.sum(3, keepdims=True)
    return powers / total @ v, ((high + np.log(total)) / np.log(2))[..., 0]


def check(op: FusedAttention, *arrays: np.ndarray, target: HostTarget) -> None:
    got, levels = run_op(op, *arrays, target=target)
    expected, expected_levels = formula(op, *arrays)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=3e-6)
    np.testing.assert_allclose(levels, expected_levels, rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("length", [1, 33, 130])
@pytest.mark.parametrize("op", [OP, CAUSAL], ids=["full", "causal"])
def test_lengths_about_whole_blocks(target: HostTarget, op: FusedAttention, length: int) -> None:
    for keys in (1, 7, 64, 131):
        check(op, *operands(length, keys, 16, 16), target=target)


@pytest.mark.parametrize("length", [1, 4])
def test_few_queries(target: HostTarget, length: int) -> None:
    """Which have a kernel of their own."""
    for keys, width, value_width in ((1, 8, 8), (67, 20, 40), (200, 64, 3)):
        q, k, v = operands(length, keys, width, value_width)
        bias = np.broadcast_to(random.standard_normal((2, 1, length, keys), dtype=np.float32), (2, 3, length, keys))
        check(CAUSAL, q, k, v, target=target)
        check(OP, q, k, v, bias, target=target)
    bias = np.where(random.random((2, 3, length, 200)) < 0.5, -np.inf, 0).astype(np.float32)
    bias[..., :64] = bias[1, 2] = -np.inf
    got, levels = run_op(OP, q, k, v, bias, target=target)
    assert (got[1, 2] == 0).all()
    assert (levels[1, 2] == -np.inf).all()
    check(OP, *(x[:1] for x in (q, k, v, bias)), target=target)


@pytest.mark.parametrize(("width", "value_width"), [(1, 1), (3, 80), (64, 40), (17, 128), (256, 256)])
def test_any_number_of_features(target: HostTarget, width: int, value_width: int) -> None:
    q, k, v = operands(20, 70, width, value_width, 1, 2)
    check(OP, q / np.float32(width**0.5), k, v, target=target)


def test_several_blocks_of_queries(target: HostTarget) -> None:
    check(CAUSAL, *operands(530, 530, 8, 8, 1, 1), target=target)


@pytest.mark.parametrize("shape", [(2, 3, 40, 70), (2, 1, 1, 70), (1, 3, 40, 1), (1, 1, 1, 1)])
def test_a_bias_that_broadcasts(target: HostTarget, shape: tuple[int, ...]) -> None:
    bias = np.broadcast_to(random.standard_normal(shape, dtype=np.float32), (2, 3, 40, 70))
    for op in (OP, CAUSAL):
        check(op, *operands(40, 70, 8, 16), bias, target=target)


def test_operands_that_lie_anyhow() -> None:
    q, k, v = operands(30, 50, 16, 16)
    back = np.ascontiguousarray(q[:, :, ::-1])[:, :, ::-1]
    one = np.broadcast_to(k[:1, :1], k.shape)
    jumping = np.ascontiguousarray(v.swapaxes(2, 3)).swapaxes(2, 3)
    check(OP, back, one, jumping, target=host_target())
    check(OP, *(np.ascontiguousarray(x) for x in (q, k, v)), target=host_target())
    check(OP, q[:, :, :, 2:13], k[:, :, :, 2:13], v[:, :, ::2][:, :, :25].repeat(2, 2), target=host_target())


def test_a_result_lies_like_the_queries() -> None:
    """So that putting the heads side by side needs no copy."""
    q, k, v = operands(30, 50, 16, 16)
    got, _ = run_op(OP, q, k, v)
    assert got.shape == (2, 3, 30, 16)


def test_large_and_missing_scores(target: HostTarget) -> None:
    q, k, v = operands(20, 70, 8, 8)
    got, _ = run_op(OP, 1e4 * q, 1e4 * k, v, target=target)
    best = (q.astype(np.float64) @ k.swapaxes(2, 3)).argmax(3)
    np.testing.assert_array_equal(got, np.take_along_axis(v, best[..., None], 2))
    bias = np.where(random.random((2, 3, 20, 70)) < 0.5, -np.inf, 0).astype(np.float32)
    bias[..., :64] = -np.inf  # the whole first block
    bias[..., 64] = 0
    check(OP, q, k, v, bias, target=target)
    bias[:, :, 5] = -np.inf
    got, levels = run_op(OP, q, k, v, bias, target=target)
    assert (got[:, :, 5] == 0).all()
    assert (levels[:, :, 5] == -np.inf).all()
    assert np.isfinite(np.delete(got, 5, 2)).all()


def test_nan_stays_where_it_is(target: HostTarget) -> None:
    q, k, v = operands(40, 70, 8, 8)
    q[1, 2, 3, 4] = np.nan
    v[0, 0, 69, 1] = np.nan
    got, _ = run_op(OP, q, k, v, target=target)
    missing = np.isnan(got)
    assert missing[1, 2, 3].all()
    assert missing[0, 0, :, 1].all()
    assert missing.sum() == 8 + 40


def gradient_formula(op: FusedAttention, g: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Of q, k and v."""
    q, k, v, *bias = (x.astype(np.float64) for x in arrays)
    y, levels = formula(op, *arrays)
    scores = op.scale * (q @ k.swapaxes(2, 3)) + (bias[0] if bias else 0)
    powers = np.exp(scores - levels[..., None] * np.log(2))
    if op.causal:
        powers = np.where(np.arange(scores.shape[3]) > np.arange(scores.shape[2])[:, None], 0, powers)
    change = op.scale * powers * (g @ v.swapaxes(2, 3) - (g * y).sum(3, keepdims=True))
    return [change @ k, change.swapaxes(2, 3) @ q, powers.swapaxes(2, 3) @ g]


def check_gradient(op: FusedAttention, *arrays: np.ndarray, target: HostTarget) -> None:
    y, levels = (x.astype(np.float32) for x in formula(op, *arrays))
    g = random.standard_normal(y.shape, dtype=np.float32)
    backward = FusedAttentionGradient(op.causal, op.scale)
    got = run_op(backward, *arrays, y, levels, g, target=target)
    for x, expected in zip(got, gradient_formula(op, g, *arrays), strict=True):
        np.testing.assert_allclose(x, expected, rtol=5e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 64, 130])
@pytest.mark.parametrize("op", [OP, CAUSAL], ids=["full", "causal"])
def test_gradients_of_lengths_about_whole_blocks(target: HostTarget, op: FusedAttention, length: int) -> None:
    for keys in (1, 64, 131):
        check_gradient(op, *operands(length, keys, 16, 16), target=target)


@pytest.mark.parametrize(("width", "value_width"), [(3, 80), (40, 24)])
def test_gradients_of_any_number_of_features(target: HostTarget, width: int, value_width: int) -> None:
    q, k, v = operands(20, 70, width, value_width, 1, 2)
    check_gradient(OP, q / np.float32(width**0.5), k, v, target=target)


def test_gradients_of_one_head_are_swept_in_groups(target: HostTarget) -> None:
    check_gradient(CAUSAL, *operands(400, 400, 8, 8, 1, 1), target=target)


def test_gradients_with_a_bias(target: HostTarget) -> None:
    for shape in ((2, 1, 1, 70), (2, 1, 40, 70)):
        bias = np.broadcast_to(random.standard_normal(shape, dtype=np.float32), (2, 3, 40, 70))
        for op in (OP, CAUSAL):
            check_gradient(op, *operands(40, 70, 8, 16), bias, target=target)


def narrow(x: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 numbers: float32 numbers, cut."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def wide(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def check_bfloat16(op: FusedAttention, *arrays: np.ndarray, target: HostTarget) -> None:
    """Forward and gradient. Factors of the second products are rounded to 8 bits, so results and gradients are as exact as those are large."""
    *given, bias = [*map(narrow, arrays[:3]), *(arrays[3:] or [None])]
    more = [] if bias is None else [bias]
    exact = [*map(wide, given), *more]
    got, levels = run_op(op, *given, *more, dtypes=dict.fromkeys(range(3), "bfloat16"), target=target)
    y, want = formula(op, *exact)
    np.testing.assert_allclose(levels, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wide(got), y, rtol=1.2e-2, atol=4e-3)
    g = narrow(random.standard_normal(y.shape, dtype=np.float32))
    operands = [*given, *more, narrow(y.astype(np.float32)), want.astype(np.float32), g]
    places = [i for i, x in enumerate(operands) if x.dtype == np.uint16]
    found = run_op(
        FusedAttentionGradient(op.causal, op.scale),
        *operands,
        dtypes=dict.fromkeys(places, "bfloat16"),
        target=target,
    )
    for x, expected in zip(found, gradient_formula(op, wide(g), *exact), strict=True):
        np.testing.assert_allclose(wide(x), expected, rtol=2e-2, atol=8e-3 * np.abs(expected).max())


def test_float16_is_summed_in_float32(target: HostTarget) -> None:
    given = [x.astype(np.float16) for x in operands(40, 130, 24, 16)]
    got, _ = run_op(OP, *given, target=target)
    expected, _ = formula(OP, *given)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sizes", [(40, 130, 24, 16), (70, 65, 33, 80), (1, 67, 33, 1)])
def test_bfloat16(target: HostTarget, sizes: tuple[int, ...]) -> None:
    for op in (OP, CAUSAL):
        check_bfloat16(op, *operands(*sizes), target=target)
    if sizes[0] == 70:
        bias = np.broadcast_to(random.standard_normal((2, 1, 70, 65), dtype=np.float32), (2, 3, 70, 65))
        check_bfloat16(CAUSAL, *operands(*sizes), bias, target=target)


def test_bfloat16_that_lies_anyhow() -> None:
    """Rows that begin at odd numbers, so that pairs are not aligned."""
    q, k, v = (np.concatenate([x, x], 3)[..., 1:16] for x in operands(33, 70, 15, 15))
    check_bfloat16(OP, q, k, v, target=host_target())


@pytest.mark.parametrize("sizes", [(40, 100, 24, 16), (70, 33, 33, 70)])
def test_bfloat16_in_registers_of_amx(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    with amx_machine(tmp_path) as target:
        for op in (OP, CAUSAL):
            check_bfloat16(op, *operands(*sizes, n=1, heads=2), target=target)


def test_a_kernel_of_half_a_panel_is_refused() -> None:
    with pytest.raises(ValueError, match="one query or whole panels of 32"):
        emitter.emit(AttentionKernel("float32", "plain", False, False, 8, 8, 16, 64, 16, 32), host_target())
