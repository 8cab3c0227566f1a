"""Wherever an int may stand, so may NumPy's integers and a tensor of one integer. Each public parameter that says `int` is tried."""

from __future__ import annotations

import copy
import inspect
import re

import numpy as np
import pytest
import scan_rows

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor, optimizer, random

T = Tensor
IMAGE = T(np.arange(2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6) / 100)
LINE, CUBE, ROWS = (
    T(np.arange(24, dtype=np.float32).reshape(1, 4, 6)),
    F.arange(24).reshape(2, 3, 4),
    F.arange(6).reshape(2, 3),
)
FEATURES = F.linspace(-1, 1, 24).reshape(2, 3, 4)
COLUMN, VECTOR = F.arange(3).reshape(3, 1), F.arange(4)
LABELS = T([0, 2])
WINDOW = {"kernel_size": 3, "padding": 1, "stride": 2, "dilation": 1}
VOLUME = F.arange(2 * 4 * 4 * 5 * 6).reshape(2, 4, 4, 5, 6) / 100
CONV = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
LAYER = {"in_channels": 4, "out_channels": 6, "kernel_size": 3, **CONV}
OPTIMIZER = optimizer.SGD([tengen.Parameter([1.0])], 0.1)
LATER = optimizer.SGD([{"params": [tengen.Parameter([1.0])], "initial_lr": 0.1}], 0.1)

