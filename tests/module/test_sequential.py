"""Sequential as a list of layers."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import tengen.functional as F
import tengen.module as M


def make(count=5):
    return M.Sequential(*[M.ReLU() if i % 2 else M.Linear(2, 2) for i in range(count)])


def test_layers_are_called_in_their_order_and_listed_by_name():
    net = make(12)
    assert net(F.ones((3, 2))).shape == (3, 2)
    assert len(net) == 12
    assert [line.split()[0] for line in repr(net).splitlines()[1:-1]] == [f"({i}):" for i in range(12)]
    # Names are sorted as text, as in MegEngine, so that state dicts have the same order.
    assert [name for name, _ in net.named_children()] == sorted(map(str, range(12)))


def test_index_slice_and_iteration():
    net = make()
    assert isinstance(net[0], M.Linear)
    assert net[-1] is net[4]
    assert list(net) == net.layer_values == [net[i] for i in range(5)]
    part = net[1:3]
    assert isinstance(part, M.Sequential)
    assert part.layer_values == [net[1], net[2]]
    assert [name for name, _ in part.named_children()] == ["1", "2"]
    for wrong, error in ((7, IndexError), (-6, IndexError), ("0", TypeError)):
        with pytest.raises(error):
            net[wrong]


def test_replacing():
    net, layer = make(), M.Identity()
    net[0] = layer
    assert net[0] is layer
    net[1:3] = [layer, M.GELU()]
    assert net[1] is layer
    assert isinstance(net[2], M.GELU)
    assert len(net) == 5
    with pytest.raises(ValueError, match="2 layers cannot be replaced by 1"):
        net[1:3] = [layer]
    with pytest.raises(TypeError, match="must be a module or a function, got int"):
        net[0] = 3


def test_deleting():
    net = make()
    last = net[4]
    del net[0:2]
    assert [name for name, _ in net.named_children()] == ["2", "3", "4"]
    del net[-2]
    assert net.layer_values[-1] is last
    assert len(net) == 2


def test_names_of_one_s_own():
    net = M.Sequential(OrderedDict([("z", M.Linear(2, 2)), ("a", M.ReLU())]), name="net")
    assert net.z is net[0]
    assert net.name == "net"
    assert list(net.state_dict()) == ["z.bias", "z.weight"]
    assert net(F.ones((1, 2))).shape == (1, 2)
    with pytest.raises(ValueError, match="'training' cannot be the name of a layer"):
        M.Sequential({"training": M.ReLU()})


def test_functions_are_layers_too():
    assert M.Sequential(F.relu, lambda x: x + 1)(F.zeros(1)).item() == 1
    with pytest.raises(TypeError, match="layer '1' of Sequential must be a module or a function, got int"):
        M.Sequential(M.ReLU(), 3)


def test_empty():
    assert M.Sequential()(3) == 3
    assert len(M.Sequential()) == 0
