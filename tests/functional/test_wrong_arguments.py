"""Arguments of the wrong kind are refused by the name of the function and of the argument."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor
from tengen.optimizer import SGD, MultiStepLR, clip_grad_norm, clip_grad_value


@pytest.mark.parametrize("wrong", [None, "a", [1.0, 2.0], np.zeros(3)], ids=str)
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, n: F.leaky_relu(x, n), "leaky_relu: negative_slope"),
        (lambda x, n: F.local_response_norm(x, 3, alpha=n), "local_response_norm: alpha"),
        (lambda x, n: F.dropout(x, n), "dropout: drop_prob"),
        (lambda x, n: F.pad(x, ((1, 1),), constant_value=n), "pad: constant_value"),
        (
            lambda x, n: F.vision.roi_align(x, Tensor([[0.0, 0, 0, 1, 1]]), 1, spatial_scale=n),
            "roi_align: spatial_scale",
        ),
        (lambda x, n: F.loss.cross_entropy(x, Tensor([0]), label_smooth=n), "cross_entropy: label_smooth"),
        (lambda x, n: F.arange(0, 3, n), "arange: step"),
        (lambda x, n: F.linspace(0, n, 3), "linspace: stop"),
        (lambda x, n: M.Dropout(n), "Dropout: drop_prob"),
        (lambda x, n: M.PReLU(1, n), "PReLU: init"),
        (lambda x, n: M.LSTM(1, 1, dropout=n), "LSTM: dropout"),
        (lambda x, n: M.MultiHeadAttention(2, 1, attn_dropout=n), "MultiHeadAttention: attn_dropout"),
        (lambda x, n: SGD([Parameter([1.0])], lr=n), "SGD: lr"),
    ],
)
def test_what_is_no_number_is_refused_by_name(call, message, wrong):
    with pytest.raises(TypeError, match=f"{message} takes a number, got"):
        call(F.zeros((1, 3, 2, 2)), wrong)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.prelu(x, F.zeros(3)), r"prelu: shapes \(1, 3, 2, 2\) and \(3,\) do not broadcast"),
        (lambda x: F.logaddexp(x, F.zeros(3)), "logaddexp: shapes"),
    ],
)
def test_shapes_that_do_not_broadcast_name_the_function(call, message):
    with pytest.raises(ValueError, match=message):
        call(F.zeros((1, 3, 2, 2)))


@pytest.mark.parametrize("bounds", [(np.nan,), (0, np.inf), (0, 3, np.nan)])
def test_a_range_without_end(bounds):
    with pytest.raises(ValueError, match="arange: start, stop and step must be finite"):
        F.arange(*bounds)


PUBLIC = {
    name: getattr(module, name)
    for module in (F, F.nn, F.loss, F.vision, F.quantized)
    for name in getattr(module, "__all__", ())
    if inspect.isfunction(getattr(module, name))
}
TAKE_NOTHING = ("clip", "get_execution_strategy", "nvof")  # clip misses both limits, nvof its machine


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(TAKE_NOTHING)))
def test_none_is_refused_by_every_function_by_name(name):
    needed = [p for p in inspect.signature(PUBLIC[name]).parameters.values() if p.default is p.empty and p.kind < 2]
    with pytest.raises((TypeError, ValueError), match=f"^{name}: (.* None|mode must be one of)"):
        PUBLIC[name](*[None] * max(1, len(needed)))


def layers():
    """Every layer that says what it takes, made of a few small numbers."""
    for name in dir(M):
        cls = getattr(M, name)
        if not inspect.isclass(cls) or not issubclass(cls, M.Module) or cls.forward is M.Module.forward:
            continue
        for arguments in (
            (),
            (2,),
            (2, 2),
            (2, 2, 1),
            (2, 2, 2, 2),
            (1, 2, 2, 4, 4, 3),
            (2, 2, 3, 3, 3, 3),
            (((1, 1),),),
        ):
            try:
                yield cls(*arguments)
            except (TypeError, ValueError):
                continue
            break


PASS_ON = (M.Identity, M.QuantStub, M.DequantStub, M.Sequential, M.Module)
LAYERS = [layer for layer in layers() if type(layer) not in PASS_ON]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_none_is_refused_by_every_layer_by_name(layer):
    taken = inspect.signature(type(layer).forward).parameters.values()
    needed = [p for p in taken if p.default is p.empty and p.kind < 2 and p.name != "self"]
    with pytest.raises(TypeError, match=r"^\w+: \w+(\[0\])? (cannot be None|takes tensors in a list, got None)"):
        layer(*[None] * max(1, len(needed)))


def test_there_are_many_layers():
    assert len(LAYERS) > 40


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.sum(x, 0, keepdims=[]), r"sum: keepdims takes True or False, got \[\]"),
        (lambda x: x.mean(0, keepdims={}), r"mean: keepdims takes True or False, got {}"),
        (lambda x: F.norm(x, 2.0, 0, keepdims=[True]), r"norm: keepdims takes True or False, got \[True\]"),
        (lambda x: F.argmax(x, 0, [1]), r"argmax: keepdims takes True or False, got \[1\]"),
    ],
)
def test_what_is_no_flag_is_refused_by_name(call, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        call(F.zeros((2, 3)))


@pytest.mark.parametrize("wrong", [None, 3, "abc"])
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda wrong: F.concat(wrong), "concat: inps takes tensors in a list"),
        (lambda wrong: F.stack(wrong), "stack: inps takes tensors in a list"),
        (lambda wrong: F.nn.pad(F.zeros(3), wrong), "pad: pad_width takes"),
        (lambda wrong: SGD(wrong, lr=0.1), "SGD: params takes parameters in a list"),
        (lambda wrong: clip_grad_norm(wrong, 1.0), "clip_grad_norm: tensors takes tensors in a list"),
        (lambda wrong: clip_grad_value(wrong, -1.0, 1.0), "clip_grad_value: tensors takes tensors in a list"),
        (
            lambda wrong: MultiStepLR(SGD([Parameter([1.0])], lr=0.1), wrong),
            "MultiStepLR: milestones takes epochs in a list",
        ),
    ],
)
def test_what_is_no_sequence_is_refused_by_name(call, message, wrong):
    with pytest.raises(TypeError, match=f"^{message}.*, got {wrong!r}"):
        call(wrong)


@pytest.mark.parametrize("name", [n for n in M.init.__all__ if n.endswith("_")])
def test_what_is_no_tensor_is_not_initialised(name):
    with pytest.raises(TypeError, match=f"^{name}: tensor cannot be None"):
        getattr(M.init, name)(None, *[0.5] * (name == "fill_"))


def test_what_is_no_file_is_refused():
    with pytest.raises(TypeError, match=r"save: f takes the path of a file, .* got None"):
        tengen.save({}, None)
    with pytest.raises(TypeError, match=r"load: f takes the path of a file, .* got 3"):
        tengen.load(3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: M.Conv2d(2**40, 3, 3), r"Conv2d: a parameter of shape \(3, 1099511627776, 3, 3\) takes 110592.0 GiB"),
        (lambda: M.Linear(2**40, 2**40), r"Linear: a parameter of shape \(1099511627776, 1099511627776\)"),
        (lambda: M.Embedding(2**40, 2**10), "Embedding: a parameter of shape"),
        (lambda: M.LSTM(2, 2**40), "LSTM.*: a parameter of shape"),
        (lambda: M.BatchNorm2d(2**45), r"BatchNorm2d: a parameter of shape \(1, 35184372088832, 1, 1\)"),
        (lambda: M.MultiHeadAttention(2**40, 2), "MultiHeadAttention: a parameter of shape"),
    ],
)
def test_a_layer_beyond_all_memory_says_which(make, message):
    with pytest.raises(MemoryError, match=f"^{message}.*, more than there is; take fewer features"):
        make()