#: function → its arguments; those whose parameter may be an int are tried with other kinds of integers
CALLS = {
    F.adaptive_avg_pool2d: {"inp": IMAGE, "oshp": 3},
    F.adaptive_max_pool2d: {"inp": IMAGE, "oshp": (3, 2)},
    F.avg_pool2d: {"inp": IMAGE, "kernel_size": (3, 2), "stride": 2, "padding": 1},
    F.max_pool2d: {"inp": IMAGE, "kernel_size": 3, "stride": (2, 1), "padding": 1},
    F.broadcast_to: {"inp": COLUMN, "shape": (2, 3, 4)},
    F.concat: {"inps": [ROWS, ROWS], "axis": 1},
    F.stack: {"inps": [ROWS, ROWS], "axis": 1},
    F.conv1d: {"inp": LINE, "weight": F.ones((2, 2, 2, 3)), **CONV},
    F.conv2d: {"inp": IMAGE, "weight": F.ones((2, 3, 2, 3, 3)), **CONV},
    F.conv_transpose2d: {"inp": IMAGE, "weight": F.ones((2, 2, 3, 3, 3)), **CONV, "output_padding": 1},
    F.conv3d: {"inp": VOLUME, "weight": F.ones((2, 2, 2, 3, 3, 3)), **CONV},
    F.conv_transpose3d: {"inp": VOLUME, "weight": F.ones((2, 2, 2, 3, 3, 3)), **CONV, "output_padding": 1},
    **{getattr(F, row.name): {"inp": ROWS, "axis": 1} for row in scan_rows.ROWS},
    F.deformable_conv2d: {
        "inp": IMAGE, "weight": F.ones((2, 3, 2, 3, 3)), "offset": F.ones((2, 18, 3, 3)) / 4, "mask": F.ones((2, 9, 3, 3)), **CONV,
    },
    F.deformable_psroi_pooling: {
        "inp": IMAGE, "rois": T([[0.0, 1, 1, 4, 5]]), "trans": F.ones((1, 2, 2, 2)), "no_trans": False, "part_size": 2,
        "pooled_h": 2, "pooled_w": 3, "sample_per_part": 2, "spatial_scale": 1.0,
    },
    F.local_conv2d: {"inp": IMAGE, "weight": F.ones((2, 3, 3, 2, 3, 3, 2)), "stride": 2, "padding": 1, "dilation": 1},
    F.region_restricted_conv: {
        "inp": IMAGE, "weight": F.ones((2, 3, 2, 3, 3)), "rin": F.zeros((2, 6, 6), dtype="int32"),
        "rout": F.zeros((2, 3, 3), dtype="int32"), **CONV,
    },
    F.diag: {"inp": VECTOR, "k": 1},
    F.embedding: {"inp": LABELS, "weight": ROWS[:, :2].T.reshape(2, 2)[T([0, 1, 0])], "padding_idx": None},
    F.expand_dims: {"inp": ROWS, "axis": 1},
    F.eye: {"N": 2, "M": 3},
    F.flatten: {"inp": CUBE, "start_axis": 1, "end_axis": 2},
    F.full: {"shape": (2, 3), "value": 7},
    F.full_like: {"inp": ROWS, "value": 7},
    F.ones: {"shape": (2, 3)},
    F.zeros: {"shape": 2},
    F.gather: {"inp": ROWS, "axis": 1, "index": T([[0], [2]])},
    F.scatter: {"inp": ROWS, "axis": 1, "index": T([[0], [2]]), "source": F.ones((2, 1))},
    F.general_norm: {"inp": ROWS, "normalized_axis": 1, "affine": False},
    F.group_norm: {"inp": IMAGE, "num_groups": 2, "affine": False},
    F.layer_norm: {"inp": ROWS, "normalized_shape": 3, "affine": False},
    F.local_response_norm: {"inp": IMAGE, "kernel_size": 3},
    F.indexing_one_hot: {"src": ROWS, "index": LABELS, "axis": 1},
    F.linspace: {"start": 0, "stop": 1, "num": 3},
    F.logsoftmax: {"inp": ROWS, "axis": 1},
    F.logsumexp: {"inp": CUBE, "axis": (0, 2)},
    F.softmax: {"inp": ROWS, "axis": 1},
    **{f: {"inp": CUBE, "axis": 1} for f in (F.argmax, F.argmin, F.max, F.min, F.mean, F.norm, F.normalize, F.prod)},
    **{f: {"inp": CUBE, "axis": (0, 2)} for f in (F.std, F.sum, F.var)},
    F.one_hot: {"inp": LABELS, "num_classes": 3},
    F.pad: {"src": ROWS, "pad_width": ((1, 2), (0, 1))},
    F.pixel_shuffle: {"inp": IMAGE, "upscale_factor": 2},
    F.repeat: {"inp": ROWS, "repeats": 2, "axis": 1},
    F.reshape: {"inp": ROWS, "target_shape": (3, 2)},
    F.roll: {"inp": ROWS, "shift": (1, 2), "axis": (0, 1)},
    F.sliding_window: {"inp": IMAGE, **WINDOW},
    F.sliding_window_transpose: {"inp": F.sliding_window(IMAGE, **WINDOW), "output_size": 6, **WINDOW},
    F.split: {"inp": CUBE, "nsplits_or_sections": 2, "axis": 2},
    F.squeeze: {"inp": COLUMN, "axis": 1},
    F.swapaxes: {"inp": CUBE, "axis1": 0, "axis2": 2},
    F.tile: {"inp": ROWS, "reps": (2, 1)},
    F.topk: {"inp": ROWS, "k": 2},
    F.topk_accuracy: {"logits": ROWS, "target": LABELS, "topk": (1, 2)},
    F.transpose: {"inp": CUBE, "pattern": (2, 0, 1)},
    F.nn.cross_entropy: {"pred": ROWS, "label": LABELS, "axis": 1},
    F.nn.ctc_loss: {
        "pred": F.softmax(CUBE.astype("float32"), axis=2), "pred_lengths": T([2, 2, 1]), "label": T([[1, 2], [1, 1], [2, 1]]),
        "label_lengths": T([2, 1, 0]), "blank": 3, "reduction": "none",
    },
    F.nn.nll_loss: {"pred": ROWS, "label": LABELS, "axis": 1},
    F.multi_head_attention: {
        "query": FEATURES, "key": FEATURES, "value": FEATURES, "embed_dim": 4, "num_heads": 2, "attn_drop": 0.0, "out_drop": 0.0,
        "io_weight_bias": F.linspace(-1, 1, 64), "qproj_size": 4, "kproj_size": 4, "vproj_size": 4, "oproj_size": 4,
    },
    F.nn.interpolate: {"inp": IMAGE, "size": (3, 9)},
    F.warp_affine: {"inp": IMAGE, "mat": F.ones((IMAGE.shape[0], 2, 3)), "out_shape": (2, 3), "format": "NCHW"},
    F.warp_perspective: {"inp": IMAGE, "mat": F.ones((2, 3, 3)), "out_shape": 2, "mat_idx": (0, 0)},
    F.nn.roi_align: {"inp": IMAGE, "rois": F.ones((1, 5)) * 0.5, "output_shape": (2, 3), "sample_points": 1},
    F.nn.roi_pooling: {"inp": IMAGE, "rois": F.ones((1, 5)) * 0.5, "output_shape": 2},
    F.nn.correlation: {
        "data1": IMAGE, "data2": IMAGE, "kernel_size": 1, "max_displacement": 2, "stride1": 2, "stride2": 2, "pad_size": 1,
    },
    F.nn.nms: {"boxes": F.arange(8).reshape(2, 4), "scores": T([1.0, 2.0]), "iou_thresh": 0.5, "max_output": 1},
    random.uniform: {"size": (2, 3)},
    random.normal: {"size": 3},
    random.beta: {"alpha": 1.0, "beta": 2.0, "size": (2,)},
    random.gamma: {"shape": 1.0, "size": (2,)},
    random.poisson: {"lam": 1.0, "size": (2,)},
    random.permutation: {"n": 4},
    random.seed: {"seed": 4},
    random.RNG: {"seed": 4},
    optimizer.LRScheduler: {"optimizer": LATER, "current_epoch": 3},
    optimizer.MultiStepLR: {"optimizer": LATER, "milestones": [1, 3], "current_epoch": 2},
    Tensor.flatten: {"self": CUBE, "start_axis": 1, "end_axis": 2},
    Tensor.item: {"self": VECTOR, "args": 2},
    **{f: {"self": CUBE, "axis": 1} for f in (Tensor.max, Tensor.min, Tensor.mean, Tensor.prod, Tensor.sum)},
    M.AdaptiveAvgPool2d: {"oshp": 3},
    M.AdaptiveMaxPool2d: {"oshp": (3, 2)},
    M.AvgPool2d: {"kernel_size": 3, "stride": 2, "padding": 1},
    M.MaxPool2d: {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)},
    M.BatchNorm1d: {"num_features": 4},
    M.BatchNorm2d: {"num_features": 4},
    M.SyncBatchNorm: {"num_features": 4},
    M.Conv1d: LAYER,
    **{m: LAYER for m in (M.Conv2d, M.ConvRelu2d, M.ConvBn2d, M.ConvBnRelu2d, M.Conv3d)},
    **{m: {**LAYER, "output_padding": 1} for m in (M.ConvTranspose2d, M.ConvTransposeRelu2d, M.ConvTranspose3d)},
    **{m: {**LAYER, "output_padding": 1} for m in (M.ConvTransposeBn2d, M.ConvTransposeBnRelu2d)},
    M.BatchMatMulActivation: {"batch": 2, "in_features": 3, "out_features": 3, "bias": False},
    M.DeformableConv2d: LAYER,
    M.DeformablePSROIPooling: {
        "no_trans": False, "part_size": 2, "pooled_h": 2, "pooled_w": 3, "sample_per_part": 2, "spatial_scale": 1.0,
    },
    M.LocalConv2d: {**LAYER, "input_height": 6, "input_width": 6},
    M.RegionRestrictedConv: LAYER,
    M.SlidingWindow: WINDOW,
    M.SlidingWindowTranspose: {"output_size": 6, **WINDOW},
    M.Embedding: {"num_embeddings": 3, "embedding_dim": 2, "padding_idx": 1},
    M.GeneralNorm: {"normalized_shape": 6, "normalized_axis": 3},
    M.GroupNorm: {"num_groups": 2, "num_channels": 4},
    M.InstanceNorm: {"num_channels": 4},
    M.LayerNorm: {"normalized_shape": 6},
    M.LocalResponseNorm: {"kernel_size": 3},
    **{m: {"in_features": 6, "out_features": 2} for m in (M.Linear, M.LinearRelu)},
    **{m: {"in_features": 4, "out_features": 2} for m in (M.LinearBn1d, M.LinearBnRelu1d)},
    **{m: {"input_size": 3, "hidden_size": 2} for m in (M.LSTMCell, M.RNNCell)},
    **{m: {"input_size": 3, "hidden_size": 2, "num_layers": 2, "proj_size": 0} for m in (M.LSTM, M.RNN)},
    M.MultiHeadAttention: {"embed_dim": 4, "num_heads": 2, "kdim": 4, "vdim": 4},
    M.PReLU: {"num_parameters": 4},
    M.Pad: {"pad_width": ((0, 0), (0, 0), (1, 2), (0, 1))},
    M.PixelShuffle: {"upscale_factor": 2},
    M.Softmax: {"axis": 1},
}  # fmt: skip

