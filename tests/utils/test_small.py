"""naming, tuple_function, tensor_sanity_check and memory_summary."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import tengen
import tengen.functional as F
import tengen.module as M
from tengen import Tensor
from tengen.core.build import Around, watching
from tengen.utils import memory_summary
from tengen.utils.naming import AutoNaming, pop_scope, push_scope, record_scope
from tengen.utils.tensor_sanity_check import TensorSanityCheck, sync
from tengen.utils.tuple_function import _pair, _pair_nonzero, _quadruple, _single, _triple, _triple_nonzero, get_ndtuple


def test_names_in_scopes():
    AutoNaming.clear()
    x = Tensor([1.0], name="x")
    assert AutoNaming.gen_name(x) == "x"
    with record_scope("net"):
        push_scope("block")
        assert AutoNaming.gen_name(x) == "net.block.x"
        assert AutoNaming.gen_name(M.ReLU(name="relu")) == "net.block.relu"
        with pytest.raises(ValueError, match="not 'net'"):
            pop_scope("net")
        pop_scope("block")
        assert AutoNaming.get_scope() == "net"
    assert AutoNaming.scopes == []
    with pytest.raises(ValueError, match="None"):
        pop_scope("net")


def test_names_of_variables_and_ops():
    class Op:
        def __init__(self, name):
            self.name = name

    AutoNaming.clear()
    AutoNaming.record_var_name(5, "v")
    assert (AutoNaming.get_var_name(5), AutoNaming.get_var_name(6)) == ("v", None)
    ops = [Op("conv"), Op("relu"), Op("conv")]
    for op in ops:
        AutoNaming.record_opnode(op)
    AutoNaming.remove_duplicate_names()
    assert [op.name for op in ops] == ["conv[0]", "relu", "conv[1]"]
    assert AutoNaming.name2ops == {"conv[0]": [ops[0]], "conv[1]": [ops[2]], "relu": [ops[1]]}
    AutoNaming.clear()
    assert AutoNaming.c_ops == [] and AutoNaming.handle2names == {}


def test_tuples():
    assert [_single(3), _pair(3), _triple(3), _quadruple(3)] == [(3,), (3, 3), (3, 3, 3), (3, 3, 3, 3)]
    assert [_pair([1, 2]), _pair((0, 1.5)), _pair(0), _pair(1.5)] == [(1, 2), (0, 1), (0, 0), (1, 1)]
    with pytest.raises(ValueError, match="no negative numbers"):
        _pair((1, -1))
    assert [_pair_nonzero((1, 2)), _triple_nonzero(2)] == [(1, 2), (2, 2, 2)]
    for bad in ((1, 2, 3), [], "a"):
        with pytest.raises(ValueError, match="one number or 2 of them"):
            get_ndtuple(bad, n=2)
    for bad in (0, (0, 1), (1, -1)):
        with pytest.raises(ValueError, match="positive"):
            _pair_nonzero(bad)


def test_ops_leave_their_inputs_alone():
    x = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    with TensorSanityCheck() as check:
        assert isinstance(check, TensorSanityCheck)
        y = F.softmax(x.T * 2 + 1, axis=1)
        x[0, 0] = 5.0
        x += 1
        F.zeros((0,)) + 1
        Tensor([1.0], dtype="bfloat16") * 2
    assert y.shape == (3, 2)
    sync()


def test_an_op_that_does_not():
    """Somebody writes into an input while the op runs."""
    x = Tensor([1.0, 2.0, 3.0])

    def write(arrays):
        ctypes.memset(arrays[0].ctypes.data, 1, 4)

    refused = pytest.raises(RuntimeError, match=r"exp has changed its input 0, float32 \(3,\)")
    with TensorSanityCheck(), watching(lambda *_: Around(write, lambda ys: None)), refused:
        F.exp(x)
    F.exp(x)


def test_memory():
    other = Tensor([1])
    keep = [Tensor(np.zeros((300, 1000), np.float32)) for _ in range(3)]
    said = memory_summary()
    assert said.startswith("tensors hold ")
    assert any(line.split() == ["3", "float32", "(300,", "1000)", "3.4", "MiB"] for line in said.splitlines())
    short = memory_summary(most=1)
    assert "others, " in short and f"int32  {tuple(other.shape)}" not in short
    live = tengen.get_allocated_memory()
    del keep
    assert tengen.get_allocated_memory() < live
