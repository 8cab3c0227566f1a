"""Weights whose channels have scales of their own: exactly what NumPy computes of integers, and nearer to floats than one scale."""

from __future__ import annotations

import io

import numpy as np
import pytest
from windows import conv2d, conv_transpose2d

import tengen
import tengen.module as M
from tengen import dtype as dt
from tengen.jit import load, trace
from tengen.module import quantized
from tengen.quantization import (
    TQT,
    ChannelMinMaxObserver,
    calibrate,
    calibration_qconfig,
    create_qparams,
    per_channel_calibration_qconfig,
    per_channel_fakequant_qconfig,
    quantize,
    quantize_qat,
)
from tengen.quantization.quantize import apply_easy_quant, enable_observer

IMAGES, ROWS = (2, 4, 7, 7), (5, 4)
LAYERS = {
    "conv": (lambda: M.Conv2d(4, 6, 3, 2, 1), IMAGES),
    "grouped conv": (lambda: M.ConvRelu2d(4, 6, 3, groups=2), IMAGES),
    "depthwise conv": (lambda: M.ConvBnRelu2d(4, 4, 3, groups=4, bias=False), IMAGES),
    "reflected conv": (lambda: M.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False), IMAGES),
    "conv of one channel": (lambda: M.Conv2d(4, 1, 3), IMAGES),
    "transposed conv": (lambda: M.ConvTranspose2d(4, 6, 3, 2), IMAGES),
    "transposed grouped conv": (lambda: M.ConvTransposeBnRelu2d(4, 6, 3, groups=2), IMAGES),
    "linear": (lambda: M.Linear(4, 3), ROWS),
    "linear bn relu": (lambda: M.LinearBnRelu1d(4, 3, bias=False), ROWS),
    "batched matmul": (lambda: M.BatchMatMulActivation(2, 4, 7, nonlinear_mode="relu"), (2, 4, 7)),
}


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def network(make, shape, config=per_channel_fakequant_qconfig):
    """A network that has seen one batch, in training and quantised."""
    tengen.random.seed(3)
    net = M.Sequential(M.QuantStub(), make(), M.DequantStub())
    for seed, (name, tensor) in enumerate(net.named_tensors()):
        drawn = array(*tensor.shape, seed=seed)
        tensor.set_value(np.abs(drawn) + 0.5 if "var" in name else drawn)
    net = quantize_qat(net, qconfig=config)
    x = tengen.tensor(array(*shape))
    net(x)
    net.eval()
    whole = quantize(net, inplace=False)
    whole.eval()
    return net, whole, x


def away(x):
    return np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x)


def by_numpy(layer, q):
    """The integers that a layer gives for integers, in NumPy."""
    w, scale = layer.weight.numpy().astype(np.int64), layer.weight_scale.numpy()
    step = np.float32(0.05)
    if isinstance(layer, quantized.Linear):
        sums, axis = q.astype(np.int64) @ w.T, -1
    else:
        w, q = (w.reshape(-1, *w.shape[2:]) if w.ndim == 5 else w).astype(np.float64), q.astype(np.float64)
        if isinstance(layer, quantized.ConvTranspose2d):
            sums = conv_transpose2d(q, w, layer.stride, layer.padding, (0, 0), layer.dilation, layer.groups)
        else:
            sums = conv2d(q, w, layer.stride, layer.padding, layer.dilation, layer.groups)
        sums, axis = sums.astype(np.int64), 1
    shape = [1] * sums.ndim
    shape[axis] = -1
    if layer.bias is not None:
        bias = away(layer.bias.numpy().reshape(-1) / scale * (np.float32(1) / step))
        sums = sums + bias.astype(np.int64).reshape(shape)
    y = sums.astype(np.float32) * step * scale.reshape(shape)
    y = np.maximum(y, 0) if layer._activation == "relu" else y
    steps = away(y * (np.float32(1) / np.float32(dt.get_scale(layer.output_dtype))))
    return np.clip(steps, -128, 127).astype(np.int8)


@pytest.mark.parametrize(
    "name", ["conv", "grouped conv", "depthwise conv", "transposed conv", "transposed grouped conv", "linear"]
)
def test_integers_are_numpys(name):
    make, shape = LAYERS[name]
    layer = network(make, shape)[1][1]
    q = np.random.default_rng(5).integers(-128, 128, shape, np.int8)
    x = tengen.tensor(q.astype(np.float32) * np.float32(0.05)).astype(dt.qint8(0.05))
    np.testing.assert_array_equal(x.numpy(), q)
    run = trace(without_host=True)(layer)
    for found in (layer(x), run(x), run(x)):
        np.testing.assert_array_equal(found.numpy(), by_numpy(layer, q))