SEES_LINES = (M.Conv1d, M.BatchNorm1d)
INPUTS = {
    M.Embedding: (LABELS,),
    M.MultiHeadAttention: (FEATURES,) * 3,
    **dict.fromkeys((M.LSTMCell, M.RNNCell), (ROWS,)),
    **dict.fromkeys((M.LSTM, M.RNN), (F.arange(12).reshape(2, 2, 3),)),
    **dict.fromkeys(SEES_LINES, (LINE,)),
    **dict.fromkeys((M.Conv3d, M.ConvTranspose3d), (VOLUME,)),
    M.BatchMatMulActivation: (CUBE,),
    M.DeformableConv2d: (IMAGE, F.ones((2, 18, 3, 3)) / 4, F.ones((2, 9, 3, 3))),
    M.DeformablePSROIPooling: (IMAGE, T([[0.0, 1, 1, 4, 5]]), F.ones((1, 2, 2, 2))),
    M.RegionRestrictedConv: (IMAGE, F.zeros((2, 6, 6), dtype="int32"), F.zeros((2, 3, 3), dtype="int32")),
    M.SlidingWindowTranspose: (F.sliding_window(IMAGE, **WINDOW),),
    **dict.fromkeys((M.LinearBn1d, M.LinearBnRelu1d), (F.arange(8).reshape(2, 4),)),
}
NAMES = re.compile(r"\bint\b|\bShape\b|\bAxes\b|\bPair\b|\bTriple\b|\bSize\b")


