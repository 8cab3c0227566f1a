"""Attention against NumPy in float64, its gradients against finite differences; bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import assert_close, check_gradient, check_second_gradient, random

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor, jit
from tengen._rt import apply
from tengen.autodiff import GradManager
from tengen.core.ops import builtin

N, L, S, E, HEADS = 2, 3, 5, 8, 2
Q, K, V = random((N, L, E)), random((N, S, E), seed=1), random((N, S, E), seed=2)
FULL, NONE, ALL = (8, 8, 8, 8), (0, 0, 0, 0), (True, True, True, True)
NOT = (False,) * 4
CAUSAL = np.where(np.arange(S) > np.arange(L)[:, None], -np.inf, 0.0)
BANNED = np.random.default_rng(4).random((L, S)) > 0.6
BANNED[:, 1] = False
PADDED = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]], bool)
NUMBERS, EACH = random((L, S), seed=5), random((N * HEADS, L, S), seed=6)
ROWS = random((1, 1, E), seed=7), random((1, 1, E), seed=8)


def split(weights, wide, sizes, biases):
    """(weight, bias) of each projection, None where there is none."""
    at = 0

    def take(*shape):
        nonlocal at
        at += math.prod(shape)
        return weights[at - math.prod(shape) : at].reshape(shape)

    wide = (*wide, sizes[2] or wide[2])
    found = [take(w, s) if s else None for w, s in zip(wide, sizes, strict=True)]
    return [(w, take(w.shape[1]) if b else 0) if w is not None else None for w, b in zip(found, biases, strict=True)]


def truth(q, k, v, weights, sizes=FULL, biases=NOT, mask=0.0, rows=(), zero=False, heads=HEADS):
    """The result and the softmax; appended rows are never masked."""
    parts = split(weights, (q.shape[2], k.shape[2], v.shape[2]), sizes, biases)
    projected = [x if part is None else x @ part[0] + part[1] for x, part in zip((q, k, v), parts, strict=False)]
    for row in (*([rows] if rows else []), *([(0, 0)] if zero else [])):
        for i, r in enumerate(row, 1):
            tail = np.broadcast_to(r, (len(q), 1, projected[i].shape[2]))
            projected[i] = np.concatenate([projected[i], tail], axis=1)
    q2, k2, v2 = (x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2) for x in projected)
    mask = np.broadcast_to(mask, (len(q), heads, q.shape[1], k.shape[1]))
    mask = np.pad(mask, ((0, 0), (0, 0), (0, 0), (0, k2.shape[2] - k.shape[1])))
    scores = q2 @ k2.swapaxes(2, 3) / math.sqrt(q.shape[2] // heads) + mask
    soft = np.exp(scores - scores.max(-1, keepdims=True))
    soft /= soft.sum(-1, keepdims=True)
    y = (soft @ v2).swapaxes(1, 2).reshape(*q.shape[:2], -1)
    return y if parts[3] is None else y @ parts[3][0] + parts[3][1], soft.reshape(-1, *soft.shape[2:])


def call(q, k, v, weights, sizes=FULL, biases=NOT, heads=HEADS, **options):
    tensors = [Tensor(x, dtype="float32") for x in (q, k, v)]
    options = {n: Tensor(o) if isinstance(o, np.ndarray) else o for n, o in options.items()}
    given = None if weights is None else Tensor(weights, dtype="float32")
    args = (*tensors, q.shape[-1], heads, 0.0, 0.0, given, *sizes, *biases)
    return F.nn.multi_head_attention(*args, **{"need_weights": True, **options})


def drawn(count):
    return random((count,), -0.5, 0.5, seed=9)


INFINITE = np.where(BANNED, -np.inf, 0.0)
PADDING = np.where(PADDED, -np.inf, 0.0)[:, None, None]
MASKS = {
    "none": ({}, 0.0),
    "causal": ({"is_causal": True}, CAUSAL),
    "bool": ({"attn_mask": BANNED}, INFINITE),
    "numbers": ({"attn_mask": NUMBERS.astype(np.float32)}, NUMBERS),
    "for each head": ({"attn_mask": EACH.astype(np.float32)}, EACH.reshape(N, HEADS, L, S)),
    "padding": ({"key_padding_mask": PADDED}, PADDING),
    "padding by numbers": ({"key_padding_mask": (PADDED * -2).astype(np.float32)}, PADDED[:, None, None] * -2.0),
    "both": ({"key_padding_mask": PADDED, "attn_mask": NUMBERS.astype(np.float32)}, PADDING + NUMBERS),
    "padding and causal": ({"key_padding_mask": PADDED, "is_causal": True}, PADDING + CAUSAL),
    "a mask that is said to be causal": ({"attn_mask": BANNED, "is_causal": True}, INFINITE),
}


@pytest.mark.parametrize("options, mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("rows, zero", [((), False), (ROWS, True)])
def test_masks(options, mask, rows, zero):
    weights = drawn(4 * 64)
    more = {"bias_k": rows[0].astype(np.float32), "bias_v": rows[1].astype(np.float32)} if rows else {}
    found = call(Q, K, V, weights, add_zero_attn=zero, **options, **more)
    for got, want in zip(found, truth(Q, K, V, weights, mask=mask, rows=rows, zero=zero), strict=True):
        assert_close(got, want, "float32", factor=10)


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_query_without_keys_gets_zeros(need_weights: bool):
    """The result is the bias of the last projection then."""
    weights = drawn(4 * 64 + 32)
    nothing = np.array([[False] * S, [True] * S])
    y, soft = call(Q, K, V, weights, FULL, ALL, key_padding_mask=nothing, need_weights=need_weights)
    np.testing.assert_allclose(y[1].numpy(), np.broadcast_to(weights[-8:], (L, E)), rtol=1e-6)
    assert_close(y[0], truth(Q, K, V, weights, FULL, ALL)[0][0], "float32", factor=10)
    assert not need_weights or not soft.numpy()[HEADS:].any()


PROJECTIONS = {
    "biases": (FULL, ALL, 4 * 64 + 32),
    "some biases": (FULL, (True, False, False, True), 4 * 64 + 16),
    "none": (NONE, NOT, 0),
    "no query": ((0, 8, 8, 8), NOT, 3 * 64),
    "no result": ((8, 8, 8, 0), (True, True, True, False), 3 * 64 + 24),
    "narrow": ((4, 4, 6, 10), ALL, 8 * 4 * 2 + 8 * 6 + 6 * 10 + 4 + 4 + 6 + 10),
    "one": ((0, 0, 0, 6), NOT, 48),
}


@pytest.mark.parametrize("sizes, biases, count", PROJECTIONS.values(), ids=PROJECTIONS.keys())
def test_projections(sizes, biases, count):
    weights = drawn(count)
    found = call(Q, K, V, weights if count else None, sizes, biases)
    for got, want in zip(found, truth(Q, K, V, weights, sizes, biases), strict=True):
        assert_close(got, want, "float32", factor=10)


def test_keys_and_values_of_other_widths():
    k, v, weights = random((N, S, 6)), random((N, S, 4), seed=1), drawn(64 + 48 + 32 + 64)
    for got, want in zip(call(Q, k, v, weights), truth(Q, k, v, weights), strict=True):
        assert_close(got, want, factor=10)


def test_without_a_batch():
    weights = drawn(256)
    y, soft = call(Q[0], K[0], V[0], weights, key_padding_mask=PADDED[0])
    want = truth(Q[:1], K[:1], V[:1], weights, mask=PADDING[:1])
    assert_close(y, want[0][0], factor=10)
    assert_close(soft, want[1], factor=10)
    _, mean = call(Q[0], K[0], V[0], weights, key_padding_mask=PADDED[0], average_attn_weights=True)
    assert_close(mean, want[1].mean(0), factor=10)


def test_weights_are_averaged_or_left_out():
    weights = drawn(256)
    want = truth(Q, K, V, weights)[1]
    assert_close(call(Q, K, V, weights, average_attn_weights=True)[1], want.reshape(N, HEADS, L, S).mean(1), factor=10)
    assert call(Q, K, V, weights, need_weights=False)[1] is None


def test_reslink_adds_the_query():
    weights = drawn(256)
    assert_close(call(Q, K, V, weights, reslink=True)[0], truth(Q, K, V, weights)[0] + Q, factor=10)


def test_windows_and_lengths():
    weights, window = drawn(256), np.array([[0, 0, 1], [3, 4, 5]], np.int32)
    lengths = np.array([[3, 2], [4, 5]], np.int32)
    place = np.arange(S)
    outside = (place < window[0][:, None]) | (place >= window[1][:, None])
    mask = np.where(outside | (place >= lengths[1][:, None, None, None]), -np.inf, 0.0)
    y, soft = call(Q, K, V, weights, attn_mask=window, key_padding_mask=lengths, maybe_cudnn_style_mask=True)
    want = truth(Q, K, V, weights, mask=mask)
    want[0][1, 2] = 0
    assert_close(y, want[0], factor=10)
    assert_close(soft, want[1], factor=10)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"add_zero_attn": True, "reslink": True}])
def test_gradients(options):
    arrays = [random((1, 2, 4)), random((1, 3, 4), seed=1), random((1, 3, 4), seed=2), drawn(4 * 16 + 16)]

    def function(q, k, v, w):
        made = F.nn.multi_head_attention(q, k, v, 4, 2, 0.0, 0.0, w, 4, 4, 4, 4, *ALL, need_weights=True, **options)
        return list(made)

    check_gradient(function, arrays)


def test_second_gradients():
    arrays = [random((1, 2, 2)), random((1, 2, 2), seed=1), random((1, 2, 2), seed=2), drawn(16)]
    check_second_gradient(
        lambda q, k, v, w: F.nn.multi_head_attention(q, k, v, 2, 1, 0.0, 0.0, w, 2, 2, 2, 2)[0], arrays
    )


def test_appended_rows_have_gradients():
    layer = M.MultiHeadAttention(4, 2, add_bias_kv=True, add_zero_attn=True)
    x = Tensor(random((2, 3, 4)), dtype="float32")
    manager = GradManager().attach(list(layer.parameters()))
    with manager:
        manager.backward((layer(x, x, x)[0] ** 2).sum())
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in layer.parameters())


def test_dropout_in_training():
    tengen.random.seed(2)
    layer, x = (
        M.MultiHeadAttention(64, 4, attn_dropout=0.5, out_dropout=0.25),
        Tensor(random((4, 16, 64)), dtype="float32"),
    )
    y, soft = layer(x, x, x, need_weights=True)
    layer.eval()
    plain, all_of_it = layer(x, x, x, need_weights=True)
    kept = soft.numpy() != 0
    assert abs(kept.mean() - 0.5) < 0.05
    np.testing.assert_allclose(soft.numpy()[kept], 2 * all_of_it.numpy()[kept], rtol=1e-5)
    assert abs((y.numpy() == 0).mean() - 0.25) < 0.05
    assert (plain.numpy() != 0).all()
    # who asks for no softmax gets the kernel that does not store it: other roundings
    np.testing.assert_allclose(layer(x, x, x)[0].numpy(), plain.numpy(), rtol=1e-5, atol=1e-6)


def test_without_the_softmax_results_are_the_same():
    """Causal or with masks of both kinds, gradients too."""
    layer = M.MultiHeadAttention(8, 2)
    arrays = random((2, 5, 8)), random((2, 5, 8))
    padding = np.array([[False, False, True, False, True], [False] * 5])
    for more in ({"is_causal": True}, {"attn_mask": Tensor(random((5, 5)), dtype="float32")}, {}):
        found = []
        for need in (True, False):
            x, g = (Tensor(a, dtype="float32") for a in arrays)
            with GradManager().attach([x]) as gm:
                y = layer(x, x, x, key_padding_mask=Tensor(padding), need_weights=need, **more)[0]
                gm.backward(y, g)
            found.append((y.numpy(), x.grad.numpy()))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("symbolic", [True, False])
def test_traced(symbolic):
    layer, x = M.MultiHeadAttention(8, 2), Tensor(random((2, 3, 8)), dtype="float32")
    traced = jit.trace(lambda v: layer(v, v, v, is_causal=True)[0], symbolic=symbolic)
    want = layer(x, x, x, is_causal=True)[0].numpy()
    for _ in range(3):
        np.testing.assert_allclose(traced(x).numpy(), want, rtol=1e-6, atol=1e-6)


def test_the_layer_is_the_function():
    layer = M.MultiHeadAttention(8, 2, kdim=6, vdim=4)
    k, v = random((N, S, 6)), random((N, S, 4), seed=1)
    weights = layer.io_weight_bias.numpy().ravel().astype(np.float64)
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {"io_weight_bias": (1, 64 + 48 + 32 + 64 + 32)}
    assert not weights[-32:].any()
    assert 0.9 * math.sqrt(6 / 16) < np.abs(weights[:64]).max() <= math.sqrt(6 / 16)
    found = layer(*(Tensor(x, dtype="float32") for x in (Q, k, v)), need_weights=True)
    for got, want in zip(found, truth(Q, k, v, weights, biases=ALL), strict=True):
        assert_close(got, want, factor=10)
    assert repr(layer) == (
        "MultiHeadAttention(embed_dim=8, num_heads=2, attn_dropout=0.0, out_dropout=0.0, bias=True, kdim=6, vdim=4)"
    )


def test_builtin_op():
    q, k, v, w = (Tensor(x, dtype="float32") for x in (Q, K, V, drawn(256)))
    op = builtin.MultiHeadAttn(
        num_heads=2, qproj_size=8, kproj_size=8, vproj_size=8, oproj_size=8, sm_scaler=0.5, need_weights=True
    )
    for got, want in zip(apply(op, q, k, v, w), truth(Q, K, V, drawn(256)), strict=True):
        assert_close(got, want, factor=10)


@pytest.mark.parametrize("shape, keys", [((0, 3), 5), ((2, 0), 5), ((1, 1), 1)])
def test_sizes_of_0_and_1(shape, keys):
    x, k = Tensor(np.ones((*shape, 8), np.float32)), Tensor(np.ones((shape[0], keys, 8), np.float32))
    assert tuple(M.MultiHeadAttention(8, 2)(x, k, k)[0].shape) == (*shape, 8)


def wrong(**options):
    return lambda: call(Q, K, V, options.pop("weights", drawn(256)), **options)


WRONG = {
    "heads that do not fit": (lambda: M.MultiHeadAttention(8, 3), "MultiHeadAttention: embed_dim 8 is no multiple of num_heads 3"),
    "a dropout of all": (lambda: M.MultiHeadAttention(8, 2, attn_dropout=1.0), "attn_dropout must be at least 0 and less"),
    "too few weights": (wrong(weights=drawn(200)), r"io_weight_bias has 200 elements, not the 256 of \(8, 8\)"),
    "weights for nothing": (wrong(sizes=NONE), "give it with their sizes, or neither"),
    "a mask of another length": (wrong(attn_mask=BANNED.T), r"attn_mask must have the shape \(3, 5\) or \(4, 3, 5\), got \(5, 3\)"),
    "padding of another batch": (wrong(key_padding_mask=PADDED[:1]), r"key_padding_mask must have the shape \(2, 5\), got \(1, 5\)"),
    "one row of two": (wrong(bias_k=ROWS[0]), "bias_k and bias_v must be given both or not at all"),
    "keys without values": (lambda: call(Q, K, V[:, :4], drawn(256)), "must have one batch size, and key and value must have one length"),
    "a batch for some": (lambda: call(Q[0], K, V, drawn(256)), "must all have a batch or none"),
    "windows of nothing": (wrong(maybe_cudnn_style_mask=True), r"needs attn_mask \(2, L\) and key_padding_mask \(2, N\)"),
    "a link to another width": (wrong(sizes=(8, 8, 8, 6), weights=drawn(240), reslink=True), "reslink adds the query"),
}  # fmt: skip


@pytest.mark.parametrize("function, message", WRONG.values(), ids=WRONG.keys())
def test_bad_input(function, message):
    with pytest.raises(ValueError, match=message):
        function()