@pytest.mark.parametrize("name", LAYERS)
def test_integers_give_what_rounded_numbers_gave(name):
    net, whole, x = network(*LAYERS[name])
    many = name not in ("batched matmul", "conv of one channel")
    assert (whole[1].weight_scale is not None) == many
    assert (float(dt.get_scale(whole[1].weight.dtype)) == 1) == many
    steps = (whole(x).numpy() - net(x).numpy()) / float(net[1].get_activation_qparams().scale)
    assert np.abs(steps).max() < 1.01  # a number in the middle between two may go to either
    assert np.mean(np.abs(steps) > 0.01) < 0.02


def test_weights_of_unlike_channels_lose_less():
    tengen.random.seed(0)
    net = M.Sequential(M.QuantStub(), M.Conv2d(8, 8, 3, padding=1), M.DequantStub())
    net[1].weight.set_value(array(8, 8, 3, 3) * np.float32(3.0) ** -np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1))
    net.eval()
    x = tengen.tensor(array(4, 8, 9, 9))
    ratios = []
    for config in (calibration_qconfig, per_channel_calibration_qconfig):
        layer = calibrate(net, [x], qconfig=config).network[1]
        layer.output_dtype = None
        found, exact = (
            one.numpy().swapaxes(0, 1) for one in (layer(x.astype(dt.qint8(0.03))).astype("float32"), net(x))
        )
        ratios.append([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, exact, strict=True)])
    one, own = np.array(ratios)
    assert own.max() < 0.02 and one.max() > 0.5


def test_files_and_states():
    net, whole, x = network(*LAYERS["depthwise conv"])
    want, file, function = whole(x).numpy(), io.BytesIO(), trace(capture_as_const=True)(whole)
    function(x)
    function.dump(file)
    file.seek(0)
    np.testing.assert_array_equal(load(file)(x).numpy(), want)
    state = net.state_dict()
    assert state["1.weight_observer.min_val"].shape == (4, 1, 1, 1, 1)
    tengen.random.seed(4)
    other = quantize_qat(
        M.Sequential(M.QuantStub(), LAYERS["depthwise conv"][0](), M.DequantStub()),
        qconfig=per_channel_fakequant_qconfig,
    )
    other.load_state_dict(state)
    other.eval()
    np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())
    quantize(other)
    other[1].weight_scale.set_value(np.ones(4, np.float32))
    other.load_state_dict(whole.state_dict())
    np.testing.assert_array_equal(other(x).numpy(), want)


def test_observers_of_a_trace_and_easy_quant():
    net, _, x = network(*LAYERS["conv"])
    run = trace(without_host=True)(net)
    enable_observer(net)
    net[1].weight.set_value(net[1].weight * 2)
    for _ in range(2):
        run(x)
    np.testing.assert_allclose(net[1].weight_observer.max_val.numpy().reshape(-1), net[1].weight.numpy().max((1, 2, 3)))
    net[1].weight_fake_quant.disable()
    exact = net[1](net[0](x)).numpy()
    net[1].weight_fake_quant.enable()
    apply_easy_quant(net, x, num=4)
    assert net[1].weight_observer.scale.shape == (6, 1, 1, 1)
    assert np.linalg.norm(net(x).numpy() - exact) < 0.1 * np.linalg.norm(exact)


def test_refusals():
    with pytest.raises(ValueError, match="no zero point, got dtype 'quint8'"):
        ChannelMinMaxObserver(dtype="quint8")
    with pytest.raises(ValueError, match=r"TQT: it learns one scale for a tensor, got scales of shape \(2,\)"):
        TQT("qint8").set_qparams(create_qparams(dtype_meta="qint8", scale=tengen.tensor([0.1, 0.2])))
    layer = network(*LAYERS["linear"])[1][1]
    with pytest.raises(TypeError, match="a QuantStub before it"):
        layer(tengen.tensor(array(*ROWS)))
    layer.weight_scale = tengen.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"linear: 3 channels need as many scales, got shape \(2,\)"):
        layer(tengen.tensor(array(*ROWS)).astype(dt.qint8(0.05)))