def public():
    """Every public function and class, by name."""
    found = {}
    for owner in (F, F.nn, F.vision, M, random, optimizer, Tensor):
        for name in getattr(owner, "__all__", None) or [n for n in dir(owner) if not n.startswith("_")]:
            value = getattr(owner, name, None)  # dir() of the class also has names that only explain themselves
            if callable(value):
                found.setdefault(value, f"{owner.__name__}.{name}")
    return found


def integer_parameters(function):
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    return [p.name for p in signature.parameters.values() if NAMES.search(str(p.annotation))]


NOTHING = (F.vision.nvof,)  # only says that it is not there
PAIRS = {f"{name}({p})": (f, p) for f, name in public().items() if f not in NOTHING for p in integer_parameters(f)}
KINDS = {
    "numpy.int64": np.int64,
    "numpy.uint8": np.uint8,
    "a 0-d array": lambda n: np.array(n),
    "a 0-d tensor": lambda n: T(n),
    "a tensor of one": lambda n: T([n]),
}


def each(kind, value):
    """`value` with its ints made by `kind`."""
    if isinstance(value, (tuple, list)):
        return type(value)(each(kind, v) for v in value)
    return value if value is None else kind(value)


def outcome(function, arguments):
    """What a call gives, as NumPy: of a module its parameters and what it answers."""
    tengen.random.seed(7)
    if function is Tensor.item:
        return [arguments["self"].item(arguments["args"])]
    arguments = {name: copy.copy(v) if isinstance(v, list) else v for name, v in arguments.items()}
    if function is optimizer.LRScheduler:
        return [optimizer.MultiStepLR(milestones=[2], **arguments).get_lr()]
    made = function(**arguments)
    if isinstance(made, M.Module):
        assert not [name for name in made.state_dict() if "size" in name or "stride" in name]
        answer = made(*INPUTS.get(function, (IMAGE,)))
        answer = answer[0] if isinstance(made, (M.LSTM, M.RNN, M.MultiHeadAttention)) else answer
        return [p.numpy() for p in made.parameters()] + [
            a.numpy() for a in (answer if isinstance(answer, tuple) else (answer,))
        ]
    if isinstance(made, optimizer.MultiStepLR):
        return [made.get_lr(), made.milestones]
    if made is None or isinstance(made, random.RNG):
        return [(made or random).uniform(size=2).numpy()]
    return [m.numpy() for m in (made if isinstance(made, (tuple, list)) else (made,)) if m is not None]


