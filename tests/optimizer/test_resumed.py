"""A run that is resumed from a checkpoint goes on with the very same bits, wherever weights lie in memory."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from resumed import OPTIMIZERS, assert_same_bits, resumed, through_a_file

import tengen
from tengen import module


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_has_the_bits_of_a_whole_one(name, traced):
    assert_same_bits(*resumed(OPTIMIZERS[name], through_a_file, traced))


def test_from_a_state_that_was_kept_in_memory():
    assert_same_bits(*resumed(OPTIMIZERS["SGD"], copy.deepcopy))


class Holder(module.Module):
    def forward(self):
        return self.w


ORDERS = [(1, 0), (0, 2, 3, 1), (2, 3, 1, 0), (3, 0, 2, 1)]


def lying(order, dtype):
    """A parameter whose dims lie in memory in this order, slowest first."""
    array = np.arange(24).reshape((4, 1, 3, 2) if len(order) == 4 else (4, 6)).astype(np.float32)
    made = tengen.tensor(array.transpose(order).copy(), dtype=dtype)
    return tengen.Parameter(made.transpose(*np.argsort(order).tolist())), array


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("way", [through_a_file, lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_saved_tensors_lie_as_they_did(order, dtype, way):
    value, array = lying(order, dtype)
    found = way(value)
    assert type(found) is tengen.Parameter and found.desc == value.desc
    np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_saved_arrays_lie_as_they_did(order):
    value, array = lying(order, "float32")
    found = through_a_file(value.numpy())
    assert found.strides == value.numpy().strides and found.flags.writeable
    np.testing.assert_array_equal(found, array)
    net = Holder()
    net.w = tengen.Parameter(np.zeros(array.shape, np.float32))
    net.load_state_dict({"w": found})
    assert net.w.desc == value.desc


def test_what_is_not_dense_becomes_row_major():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    for part in (array[:, ::2], array[::-1], array.T[::2], np.broadcast_to(array[0], (3, 6)), array[:0].T):
        found = through_a_file(part)
        np.testing.assert_array_equal(found, part)
        assert found.flags.c_contiguous
        net = Holder()
        net.w = tengen.Parameter(np.zeros(part.shape, np.float32))
        net.load_state_dict({"w": part})
        assert net.w.desc.is_contiguous and net.w.tolist() == part.tolist()


def test_a_tensor_of_an_array_is_row_major():
    assert tengen.tensor(np.asfortranarray(np.zeros((4, 6), np.float32))).desc.is_contiguous
