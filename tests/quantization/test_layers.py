"""Layers: what is trained with rounded numbers is what integers give, for each kind of layer; traces; states; files of MegEngine."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import dtype as dt
from tengen.autodiff import GradManager
from tengen.jit import load, trace
from tengen.module import qat, quantized
from tengen.optimizer import SGD
from tengen.quantization import (
    LSQ,
    ExponentialMovingAverageObserver,
    HistogramObserver,
    MinMaxObserver,
    QConfig,
    calibration_qconfig,
    create_qparams,
    easyquant_qconfig,
    ema_fakequant_qconfig,
    min_max_fakequant_qconfig,
    propagate_qconfig,
    quantize,
    quantize_qat,
    reset_qconfig,
    sync_ema_fakequant_qconfig,
    tqt_qconfig,
)
from tengen.quantization.quantize import apply_easy_quant, disable_observer, enable_observer, hook_qat_module, is_qat
from tengen.utils.bn_fusion import fuse_conv_bn_relu_module

IMAGES, ROWS = (2, 4, 7, 7), (5, 4)
LAYERS = {
    "conv": (lambda: M.Conv2d(4, 6, 3, 2, 1), IMAGES),
    "conv without bias": (lambda: M.Conv2d(4, 6, 3, bias=False), IMAGES),
    "grouped conv": (lambda: M.ConvRelu2d(4, 6, 3, groups=2), IMAGES),
    "reflected conv": (lambda: M.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), IMAGES),
    "conv bn": (lambda: M.ConvBn2d(4, 6, 3), IMAGES),
    "conv bn relu": (lambda: M.ConvBnRelu2d(4, 6, 3, groups=2, bias=False), IMAGES),
    "transposed conv": (lambda: M.ConvTranspose2d(4, 6, 3, 2), IMAGES),
    "transposed conv relu": (lambda: M.ConvTransposeRelu2d(4, 6, 3, groups=2), IMAGES),
    "transposed conv bn": (lambda: M.ConvTransposeBn2d(4, 6, 3), IMAGES),
    "transposed conv bn relu": (lambda: M.ConvTransposeBnRelu2d(4, 6, 3, groups=2), IMAGES),
    "linear": (lambda: M.Linear(4, 3), ROWS),
    "linear relu": (lambda: M.LinearRelu(4, 3, bias=False), ROWS),
    "linear bn": (lambda: M.LinearBn1d(4, 3), ROWS),
    "linear bn relu": (lambda: M.LinearBnRelu1d(4, 3, bias=False), ROWS),
    "batched matmul": (lambda: M.BatchMatMulActivation(2, 4, 7, nonlinear_mode="relu"), (2, 4, 7)),
}


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def network(make, config=min_max_fakequant_qconfig):
    tengen.random.seed(3)
    net = M.Sequential(M.QuantStub(), make(), M.DequantStub())
    for seed, (_, tensor) in enumerate(net.named_tensors()):
        tensor.set_value(
            np.abs(array(*tensor.shape, seed=seed)) if tensor.ndim < 2 else array(*tensor.shape, seed=seed)
        )
    for module in net.modules():
        if hasattr(module, "running_var"):
            module.running_var.set_value(np.abs(module.running_var.numpy()) + 0.5)
    return quantize_qat(net, qconfig=config)


@pytest.mark.parametrize("name", LAYERS)
class TestEachLayer:
    def test_integers_give_what_rounded_numbers_gave(self, name):
        make, shape = LAYERS[name]
        net, x = network(make), tengen.tensor(array(*shape))
        net(x)
        net.eval()
        rounded, scale = net(x).numpy(), float(net[1].get_activation_qparams().scale)
        whole = quantize(net, inplace=False)
        whole.eval()
        assert type(whole[1]) is getattr(quantized, type(net[1]).__name__)
        assert whole[1].weight.dtype == net[1].get_weight_dtype()
        h = whole[1](whole[0](x))
        assert h.dtype == net[1].get_activation_dtype()
        steps = (whole(x).numpy() - rounded) / scale
        assert np.abs(steps).max() < 1.01  # a number in the middle between two may go to either
        assert np.mean(np.abs(steps) > 0.01) < 0.02

    def test_the_layer_keeps_its_parameters(self, name):
        make, _ = LAYERS[name]
        layer = make()
        before = dict(layer.named_parameters())
        made = quantize_qat(M.Sequential(layer))[0]
        assert type(made) is getattr(qat, type(layer).__name__)
        assert is_qat(made)
        assert all(dict(made.named_parameters())[path] is parameter for path, parameter in before.items())


@pytest.mark.parametrize("name", ["conv bn relu", "transposed conv bn", "linear"])
def test_a_traced_step_is_an_eager_one(name):
    make, shape = LAYERS[name]
    x, results = tengen.tensor(array(*shape)), []
    for traced in (False, True):
        net = network(make, tqt_qconfig)
        for module in net.modules():
            if hasattr(module, "set_qparams"):
                module.set_qparams(create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.05)))
        manager, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=0.01)

        def step(x, net=net, manager=manager, sgd=sgd):
            with manager:
                loss = F.mean(net(x) ** 2)
                manager.backward(loss)
            sgd.step().clear_grad()
            return loss

        run = trace(without_host=True)(step) if traced else step
        results.append([run(x).item() for _ in range(3)])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4)


def lenet():
    return M.Sequential(M.QuantStub(), M.ConvBnRelu2d(1, 4, 3), M.ConvRelu2d(4, 4, 3), M.DequantStub())


@pytest.mark.parametrize(
    "config",
    [ema_fakequant_qconfig, sync_ema_fakequant_qconfig, min_max_fakequant_qconfig],
    ids=["ema", "sync", "min max"],
)
def test_observers_in_a_trace_see_what_they_see_without(config):
    seen = []
    for traced in (False, True):
        tengen.random.seed(0)
        net = quantize_qat(lenet(), qconfig=config)
        run = trace(without_host=True)(net) if traced else net
        for i in range(4):
            run(tengen.tensor((i + 1) * array(2, 1, 8, 8, seed=i)))
        seen.append({key: value for key, value in net.state_dict().items() if "observer" in key})
    for key, value in seen[0].items():
        np.testing.assert_allclose(seen[1][key], value, rtol=1e-5, err_msg=key)


def test_a_quantised_network_goes_into_a_file_and_a_state_dict():
    net, x = quantize_qat(lenet(), qconfig=min_max_fakequant_qconfig), tengen.tensor(array(2, 1, 8, 8))
    net(x)
    quantize(net)
    net.eval()
    want = net(x).numpy()
    function = trace(capture_as_const=True)(net)
    function(x)
    file = io.BytesIO()
    function.dump(file)
    file.seek(0)
    np.testing.assert_array_equal(load(file)(x).numpy(), want)
    other = quantize_qat(lenet(), qconfig=min_max_fakequant_qconfig)
    other(x)
    quantize(other)
    other.eval()
    other.load_state_dict(net.state_dict())
    assert other[1].weight.dtype == net[1].weight.dtype
    np.testing.assert_array_equal(other[1].weight.numpy(), net[1].weight.numpy())


def test_a_checkpoint_of_training_goes_on_with_the_same_scales():
    net, x = quantize_qat(lenet()), tengen.tensor(array(2, 1, 8, 8))
    net(x)
    other = quantize_qat(lenet())
    other.load_state_dict(net.state_dict())
    net.eval()
    other.eval()
    np.testing.assert_array_equal(other(x).numpy(), net(x).numpy())


def test_evaluation_observes_nothing_unless_it_is_told_to():
    net = quantize_qat(lenet(), qconfig=min_max_fakequant_qconfig)
    net.eval()
    net(tengen.tensor(array(2, 1, 8, 8)))
    assert net[0].act_observer.max_val.item() < 0
    enable_observer(net)
    net(tengen.tensor(array(2, 1, 8, 8)))
    assert net[0].act_observer.max_val.item() > 0
    net.train()
    disable_observer(net)
    net(100 * tengen.tensor(array(2, 1, 8, 8)))
    assert net[0].act_observer.max_val.item() < 10


@pytest.mark.parametrize("kind", [MinMaxObserver, ExponentialMovingAverageObserver, HistogramObserver])
def test_an_observer_sees_nothing_while_it_is_disabled(kind):
    observer = kind()
    observer(tengen.tensor([-1.0, 2.0]))
    for stop, go_on in ((observer.eval, observer.train), (observer.disable, observer.enable)):
        stop()
        before = observer.get_qparams().scale.item()
        observer(tengen.tensor([90.0]))
        assert observer.get_qparams().scale.item() == before
        go_on()
        observer(tengen.tensor([before * 500]))
        assert observer.get_qparams().scale.item() > before


def test_learned_steps_start_from_observed_ones():
    config = QConfig(None, None, partial(LSQ, dtype="qint8_narrow"), partial(LSQ, dtype="qint8"))
    net, x = quantize_qat(lenet(), qconfig=min_max_fakequant_qconfig), tengen.tensor(array(2, 1, 8, 8))
    net(x)
    scale = net[2].get_weight_qparams().scale.item()
    reset_qconfig(net, config)
    assert net[2].weight_fake_quant.step_size.item() == pytest.approx(scale, abs=2e-5)
    manager = GradManager().attach(net.parameters())
    with manager:
        manager.backward(F.mean(net(x) ** 2))
    assert net[2].weight_fake_quant.step_size.grad.item() != 0
    quantize(net)
    net.eval()
    assert net(x).dtype == np.float32


def test_calibration_and_easy_quant():
    net, x = lenet(), tengen.tensor(array(8, 1, 8, 8))
    net.eval()
    exact = net(x).numpy()
    quantize_qat(net, qconfig=calibration_qconfig)
    enable_observer(net)
    net(x)
    apply_easy_quant(net, x, num=8)
    assert type(net[2].act_observer).__name__ == easyquant_qconfig.act_observer.func.__name__
    found = net(x).numpy()
    assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(exact)
    quantize(net)
    net.eval()
    assert np.linalg.norm(net(x).numpy() - exact) < 0.05 * np.linalg.norm(exact)


def test_layers_of_ones_own():
    class Scale(M.Module):
        def forward(self, x):
            return x * 2

    class RoundedScale(Scale, qat.QATModule):
        with_weight = False

        def forward(self, x):
            return self.apply_quant_activation(super().forward(x))

        @classmethod
        def from_float_module(cls, float_module):
            return cls()

    net = quantize_qat(M.Sequential(Scale()), mapping={Scale: RoundedScale})
    net(tengen.tensor([1.0, -2.54 / 2]))
    assert net[0].get_activation_dtype() == dt.qint8(np.float32(2.54) / np.float32(127.5))


def test_hooks_and_new_configurations():
    net, names = quantize_qat(lenet()), []
    handles = hook_qat_module(net, lambda module, inputs, outputs: names.append(type(module).__name__))
    net(tengen.tensor(array(2, 1, 8, 8)))
    assert names == ["QuantStub", "ConvBnRelu2d", "ConvRelu2d", "DequantStub"]
    for handle in handles:
        handle.remove()
    propagate_qconfig(net, tqt_qconfig)
    assert (net[1].act_observer, type(net[1].act_fake_quant).__name__) == (None, "TQT")


def test_fused_layers_are_quantised():
    layers = M.Conv2d(2, 3, 3), M.BatchNorm2d(3), M.ReLU()
    assert type(quantize_qat(M.Sequential(fuse_conv_bn_relu_module(*layers)))[0]) is qat.ConvBnRelu2d
    for layer in layers:
        layer.eval()
    assert type(quantize_qat(M.Sequential(fuse_conv_bn_relu_module(*layers)))[0]) is qat.ConvRelu2d


def test_one_layer_that_stands_in_two_places_stays_one():
    layer = M.Linear(2, 2)
    net = quantize_qat(M.Sequential(layer, layer))
    assert net[0] is net[1]


def test_quantised_layers_want_quantised_numbers_and_evaluation():
    net = quantize_qat(M.Sequential(M.Linear(2, 2)))
    net(F.ones((1, 2)))
    quantize(net)
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        net(F.ones((1, 2)))
    net.eval()
    with pytest.raises(TypeError, match="a QuantStub before it"):
        net(F.ones((1, 2)))
    for function in (quantize_qat, quantize):
        with pytest.raises(TypeError, match="a Module is needed to quantise, got a int"):
            function(3)
