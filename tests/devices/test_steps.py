"""Steps of training on a GPU: graphs, profiles, losses, and batches that come ahead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from resumed import OPTIMIZERS, assert_same_bits, resumed, through_a_file

import tengen
import tengen.functional as F
from tengen import _rt, jit, module, optimizer
from tengen.autodiff import GradManager
from tengen.base import config
from tengen.data import DataLoader, SequentialSampler
from tengen.utils import memory_summary
from tengen.utils.profiler import Profiler

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def on_the_gpu():
    with config.override(default_device="gpu0"):
        yield


def trained(steps):
    """The weight after some steps of a traced training step."""
    tengen.random.seed(3)
    net = module.Linear(6, 4)
    net.weight._reset(tengen.tensor(np.arange(24, dtype=np.float32).reshape(4, 6) / 24))
    gm, opt = GradManager().attach(net.parameters()), optimizer.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @jit.trace
    def step(x, y):
        with gm:
            loss = F.loss.cross_entropy(F.relu(net(x)), y)
            gm.backward(loss)
        opt.step().clear_grad()
        return loss

    data = np.random.default_rng(0)
    for _ in range(steps):
        x, y = data.standard_normal((8, 6)).astype(np.float32), data.integers(0, 4, 8).astype(np.int32)
        step(tengen.tensor(x), tengen.tensor(y)).item()
    return net.weight.numpy()


def test_a_step_becomes_a_graph(double):
    before = double.count("graph launches")
    found = trained(8)
    assert double.count("graph launches") - before >= 4
    with config.override(default_device="cpu0"):
        np.testing.assert_allclose(trained(8), found, rtol=1e-5, atol=1e-6)


def test_a_profile_has_the_times_of_the_device(double, tmp_path):
    x = tengen.tensor(rng.standard_normal((4, 70)).astype(np.float32))
    F.softmax(x, axis=1).numpy()
    copies = double.count("copies")
    with Profiler(str(tmp_path)) as profiler:
        y = F.softmax(x, axis=1)
    assert double.count("copies") == copies  # nothing came to the host
    kernels = [event for event in profiler.events if event["cat"] == "kernel"]
    (op,) = [event for event in profiler.events if event["cat"] == "op"]
    assert kernels and all(0 < event["dur"] <= op["dur"] for event in kernels)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["traceEvents"]
    np.testing.assert_allclose(y.numpy().sum(1), 1, rtol=1e-5)


def test_a_loss_of_probabilities_does_not_wait_each_time(double):
    x = tengen.tensor(np.full((3, 2), 0.5, np.float32))
    y = tengen.tensor(np.array([0, 1, 1], np.int32))
    F.loss.cross_entropy(x, y, with_logits=False)
    waits = double.count("waits")
    for _ in range(32):
        loss = F.loss.cross_entropy(x, y, with_logits=False)
    assert double.count("waits") - waits <= 12  # one of 32 looks at each power of 2, for the loss and for the status
    np.testing.assert_allclose(loss.numpy(), np.log(2), rtol=1e-6)


def test_a_summary_of_memory():
    held = tengen.tensor(np.zeros((77, 1000), np.float32))
    text = memory_summary()
    assert "from the driver of gpu0" in text and "(77, 1000)" in text
    assert "(77, 1000)" not in memory_summary(device="gpu1")
    assert "from the system" in memory_summary(device="cpu0")
    assert held.shape == (77, 1000)


class Rows:
    """Arrays that are large enough to come by a stream of their own."""

    def __len__(self):
        return 12

    def __getitem__(self, number):
        return np.full((300, 100), number, np.float32), np.int32(number)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("hostile", [False, True])
def test_batches_come_ahead(double, workers, hostile):
    loader = DataLoader(Rows(), SequentialSampler(Rows(), batch_size=2), num_workers=workers, preload=True)
    x = tengen.tensor(np.zeros((300, 100), np.float32))

    def run():
        total = x
        for epoch in range(2):
            for images, labels in loader:
                assert str(images.device) == "gpu0:0"
                total = total + images.sum(axis=0) * (epoch + 1)
                assert labels.shape == (2,)
        return total.numpy()

    if hostile:
        with double.others_first():
            found = run()
    else:
        found = run()
    np.testing.assert_array_equal(found, np.full((300, 100), 3 * sum(range(12)), np.float32))


def test_what_comes_ahead_waits_for_nobody(double):
    array = rng.standard_normal((300, 100)).astype(np.float32)
    x, number = tengen.tensor(array), tengen.tensor(1.0)
    y = x + number
    y.numpy()
    launches = double.count("launches")
    for _ in range(4):
        y = x + number  # it has not run yet
        z = _rt.Tensor()
        z._assign(array, "float32", "gpu0", True)
    assert double.count("launches") == launches
    np.testing.assert_array_equal(tengen.Tensor(z).numpy(), array)
    np.testing.assert_array_equal(y.numpy(), array + 1)


def test_memory_of_what_came_ahead(double):
    before = tengen.device.get_allocated_memory("gpu1")
    array = np.ones((300, 1000), np.float32)
    z = _rt.Tensor()
    z._assign(array, "float32", "gpu1", True)
    assert tengen.device.get_allocated_memory("gpu1") >= before + array.nbytes
    del z
    assert tengen.device.get_allocated_memory("gpu1") == before
    tengen.device.coalesce_free_memory()
    double.set_memory(1, double.used_memory(1))
    z = _rt.Tensor()
    with pytest.raises(MemoryError, match=r"out of memory on gpu1: a tensor of uint8 and shape \(83886080,\)"):
        z._assign(np.zeros(80 << 20, np.uint8), "uint8", "gpu1", True)
    double.set_memory(1, 8 << 30)
    z._assign(array, "float32", "gpu1", True)
    np.testing.assert_array_equal(tengen.Tensor(z).numpy(), array)


def test_what_is_explained_is_what_the_gpu_runs():
    function = jit.trace(lambda x: F.exp(x).sum(axis=0), without_host=True)
    function(tengen.tensor(np.ones((4, 3), np.float32)))
    said = function.explain()
    (plan,) = said.calls[0][3]
    files = plan.files()
    assert ".visible .entry kernel(" in files["kernel0.ptx"] and "kernel0.s" not in files
    assert "<summary>kernel0 PTX</summary>" in said.html()


def test_a_limit_on_memory_counts_what_the_gpu_takes():
    limit = jit.SublinearMemoryConfig(lb_memory_mb=1)
    function = jit.trace(lambda x: F.exp(x).sum(axis=0), without_host=True, sublinear_memory_config=limit)
    x = tengen.tensor(np.ones((1 << 15, 4), np.float32))
    np.testing.assert_allclose(function(x).numpy(), np.full(4, np.e * (1 << 15)), rtol=1e-6)
    (kind,) = function._kinds.values()
    (compiled,) = kind.standalone[0].segment.op.plan_log.plans
    assert kind.standalone[0].segment.op.memory.cost.bytes == sum(compiled.plan.allocations)


def test_a_loop_that_reads_nothing_becomes_a_graph_too(double):
    x, weight = rng.standard_normal((8, 6)).astype(np.float32), tengen.Parameter(np.ones((4, 6), np.float32))
    gm, opt = GradManager().attach([weight]), optimizer.SGD([weight], lr=0.1)

    @jit.trace(without_host=True)
    def step(x, y):
        with gm:
            loss = F.loss.cross_entropy(F.linear(x, weight), y)
            gm.backward(loss)
        opt.step().clear_grad()
        return loss

    graphs, waits = double.count("graph launches"), double.count("waits")
    for _ in range(12):
        loss = step(tengen.tensor(x), tengen.tensor(np.arange(8, dtype=np.int32) % 4))
        double.run(0)
    assert double.count("graph launches") - graphs >= 6 and double.count("waits") == waits
    loss = step(tengen.tensor(x), tengen.tensor(np.full(8, 4, np.int32)))
    double.run(0)
    step(tengen.tensor(x), tengen.tensor(np.zeros(8, np.int32)))  # looks at it, and raises nothing
    with pytest.raises(IndexError, match="label 4 at position 0 is out of range"):
        loss.item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_is_resumed_has_the_bits_of_a_whole_one(name):
    part, whole = resumed(OPTIMIZERS[name], through_a_file)
    assert str(part.params[0].device) == "gpu0:0"
    assert_same_bits(part, whole)