def test_every_parameter_that_is_an_int_is_tried():
    missing = [text for text, (f, p) in PAIRS.items() if p not in CALLS.get(f, ())]
    assert missing == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function, parameter", PAIRS.values(), ids=PAIRS.keys())
def test_integers(function, parameter, kind):
    arguments = CALLS[function]
    if kind == "a tensor of one" and (
        isinstance(arguments[parameter], (tuple, list)) or function == random.permutation
    ):
        kind = "a 0-d tensor"  # in a tuple it says nothing else; to permutation it is a tensor of one row
    expected = outcome(function, arguments)
    found = outcome(function, {**arguments, parameter: each(KINDS[kind], arguments[parameter])})
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [True, np.True_, 1.0, np.float32(1), "1", T(True), T(1.0)], ids=repr)
@pytest.mark.parametrize("function", [F.sum, F.argmax, F.softmax, F.expand_dims, F.cumsum, F.std])
def test_what_is_no_axis(function, axis):
    with pytest.raises(TypeError, match=r"integer, got"):
        function(CUBE, axis)


@pytest.mark.parametrize("size", [2.5, "2", None, T(2.5), [[2]], np.float32(2.5)], ids=repr)
def test_what_is_no_size(size):
    for call in (
        lambda: F.zeros((size, 3)),
        lambda: F.topk(VECTOR, size),
        lambda: F.one_hot(LABELS, size),
        lambda: VECTOR.reshape(size, 2),
        lambda: F.conv2d(IMAGE, F.ones((2, 4, 3, 3)), padding=(size, 1)),
        lambda: M.Linear(size, 3),
        lambda: M.Conv2d(4, size, 3),
    ):
        with pytest.raises((TypeError, ValueError), match=r"takes an integer|one or two integers|integer >= 1"):
            call()


@pytest.mark.parametrize("size", [2.0, np.float32(2), T(2.0)], ids=repr)
def test_a_whole_float_is_a_size_as_in_the_reference(size):
    assert F.zeros((size, 3)).shape == (2, 3)
    assert VECTOR.reshape(size, 2).shape == (2, 2)
    assert F.avg_pool2d(IMAGE, size).shape == (2, 4, 3, 3)


def test_a_tensor_as_a_stride_may_change():
    stride, w = T(1), F.ones((2, 4, 2, 2))
    assert F.conv2d(IMAGE, w, stride=stride).shape == (2, 2, 5, 5)
    stride[...] = 2
    assert F.conv2d(IMAGE, w, stride=stride).shape == (2, 2, 3, 3)


def test_none_in_a_shape_to_broadcast_to_stays():
    x = F.arange(2).reshape(2, 1)
    for shape in ((None, 3), (4, None, 3), (4, None, None), (None, None), [T(4), None, np.int64(3)]):
        full = [s if s is not None else e for s, e in zip([*shape][::-1], [1, 2], strict=False)]
        full = (*[int(s) for s in [*shape][: len(shape) - 2]], *(int(f) for f in full[::-1]))
        np.testing.assert_array_equal(F.broadcast_to(x, shape).numpy(), np.broadcast_to(x.numpy(), full))
    with pytest.raises(ValueError, match=r"broadcast_to: None in \(None, 2, 1\) stands for a dim that shape \(2, 1\)"):
        F.broadcast_to(x, (None, 2, 1))
