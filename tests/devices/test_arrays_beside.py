"""Arrays and lists beside a tensor go to where the tensor is: here to gpu1, while the default device is the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from array_api_rows import CASES, LINALG
from array_api_rows import check as check_api
from array_api_rows import given as given_to_api

import tengen
import tengen.array_api as xp
import tengen.functional as F
import tengen.module as M
from tengen.base import config

random = np.random.default_rng(0)
PLACE = "gpu1:0"


def floats(*shape):
    return random.random(shape, np.float32)


def below(limit, *shape):
    return random.integers(0, limit, shape).astype(np.int32)


X, Y, SQUARE, IMAGE, VECTOR = floats(3, 4), floats(3, 4), floats(4, 4), floats(2, 3, 6, 6), floats(4)
MASK, LABEL, AT = X > 0.5, below(4, 3), below(3, 2, 4)
QUERY, CHANNELS, ROIS = floats(2, 5, 4), floats(3), np.array([[0, 1, 1, 4, 4], [1, 0, 0, 3, 5]], np.float32)
BOXES = np.array([[0, 0, 9, 9], [1, 1, 9, 9], [20, 20, 30, 30]], np.float32)
TURNED = np.array([[[0, 1, 0], [1, 0, 0]]] * 2, np.float32)
PROJECTED = np.array([np.eye(3)] * 2, np.float32)
REGIONS = below(2, 2, 6, 6)

# Each array in turn is a tensor of gpu1, and the others stay what they are.
ROWS = {
    "add": (F.add, X, Y),
    "maximum": (F.maximum, X, Y),
    "clip": (F.clip, X, VECTOR * 0, VECTOR),
    "less": (F.less, X, Y),
    "pow": (F.pow, X, Y),
    "atan2": (F.atan2, X, Y),
    "prelu": (F.prelu, X, VECTOR),
    "logical_and": (F.logical_and, MASK, X < 0.9),
    "matmul": (F.matmul, X, SQUARE),
    "dot": (F.dot, VECTOR, X[0]),
    "linear": (F.linear, X, floats(5, 4), floats(5)),
    "complex": (F.complex, X, Y),
    "polar": (F.polar, X, Y),
    "where": (F.where, MASK, X, Y),
    "where, a number": (lambda mask, x: F.where(mask, x, 0.0), MASK, X),
    "where, numbers": (lambda mask: F.where(mask, 1.0, 0.0), MASK),
    "cond_take": (F.cond_take, MASK, X),
    "gather": (lambda x, at: F.gather(x, 0, at), X, AT),
    "scatter": (lambda x, at, y: F.scatter(x, 0, at, y), X, AT, Y[:2]),
    "concat": (lambda *xs: F.concat(xs), X, Y),
    "stack": (lambda *xs: F.stack(xs), X, Y),
    "meshgrid": (F.meshgrid, VECTOR, floats(3)),
    "one_hot": (lambda at: F.one_hot(at, 4), LABEL),
    "indexing_one_hot": (F.indexing_one_hot, X, LABEL),
    "embedding": (F.embedding, LABEL, SQUARE),
    "topk_accuracy": (F.topk_accuracy, X, LABEL),
    "l1_loss": (F.loss.l1_loss, X, Y),
    "square_loss": (F.loss.square_loss, X, Y),
    "binary_cross_entropy": (F.loss.binary_cross_entropy, X, Y),
    "binary_cross_entropy of probabilities": (lambda x, y: F.loss.binary_cross_entropy(x, y, with_logits=False), X, Y),
    "hinge_loss": (F.loss.hinge_loss, X, np.sign(Y - 0.5)),
    "cross_entropy": (F.loss.cross_entropy, X, LABEL),
    "nll_loss": (F.loss.nll_loss, X, LABEL),
    "ctc_loss": (
        F.loss.ctc_loss,
        *(floats(5, 2, 3), np.array([5, 4], np.int32), np.array([[1, 2], [2, 0]], np.int32), np.array([2, 1], np.int32)),
    ),
    "ctc_loss, one label after the other": (
        F.loss.ctc_loss,
        *(floats(5, 2, 3), np.array([5, 4], np.int32), np.array([1, 2, 2], np.int32), np.array([2, 1], np.int32)),
    ),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, 4, True, w, b), X, VECTOR, floats(4)),
    "general_norm": (lambda x, w, b: F.general_norm(x, 1, True, w, b), X, VECTOR, floats(4)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 1, True, w, b), IMAGE, CHANNELS, floats(3)),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, True, w, b), IMAGE, CHANNELS, floats(3)),
    "batch_norm": (F.batch_norm, IMAGE, CHANNELS, floats(3) + 1, floats(3), floats(3)),
    "conv1d": (F.conv1d, floats(2, 3, 8), floats(5, 3, 3), floats(1, 5, 1)),
    "conv2d": (F.conv2d, IMAGE, floats(5, 3, 3, 3), floats(1, 5, 1, 1)),
    "conv3d": (F.conv3d, floats(1, 2, 4, 4, 4), floats(3, 2, 3, 3, 3), floats(1, 3, 1, 1, 1)),
    "conv_transpose2d": (F.conv_transpose2d, IMAGE, floats(3, 2, 3, 3), floats(1, 2, 1, 1)),
    "conv_transpose3d": (F.conv_transpose3d, floats(1, 2, 3, 3, 3), floats(2, 2, 2, 2, 2), floats(1, 2, 1, 1, 1)),
    "local_conv2d": (F.local_conv2d, IMAGE, floats(1, 4, 4, 3, 3, 3, 2), floats(1, 2, 1, 1)),
    "deformable_conv2d": (
        F.deformable_conv2d,
        *(IMAGE, floats(2, 3, 3, 3), floats(2, 18, 4, 4), floats(2, 9, 4, 4), floats(1, 2, 1, 1)),
    ),
    "region_restricted_conv": (
        lambda x, w, i, o, b: F.region_restricted_conv(x, w, i, o, b, padding=1, groups=3),
        *(IMAGE, floats(3, 1, 1, 3, 3), REGIONS, REGIONS, floats(1, 3, 1, 1)),
    ),
    "deformable_psroi_pooling": (
        lambda x, rois, moves: F.deformable_psroi_pooling(x, rois, moves, False, 2, 2, 2, 1, 1.0),
        *(floats(2, 8, 6, 6), ROIS, floats(2, 2, 2, 2)),
    ),
    "roi_align": (lambda x, rois: F.vision.roi_align(x, rois, 2), IMAGE, ROIS),
    "roi_pooling": (lambda x, rois: F.vision.roi_pooling(x, rois, 2), IMAGE, ROIS),
    "nms": (lambda boxes, scores: F.vision.nms(boxes, scores, 0.5), BOXES, CHANNELS),
    "remap": (F.vision.remap, IMAGE, floats(2, 3, 3, 2) * 4),
    "warp_affine": (lambda x, m: F.vision.warp_affine(x, m, (3, 3), format="NCHW"), IMAGE, TURNED),
    "warp_perspective": (lambda x, m: F.vision.warp_perspective(x, m, (3, 3)), IMAGE, PROJECTED),
    "warp_perspective of some": (
        lambda x, m, at: F.vision.warp_perspective(x, m, (3, 3), at),
        *(IMAGE, PROJECTED, np.array([1, 0], np.int32)),
    ),
    "correlation": (F.vision.correlation, IMAGE, floats(2, 3, 6, 6)),
    "scaled_dot_product_attention": (
        lambda q, k, v, mask: F.nn.scaled_dot_product_attention(q, k, v, mask),
        *(QUERY, floats(2, 3, 4), floats(2, 3, 4), floats(5, 3)),
    ),
    "multi_head_attention": (
        lambda q, k, v, w, bk, bv, pad, mask: F.nn.multi_head_attention(
            *(q, k, v, 4, 2, 0.0, 0.0, w, 4, 4, 4, 4),
            **{"bias_k": bk, "bias_v": bv, "key_padding_mask": pad, "attn_mask": mask},
        ),
        *(QUERY, floats(2, 3, 4), floats(2, 3, 4), floats(1, 64), floats(1, 1, 4), floats(1, 1, 4)),
        *(below(2, 2, 3) > 2, below(2, 5, 3) > 2),
    ),
    "multi_head_attention with windows": (
        lambda q, k, v, pad, mask: F.nn.multi_head_attention(
            *(q, k, v, 4, 2, 0.0, 0.0, None),
            **{"key_padding_mask": pad, "attn_mask": mask, "maybe_cudnn_style_mask": True},
        ),
        *(QUERY, floats(2, 3, 4), floats(2, 3, 4), np.array([[5, 4], [3, 2]], np.int32), np.array([[0] * 5, [3] * 5], np.int32)),
    ),
}  # fmt: skip


def tensors_of(result):
    return [t for part in result for t in tensors_of(part)] if isinstance(result, (tuple, list)) else [result]


def check(function, given, arrays, message, on_cpu=None):
    """Whether the result is on gpu1, with the values that the CPU computes."""
    found = [t for t in tensors_of(function(*given)) if t is not None]
    wanted = [t for t in tensors_of((on_cpu or function)(*map(tengen.tensor, arrays))) if t is not None]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert str(one.device) == PLACE, message
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-4, atol=1e-5, err_msg=message)


@pytest.mark.parametrize("kind", ["arrays", "lists"])
@pytest.mark.parametrize("name", ROWS)
def test_arrays_go_to_the_device_of_a_tensor(name, kind):
    function, *arrays = ROWS[name]
    for i, array in enumerate(arrays):
        given = [a.tolist() if kind == "lists" else a for a in arrays]
        given[i] = tengen.tensor(array, device="gpu1")
        check(function, given, arrays, f"argument {i} is the tensor")


@pytest.mark.parametrize("name", ROWS)
def test_without_a_tensor_they_go_to_the_default_device(name):
    function, *arrays = ROWS[name]
    assert all(str(t.device) == "xpux:0" for t in tensors_of(function(*arrays)) if t is not None)


def on_gpu1(make):
    tengen.random.seed(1)
    with config.override(default_device="gpu1"):
        return make()


MODULES = {
    "Linear": (lambda: M.Linear(4, 5), X),
    "Conv2d": (lambda: M.Conv2d(3, 5, 3), IMAGE),
    "BatchNorm2d": (lambda: M.BatchNorm2d(3), IMAGE),
    "BatchNorm2d without parameters": (lambda: M.BatchNorm2d(3, affine=False), IMAGE),
    "LayerNorm": (lambda: M.LayerNorm(4), X),
    "GroupNorm": (lambda: M.GroupNorm(3, 3), IMAGE),
    "InstanceNorm": (lambda: M.InstanceNorm(3), IMAGE),
    "Embedding": (lambda: M.Embedding(4, 5), LABEL),
    "PReLU": (lambda: M.PReLU(1), X),
    "RNN": (lambda: M.RNN(4, 5), QUERY),
    "LSTM": (lambda: M.LSTM(4, 5), QUERY),
    "RNNCell": (lambda: M.RNNCell(4, 5), X),
    "LSTMCell": (lambda: M.LSTMCell(4, 5), X),
    "MultiHeadAttention": (lambda: M.MultiHeadAttention(4, 2), QUERY, QUERY, QUERY),
}


@pytest.mark.parametrize("name", MODULES)
def test_arrays_go_to_the_device_of_a_module(name):
    make, *arrays = MODULES[name]
    module = on_gpu1(make)
    tengen.random.seed(1)
    other = make()
    for own, theirs in zip(other.parameters(), module.parameters(), strict=True):
        own.set_value(theirs)
    check(module, arrays, arrays, name, other)
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
        assert all(str(p.device) == PLACE for p in module.parameters())


VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_random_numbers_are_where_their_parameters_are():
    x = tengen.tensor(VALUES + 1, device="gpu1")
    drawn = [tengen.random.gamma(x, [1.0, 2.0, 3.0, 4.0]), tengen.random.beta(VALUES + 1, x), tengen.random.poisson(x)]
    mixed = tengen.random.permutation(x)
    tengen.random.shuffle(x)
    for one in (*drawn, mixed, x, F.dropout(x, 0.5)):
        assert str(one.device) == PLACE and one.shape == (3, 4)
    assert sorted(mixed.numpy()[:, 0].tolist()) == sorted(x.numpy()[:, 0].tolist()) == [1.0, 5.0, 9.0]


def test_random_numbers_follow_the_default_device():
    def drawn():
        return tengen.random.uniform(size=3), tengen.random.normal(size=3), tengen.random.permutation(3)

    assert [str(t.device) for t in drawn()] == ["xpux:0"] * 3
    assert [str(t.device) for t in on_gpu1(drawn)] == [PLACE] * 3
    assert [str(t.device) for t in drawn()] == ["xpux:0"] * 3


def test_functions_of_numbers_follow_the_default_device():
    def made():
        return F.add(1, 2), F.exp(1.0), tengen.jit.trace(lambda: F.sub(3, 1))()

    for _ in range(2):
        assert [str(t.device) for t in made()] == ["xpux:0"] * 3
        assert [str(t.device) for t in on_gpu1(made)] == [PLACE] * 3


def test_values_go_to_the_device_that_is_named():
    x = tengen.tensor([1.5], device="gpu1")
    assert str(F.full((2,), np.float32(1.5), device="gpu1").device) == str(F.full((2,), x).device) == PLACE
    assert F.full((2,), x).tolist() == F.full((2,), [1.5], device="gpu1").tolist() == [1.5, 1.5]
    generator = tengen.random.RNG(seed=1, device="gpu1")
    assert str(generator.gamma(VALUES + 1).device) == str(generator.permutation(5).device) == PLACE


def test_a_tensor_that_takes_a_value_stays_where_it_is():
    x = tengen.tensor(VALUES, device="gpu1")
    x.set_value(VALUES + 1)
    x[0] = VALUES[1]
    x[1:, [0, 2]] = np.zeros((2, 2), np.float32)
    assert str(x.device) == PLACE
    np.testing.assert_array_equal(x.numpy(), [VALUES[1], [0, 6, 0, 8], [0, 10, 0, 12]])


def test_lists_that_hold_a_tensor():
    x = tengen.tensor(VALUES, device="gpu1")
    for found, want in (
        (F.sum([x, x]), 132),
        (F.concat([VALUES, x]).sum(), 132),
        (F.add(VALUES, [x[0]] * 3).sum(), 84),
    ):
        assert str(found.device) == PLACE and found.item() == want


API = [*((xp, np, *row) for row in CASES), *((xp.linalg, np.linalg, *row) for row in LINALG)]


@pytest.mark.parametrize(
    "space, numpy, name, arguments, options", API, ids=[f"{i}-{row[2]}" for i, row in enumerate(API)]
)
def test_the_array_api_stays_where_its_arguments_are(space, numpy, name, arguments, options):
    placed = {key: given_to_api(value, "gpu1") for key, value in options.items()}
    found = getattr(space, name)(*(given_to_api(x, "gpu1") for x in arguments), **placed)
    assert all(str(t.device) == PLACE for t in tensors_of(found))
    want = getattr(numpy, name)(*arguments, **options)
    check_api(found, tuple(want) if isinstance(want, tuple) else want)


def test_numbers_of_the_array_api_go_to_the_other_operand():
    x = tengen.tensor(VALUES - 5, device="gpu1")
    for found in (
        xp.remainder(x, 3.0),
        xp.remainder(7.0, x),
        xp.hypot(x, 2.0),
        xp.hypot(2.0, x),
        xp.copysign(2.0, x),
        xp.clip(x, -1.0, 2.0),
    ):
        assert str(found.device) == PLACE and found.shape == (3, 4)
