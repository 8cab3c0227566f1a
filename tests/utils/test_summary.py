"""summary: parameters and operations by hand, outputs by NumPy's shapes, and the network is left as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.jit import trace
from tengen.utils import summary


class Block(M.Module):
    """Two layers with a function between them, one that nobody calls, one that is called twice."""

    def __init__(self):
        super().__init__()
        self.conv = M.Conv2d(3, 8, 3, padding=1)
        self.norm = M.BatchNorm2d(8)
        self.unused = M.Linear(5, 6)
        self.twice = M.Conv2d(8, 8, 1, bias=False)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return {"y": self.twice(self.twice(x)), "z": [x, x.sum()]}


class Net(M.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.head = M.Linear(8, 10)
        self.tail = self.head

    def forward(self, x, scale=1.0):
        return self.head(F.mean(self.block(x)["y"], (2, 3))) * scale


IMAGES = np.ones((2, 3, 16, 16), np.float32)


def rows(net, **arguments):
    return {row.path: row for row in summary(net, **arguments).rows}


def test_what_it_says():
    found = rows(Net(), input_shapes=(2, 3, 16, 16))
    assert list(found) == ["", "block", "block.conv", "block.norm", "block.twice", "block.unused", "head"]
    pixels = 2 * 16 * 16
    conv, twice = pixels * 8 * (27 + 1), 2 * pixels * 8 * 8
    assert found["block.conv"][1:6] == ("Conv2d", 1, ((2, 8, 16, 16),), 3 * 8 * 9 + 8, conv)
    assert found["block.twice"][1:6] == ("Conv2d", 2, ((2, 8, 16, 16),), 64, twice)
    assert found["head"][1:6] == ("Linear", 1, ((2, 10),), 90, 2 * 10 * 8 + 10)
    relu, total = pixels * 8, pixels * 8
    norm = found["block.norm"].flops
    assert norm > pixels * 8 and found["block"].flops == conv + norm + relu + twice + total
    assert found["block"].outputs == ((2, 8, 16, 16), (2, 8, 16, 16), ())
    assert found["block"].parameters == 224 + 16 + 64 + 36
    assert found[""].parameters == found["block"].parameters + 90, "what modules share counts once"
    unused = found["block.unused"]
    assert (unused.calls, unused.outputs, unused.flops, unused.seconds, unused.parameters) == (0, (), 0, 0, 36)


def test_memory_is_that_of_results():
    found = rows(Net(), inputs=IMAGES)
    maps = 4 * 2 * 8 * 16 * 16
    assert found["block.conv"].memory == maps and found["block.twice"].memory == 2 * maps
    view = rows(M.Sequential(M.Identity()), input_shapes=(2, 3))
    assert view[""].memory == 0


def test_times_of_parts_are_less_than_that_of_the_whole():
    made = summary(Net(), inputs=[IMAGES], repeats=2)
    found = {row.path: row for row in made.rows}
    assert 0 < found["block.conv"].seconds < found["block"].seconds < found[""].seconds
    assert [row.leaf for row in made.rows] == [False, False, True, True, True, True, True]
    slow = made.slowest(2)
    assert len(slow) == 2 and slow[0].seconds >= slow[1].seconds and all(row.leaf for row in slow)
    assert str(made).splitlines()[-1].startswith(f"slowest: {slow[0].path} (")


def test_as_text():
    lines = str(summary(Net(), inputs={"x": IMAGES, "scale": 2.0})).splitlines()
    assert lines[0].split() == "module kind output parameters FLOPs time share memory".split()
    assert lines[2].split()[:2] == ["(network)", "Net"] and " 100.0 % " in lines[2]
    assert lines[4].startswith("    conv ") and "(2, 8, 16, 16)" in lines[4] and "114.69 k" in lines[4]
    assert "(2, 8, 16, 16) × 2" in lines[6]
    assert lines[7].split() == ["unused", "Linear", "not", "called", "36"]


def test_the_network_is_left_as_it_was():
    net = Net()
    net.block.norm.eval()
    before = net.state_dict()
    summary(net, inputs=IMAGES)
    assert (net.training, net.block.training, net.block.norm.training) == (True, True, False)
    assert all(np.array_equal(before[name], array) for name, array in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_an_error_leaves_no_hooks():
    net = Net()
    with pytest.raises(ValueError, match="conv2d"):
        summary(net, inputs=np.ones((2, 4, 16, 16), np.float32))
    assert net.training and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_no_modules_inside_and_no_elements():
    linear = rows(M.Linear(3, 4), input_shapes=(0, 3))
    assert linear[""].outputs == ((0, 4),) and linear[""].leaf
    nothing = summary(M.Identity(), inputs=Tensor(1.0))
    assert nothing.total.flops == 0 and str(nothing).count("\n") == 2


def test_a_traced_part_is_in_the_row_of_its_module():
    net = M.Sequential(M.Linear(3, 4), M.ReLU())
    inner = net.forward
    net.forward = trace(lambda x: inner(x), without_host=True)
    found = rows(net, input_shapes=(8, 3))
    assert found[""].flops == 8 * 4 * 3 + 8 * 4 + 8 * 4 and found[""].outputs == ((8, 4),)


def test_another_thread_may_use_the_network():
    net, end = M.Sequential(M.Linear(3, 4), M.ReLU(), M.Linear(4, 2)), threading.Event()
    x = Tensor(np.ones((8, 3), np.float32))

    def use():
        while not end.is_set():
            net(x)

    other = threading.Thread(target=use)
    other.start()
    try:
        found = rows(net, inputs=x, repeats=20)
    finally:
        end.set()
        other.join()
    assert [found[path].calls for path in ("", "0", "1", "2")] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ({}, ValueError, "summary takes inputs, or input_shapes"),
        ({"inputs": IMAGES, "input_shapes": (1,)}, ValueError, "give one of them"),
        ({"inputs": IMAGES, "repeats": 0}, ValueError, "repeats must be at least 1, got 0"),
    ],
)
def test_what_is_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        summary(Net(), **arguments)
    with pytest.raises(TypeError, match="net must be a Module, got function"):
        summary(F.relu, inputs=IMAGES)


def test_modules_in_lists_have_their_whole_names():
    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.unused = {"a": M.Linear(2, 2)}
            self.blocks = [M.Sequential(M.Linear(2, 2), M.ReLU()), M.Linear(2, 2)]

        def forward(self, x):
            return self.blocks[1](self.blocks[0](x))

    lines = str(summary(Net(), input_shapes=(1, 2))).splitlines()[2:-1]
    assert [line.split()[0] for line in lines] == ["(network)", "blocks.0", "0", "1", "blocks.1", "unused.a"]
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4, 4, 2, 2]
    assert "not called" in lines[-1]
