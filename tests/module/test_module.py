"""Module: members, order, state, hooks, errors. Orders and texts were observed on MegEngine 1.13."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Parameter, Tensor, UsageWarning
from tengen.base.errors import StateDictError
from tengen.module.qat import QATModule
from tengen.utils.hook import HookHandler


class Net(M.Module):
    """One of everything: a parameter, a buffer, nested containers, a module under two names, plain values."""

    def __init__(self):
        super().__init__()
        self.z = Parameter([1.0])
        self.a = Tensor([1.0])
        self.l = [M.Linear(2, 3), {"k": M.ReLU(), "b": M.Linear(1, 1)}, (Parameter([2.0]),)]
        self.b = M.BatchNorm2d(2)
        self.same = self.b
        self.none = None
        self.number = 3

    def forward(self, x):
        return x


class Identity(M.Module):
    def forward(self, x):
        return x


def names(pairs):
    return [name for name, *_ in pairs]


PARAMETERS = ["b.bias", "b.weight", "l.0.bias", "l.0.weight", "l.1.b.bias", "l.1.b.weight", "l.2.0", "z"]
BUFFERS = ["a", "b.running_mean", "b.running_var"]


# -- members ---------------------------------------------------------------------------------------------------


def test_names_and_their_order():
    net = Net()
    assert names(net.named_parameters()) == PARAMETERS
    assert names(net.named_buffers()) == BUFFERS
    assert names(net.named_tensors()) == sorted(PARAMETERS + BUFFERS)
    assert names(net.named_modules()) == ["", "b", "l.0", "l.1.b", "l.1.k"]
    assert names(net.named_children()) == ["b", "l.0", "l.1.b", "l.1.k"]


def test_the_same_without_names():
    net = Net()
    assert list(map(id, net.parameters())) == [id(p) for _, p in net.named_parameters()]
    assert list(map(id, net.buffers())) == [id(p) for _, p in net.named_buffers()]
    assert list(map(id, net.tensors())) == [id(p) for _, p in net.named_tensors()]
    assert list(net.modules()) == [m for _, m in net.named_modules()]
    assert list(net.children()) == [m for _, m in net.named_children()]


def test_prefix_and_recursive():
    net = Net()
    assert names(net.named_parameters(prefix="p")) == ["p." + name for name in PARAMETERS]
    assert names(net.named_modules(prefix="p")) == ["p", "p.b", "p.l.0", "p.l.1.b", "p.l.1.k"]
    assert names(net.named_parameters(recursive=False)) == ["l.2.0", "z"]
    assert names(net.named_buffers(recursive=False)) == ["a"]
    assert len(list(net.tensors(recursive=False))) == 3


def test_parents():
    net = Net()
    parents = {name: parent for name, _, parent in net.named_modules(with_parent=True)}
    assert parents[""] is None
    assert parents["l.1.b"] is net
    holders = {name: parent for name, _, parent in net.named_parameters(with_parent=True)}
    assert holders["l.1.b.weight"] is net.l[1]["b"]


def test_lists_that_grow_and_long_lists():
    net = Net()
    net.l = []
    net.l.extend(M.Linear(1, 1, bias=False) for _ in range(12))
    assert names(net.named_children())[1:] == [f"l.{i}" for i in range(12)]


def test_replacing_and_deleting_members():
    net = Net()
    net.z = M.ReLU()
    assert "z" not in names(net.named_parameters())
    del net.z
    net.l = 5
    assert names(net.named_parameters()) == ["b.bias", "b.weight"]
    net.b.weight = None
    assert names(net.named_parameters()) == ["b.bias"]
    with pytest.raises(AttributeError, match="nothing"):
        del net.nothing
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        net.nothing  # noqa: B018


def test_shared_parameters_and_cycles_count_once():
    one, two = M.Linear(2, 2), M.Linear(2, 2)
    two.weight = one.weight
    net = M.Sequential(one, two)
    net.itself = net
    assert names(net.named_parameters()) == ["0.bias", "0.weight", "1.bias"]
    assert names(net.named_modules()) == ["", "0", "1"]
    # All names are in the state, so that it fits a network that does not share.
    assert list(net.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_members_of_dicts_need_text_for_keys():
    net = Net()
    net.l = {1: 2, "x": M.ReLU(), "y": 3}
    assert names(net.named_children()) == ["b", "l.x"]
    net.l = {1: M.ReLU()}
    with pytest.raises(TypeError, match="needs str keys, got 1"):
        list(net.modules())


@pytest.mark.parametrize("member", [M.ReLU, lambda: Parameter([1.0]), lambda: Tensor([1.0]), lambda: [M.ReLU()]])
def test_a_member_before_init_is_an_error_that_says_so(member):
    class Early(M.Module):
        def __init__(self):
            self.early = member()
            super().__init__()

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"cannot set 'early' before .*super\(\).__init__\(\) first in Early"):
        Early()


def test_a_module_without_init_says_so_when_it_is_used():
    class Never(M.Module):
        def __init__(self):
            self.number = 3

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) first in Never"):
        Never()(1)


def test_forward_must_be_written():
    class Empty(M.Module):
        pass

    class Misspelt(M.Module):
        def foward(self, x):
            return x

    class Inside(M.Module):
        def __init__(self):
            super().__init__()

            def forward(self, x):
                return x

    add = r"does not define forward: add `def forward\(self, inputs\): ...` to class"
    for kind, message in [
        (Empty, f"^Empty {add} Empty$"),
        (Misspelt, f"^Misspelt {add} Misspelt; is its foward meant[?]$"),
        (Inside, f"^Inside {add} Inside; one stands inside __init__: indent it less$"),
        (M.Module, "^Module is a base class: derive a class from it that defines forward$"),
        (QATModule, "^QATModule is a base class: derive a class from it that defines forward, from_float_module$"),
    ]:
        with pytest.raises(TypeError, match=message):
            kind()


def test_name():
    assert M.Linear(2, 2, name="fc").name == "fc"
    assert M.ReLU().name is None
    with pytest.raises(TypeError, match="foo"):
        M.ReLU(foo=1)


# -- what is done to all modules -------------------------------------------------------------------------------


def test_train_and_eval():
    net = Net()
    assert net.training
    assert net.eval() is None
    assert not any(m.training for m in net.modules())
    net.train(recursive=False)
    assert [m.training for m in net.modules()] == [True, False, False, False, False]
    net.train()
    assert all(m.training for m in net.modules())


def test_apply_visits_each_module_once():
    seen = []
    net = Net()
    assert net.apply(seen.append) is None
    assert seen == list(net.modules())


def test_disable_quantize():
    net = Net()
    net.disable_quantize()
    assert all(m.quantize_disabled for m in net.modules())
    net.disable_quantize(False)
    assert not any(m.quantize_disabled for m in net.modules())


def test_zero_grad():
    net = M.Linear(2, 1)
    net.weight.grad = Tensor([[3.0, 4.0]])
    net.zero_grad()
    np.testing.assert_array_equal(net.weight.grad.numpy(), [[0, 0]])
    assert net.bias.grad is None


def test_replace_param():
    net = M.Sequential(M.Linear(2, 2), M.ReLU())
    new = {"x": Parameter([9.0, 9.0]), "y": Parameter([[9.0, 9.0], [9.0, 9.0]])}
    assert net.replace_param(new, 0) == 2
    np.testing.assert_array_equal(net[0].bias.numpy(), [9, 9])
    np.testing.assert_array_equal(net[0].weight.numpy(), [[9, 9], [9, 9]])
    with pytest.raises(ValueError, match="shape"):
        net.replace_param(new, 1)


# -- printing --------------------------------------------------------------------------------------------------


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (l.0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (l.1.b): Linear(in_features=1, out_features=1, bias=True)\n"
        "  (l.1.k): ReLU()\n"
        "  (b): BatchNorm2d(2, eps=1e-05, momentum=0.9, affine=True, track_running_stats=True)\n"
        "  (same): BatchNorm2d(2, eps=1e-05, momentum=0.9, affine=True, track_running_stats=True)\n"
        ")"
    )


def test_repr_of_nested_modules_is_indented():
    net = M.Sequential(M.Sequential(M.ReLU()), M.Identity())
    assert repr(net) == "Sequential(\n  (0): Sequential(\n    (0): ReLU()\n  )\n  (1): Identity()\n)"
    assert repr(M.Sequential()) == "Sequential()"


# -- state -----------------------------------------------------------------------------------------------------


def test_state_dict_is_ordered_and_read_only():
    net = Net()
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert list(state)[:6] == ["a", "l.2.0", "z", "b.bias", "b.running_mean", "b.running_var"]
    assert set(state) == set(PARAMETERS + BUFFERS)
    for array in state.values():
        assert isinstance(array, np.ndarray)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_state_dict_does_not_follow_the_module():
    net = M.Linear(2, 2)
    before = net.state_dict()["weight"].copy()
    state = net.state_dict()
    net.weight += 1
    np.testing.assert_array_equal(state["weight"], before)


def test_state_dict_prefix_rst_and_keep_var():
    net = Net()
    assert list(net.state_dict(prefix="pre"))[:2] == ["prea", "prel.2.0"]
    given = {}
    assert net.state_dict(rst=given) is given
    assert set(given) == set(PARAMETERS + BUFFERS)
    assert net.state_dict(keep_var=True)["l.0.weight"] is net.l[0].weight


def test_round_trip():
    one, two = Net(), Net()
    assert two.load_state_dict(one.state_dict()) is None
    for (name, a), b in zip(one.named_tensors(), two.tensors(), strict=False):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)
        assert a is not b


def test_loading_keeps_the_handles_and_dtypes():
    net = M.Linear(1, 1)
    weight = net.weight
    net.load_state_dict({"weight": np.full((1, 1), 3.0, np.float64), "bias": np.ones(1, np.int64)})
    assert net.weight is weight
    assert isinstance(net.weight, Parameter)
    assert net.weight.dtype == np.float32
    assert (net.weight.item(), net.bias.item()) == (3.0, 1.0)


def test_loading_tensors():
    one, two = M.Linear(2, 2), M.Linear(2, 2)
    two.load_state_dict(one.state_dict(keep_var=True))
    np.testing.assert_array_equal(one.weight.numpy(), two.weight.numpy())
    two.weight += 1
    assert (one.weight.numpy() != two.weight.numpy()).all()


def test_all_problems_are_in_one_error_and_nothing_is_loaded():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    state = {name: array + 1 for name, array in net.state_dict().items()}
    del state["l.0.bias"], state["a"]
    state |= {"z": np.zeros((1, 1), np.float32), "b.weight": [1.0], "extra": np.zeros(3), "l.2.0": np.array(["x"])}
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    for part in (
        "missing: a, l.0.bias",
        "not in the module: extra",
        "z: shape (1, 1) where the module has (1,)",
        "b.weight: expected a NumPy array or a tensor, got list",
        "l.2.0: dtype <U1 cannot be loaded into one of float32",
    ):
        assert part in message
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_not_strict_logs_what_is_missing_and_left_over(caplog):
    net = M.Linear(2, 2)
    logger = logging.getLogger("tengen.module.state")
    logger.addHandler(caplog.handler)
    try:
        net.load_state_dict({"bias": np.ones(2, np.float32), "extra": np.zeros(1)}, strict=False)
    finally:
        logger.removeHandler(caplog.handler)
    np.testing.assert_array_equal(net.bias.numpy(), [1, 1])
    assert "missing: weight" in caplog.text
    assert "not in the module: extra" in caplog.text
    with pytest.raises(ValueError, match="shape"):
        net.load_state_dict({"bias": np.ones(3)}, strict=False)


def test_loading_from_a_function():
    net = Net()
    seen = []

    def double(name, tensor):
        seen.append((name, type(tensor)))
        return tensor.numpy() * 2

    net.load_state_dict(double)
    assert names(seen) == list(net.state_dict())
    assert dict(seen)["z"] is Parameter
    np.testing.assert_array_equal(net.z.numpy(), [2])
    with pytest.raises(StateDictError, match=r"missing: a, l\.2\.0"):
        net.load_state_dict(lambda name, tensor: None)
    net.load_state_dict(lambda name, tensor: None, strict=False)


def test_floats_do_not_go_into_integers():
    net = Net()
    net.a = Tensor([1], dtype="int32")
    state = dict(net.state_dict())
    state["a"] = np.array([1.5], np.float32)
    with pytest.raises(StateDictError, match="a: dtype float32 cannot be loaded into one of int32"):
        net.load_state_dict(state)


def test_a_state_is_a_dict_or_a_function():
    with pytest.raises(TypeError, match="got list"):
        Net().load_state_dict([1])


def test_copies_and_pickles():
    net = M.Sequential(M.Linear(2, 2), M.Linear(2, 2))
    net[1].weight = net[0].weight
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin[1].weight is twin[0].weight
        assert twin[0].weight is not net[0].weight
        np.testing.assert_array_equal(twin[0].weight.numpy(), net[0].weight.numpy())


# -- hooks -----------------------------------------------------------------------------------------------------


def test_hooks_see_and_change_inputs_and_outputs():
    net, seen = Identity(), []
    first = net.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs)))
    second = net.register_forward_hook(lambda module, inputs, outputs: seen.append((module, inputs, outputs)))
    assert net(3) == 3
    assert seen == [(net, (3,)), (net, (3,), 3)]
    change = net.register_forward_pre_hook(lambda module, inputs: 7)
    assert net(3) == 7
    change.remove()
    change = net.register_forward_pre_hook(lambda module, inputs: (8,))
    after = net.register_forward_hook(lambda module, inputs, outputs: outputs + 1)
    assert net(3) == 9
    for handle in (first, second, change, after):
        handle.remove()
        handle.remove()
    seen.clear()
    assert net(3) == 3
    assert not seen


def test_hooks_run_in_order_and_may_remove_themselves():
    net, seen = Identity(), []

    def once(*_):
        seen.append(1)
        handle.remove()

    handle = net.register_forward_hook(once)
    net.register_forward_hook(lambda *_: seen.append(2))
    net(0)
    net(0)
    assert seen == [1, 2, 2]


def test_hook_numbers_differ():
    net = Identity()
    handles = [net.register_forward_hook(lambda *_: None) for _ in range(3)]
    assert len({handle.hook_num for handle in handles}) == 3
    assert isinstance(handles[0], HookHandler)


# -- where an error came from ----------------------------------------------------------------------------------


class Failing(M.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


class Block(M.Module):
    def __init__(self, inner):
        super().__init__()
        self.layers = [M.Identity(), inner]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_an_error_names_the_way_to_its_module_once():
    net = M.Sequential(OrderedDict(backbone=Block(Block(Failing(ValueError("bad shape"))))))
    with pytest.raises(ValueError) as caught:
        net(1)
    assert str(caught.value) == "bad shape\n  in backbone.layers.1.layers.1 (Failing) of Sequential"


def test_an_error_of_the_outermost_module():
    with pytest.raises(RuntimeError) as caught:
        Failing(RuntimeError("no"))(1)
    assert str(caught.value) == "no\n  in Failing"


def test_an_error_of_an_operation():
    class Net(M.Module):
        def __init__(self):
            super().__init__()
            self.fc = M.Linear(3, 2)

        def forward(self, x):
            return self.fc(F.relu(x))

    with pytest.raises(ValueError, match=r"(?s).*\n  in fc \(Linear\) of Net$"):
        Net()(F.ones((4, 5)))


@pytest.mark.parametrize(
    "error", [KeyError("key"), OSError(2, "gone"), StopIteration(), RuntimeError(1), LookupError()]
)
def test_errors_whose_arguments_mean_something_keep_them(error):
    args = error.args
    with pytest.raises(type(error)) as caught:
        Block(Failing(error))(1)
    assert caught.value is error
    assert caught.value.args == args
    assert caught.value.__notes__ == ["  in layers.1 (Failing) of Block"]


def test_an_error_under_a_module_that_does_not_know_the_inner_one():
    class Hidden(M.Module):
        def forward(self, x):
            return Failing(ValueError("bad"))(x)

    with pytest.raises(ValueError) as caught:
        M.Sequential(Hidden())(1)
    assert str(caught.value) == "bad\n  in 0 (Failing) of Sequential"


def test_an_error_that_has_said_where_it_is_from_can_be_sent_and_kept():
    error = ValueError("bad")
    net = Block(Failing(error))
    with pytest.raises(ValueError):
        net(1)
    assert pickle.loads(pickle.dumps(error)).args == ("bad\n  in layers.1 (Failing) of Block",)
    error.__traceback__ = None  # which holds its frames
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_an_error_that_cannot_be_changed_comes_as_it_is():
    @dataclass(frozen=True)
    class Refusal(Exception):
        reason: str

    error = Refusal("no")
    with pytest.raises(Refusal) as caught:
        Block(Failing(error))(1)
    assert caught.value is error
    assert error.args == ("no\n  in layers.1 (Failing) of Block",)


def test_an_error_in_a_traced_function_names_the_way_to_its_module():
    net = Block(M.Linear(3, 2))
    for without_host in (False, True):
        with pytest.raises(ValueError, match=r"\n  in layers\.1 \(Linear\) of Block$"):
            tengen.jit.trace(net, without_host=without_host)(F.ones((4, 5)))


# -- parameters that are lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [Tensor([5.0]), np.array([5.0], np.float32)])
def test_a_tensor_in_the_place_of_a_parameter_warns(value):
    net = M.Linear(1, 1)
    with pytest.warns(UsageWarning, match=r"Linear.bias was a Parameter and is now a .*bias.set_value") as shown:
        net.bias = value
    assert shown[0].filename == __file__
    assert len(shown) == 1
    assert net.bias is value
    net.bias = value  # it is no Parameter any more
    assert [name for name, _ in net.named_parameters()] == ["weight"]


def test_other_assignments_do_not_warn():
    net = M.Linear(1, 1)
    net.scale = Tensor([1.0])
    net.scale = Tensor([2.0])
    net.weight = Parameter([[2.0]])
    net.weight.set_value([[3.0]])
    net.weight *= 2.0
    net.weight[...] = 1.0
    net.bias = None
    net.bias = Tensor([0.0])
    net.other = net.weight
    net.other = M.Identity()  # what computes it
    del net.weight
    net.weight = Tensor([[1.0]])


@pytest.mark.parametrize("wrap", [lambda s: {"model": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_loading_nothing_warns(wrap):
    net, values = M.Linear(1, 1), M.Linear(1, 1).state_dict()
    with pytest.warns(
        UsageWarning, match=r"of Linear: nothing was loaded.* such as 'mod.*', .* such as 'bias'"
    ) as shown:
        net.load_state_dict(wrap(values), strict=False)
    assert (shown[0].filename, len(shown)) == (__file__, 1)
    net.load_state_dict({"weight": values["weight"], "other": values["bias"]}, strict=False)
    net.load_state_dict({}, strict=False)
    net.load_state_dict(lambda name, tensor: None, strict=False)
    M.Identity().load_state_dict(values, strict=False)
