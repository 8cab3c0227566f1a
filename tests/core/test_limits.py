"""Positions and shapes beyond what int32, or a machine, can hold."""

from __future__ import annotations

import numpy as np
import pytest

import tengen
import tengen.functional as F
from tengen import Tensor
from tengen.compiler.program import Type
from tengen.core.ops.sort import TopK
from tengen.jit import trace

PAIR = Tensor([7.0, 8.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda i: PAIR[i],
        lambda i: PAIR[i.tolist()],
        lambda i: Tensor([[1.0, 2.0]])[0, i],
        lambda i: F.gather(PAIR, 0, i),
        lambda i: F.scatter(PAIR, 0, i, Tensor([1.0])),
        lambda i: F.nn.embedding(i, Tensor([[1.0], [2.0]])),
        lambda i: F.one_hot(i, 2),
        lambda i: F.indexing_one_hot(Tensor([[1.0, 2.0]]), i, 1),
        lambda i: F.nn.cross_entropy(Tensor([[1.0, 2.0]]), i),
        lambda i: F.nn.nll_loss(Tensor([[1.0, 2.0]]), i.tolist()),
    ],
)
@pytest.mark.parametrize("index", [2**32 + 1, -(2**32), 2**31, 2**64 - 1])
def test_wide_indices_do_not_wrap(call, index):
    with pytest.raises(IndexError):
        call(np.array([index], None if index < 2**63 else np.uint64))


def test_assigning_at_a_wide_index():
    x = Tensor([7.0, 8.0])
    with pytest.raises(IndexError):
        x[np.array([2**32 + 1])] = 1.0
    assert x.tolist() == [7, 8]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_indices_of_every_dtype(dtype):
    assert PAIR[np.array([1, 0], dtype)].tolist() == [8, 7]


def test_a_position_beyond_int32():
    """The padding is never made; it is int8, so that it is read fast."""
    found = trace(lambda x: F.argmax(F.nn.pad(x, ((2**31 + 4, 0),))))(Tensor([1], dtype="int8"))
    assert found.item() == 2**31 + 4 and found.dtype == "int64"
    assert F.argmax(Tensor([1, 2])).dtype == "int32"


def test_the_order_of_many():
    assert [t.dtype for t in TopK(1, False).infer(Type("int8", (2**31 + 5,)))] == ["int8", "int64"]
    assert [t.dtype for t in TopK(1, False).infer(Type("int8", (2**31,)))] == ["int8", "int32"]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.zeros((2**62,)),
        lambda x: F.full((2**70,), 1),
        lambda x: F.zeros((0, 2**62, 2**62)),
        lambda x: F.arange(2**60),
        lambda x: F.linspace(0, 1, 2**62),
        lambda x: F.eye(2**40),
        lambda x: F.broadcast_to(x, (2**62, 2)),
        lambda x: F.tile(x, 2**62),
        lambda x: F.repeat(x, 2**62),
        lambda x: F.nn.pad(x, ((2**62, 0),)),
        lambda x: F.nn.pad(x, ((2**62, 0),), "edge"),
        lambda x: F.concat([F.broadcast_to(x, (2**44, 2)), F.broadcast_to(x, (2**44, 2))]),
        lambda x: F.one_hot(Tensor([1]), 2**62),
        lambda x: F.nn.interpolate(F.ones((1, 1, 2, 2)), (2**31, 2**31)),
    ],
)
@pytest.mark.parametrize("make", [lambda f: f, trace, tengen.fuse], ids=["eager", "trace", "fuse"])
def test_shapes_beyond_what_can_be_addressed(make, call):
    """The message names the op, the shape and the bytes."""
    with pytest.raises(MemoryError, match=r"^\w+: \w+ of shape \(.*\) would take \d+ bytes"):
        make(call)(PAIR)
