"""Collective operations: what one process gets; shapes and gradients for any number of them."""

from __future__ import annotations

import io

import numpy as np
import pytest

import tengen
import tengen.distributed as dist
import tengen.functional as F
from tengen import jit
from tengen.autodiff import GradManager
from tengen.compiler.program import Type
from tengen.core.gradient import backward
from tengen.core.ops import collective
from tengen.core.ops.collective import (
    AllGather,
    AllReduce,
    AllToAll,
    Await,
    BroadcastFrom,
    Finish,
    GatherTo,
    Pack,
    Receive,
    ReduceScatter,
    ReduceSum,
    ScatterFrom,
    Send,
    Start,
    Unpack,
)
from tengen.core.ops.table import op_classes

D = F.distributed
NAMES = (
    "all_reduce_sum all_reduce_max all_reduce_min reduce_sum broadcast all_gather gather scatter reduce_scatter_sum all_to_all"
).split()
CUTTING = ("scatter", "reduce_scatter_sum", "all_to_all")
EACH = pytest.mark.parametrize("name", NAMES)


# -- one process -----------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(1,), (2, 3), (0, 4), (8, 10)])
def test_one_process_gets_what_it_gives(world, name, dtype, shape):
    data = np.arange(int(np.prod(shape))).reshape(shape) % 2
    x = tengen.tensor(data, dtype=dtype)
    y = getattr(D, name)(x)
    assert y is not x and y.dtype == x.dtype and y.shape == shape
    np.testing.assert_array_equal(y.numpy(), x.numpy())


@EACH
def test_operands_of_every_kind(world, name):
    data = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    function = getattr(D, name)
    for x in (tengen.tensor(data).T, tengen.tensor(data)[::-2, 1:], F.broadcast_to(tengen.tensor([1.0, 2.0]), (3, 2))):
        np.testing.assert_array_equal(function(x).numpy(), x.numpy())
    assert function(data).tolist() == function(data.tolist()).tolist() == data.tolist()
    changed = tengen.tensor([1.0, 2.0])
    y = function(changed)
    changed[...] = 5.0
    assert y.tolist() == [1.0, 2.0]


@EACH
def test_numbers(world, name):
    x, function = tengen.tensor(3.0), getattr(D, name)
    if name in CUTTING:
        with pytest.raises(ValueError, match=f"{name}: a tensor of shape"):
            function(x)
        return
    y = function(x)
    assert y.shape == ((1,) if "gather" in name else ()) and y.item() == 3.0


@EACH
def test_gradients_and_theirs(world, name):
    function = getattr(D, name)
    x = tengen.tensor([[1.0, -2.0], [3.0, 0.5]])
    first, second = GradManager().attach(x), GradManager().attach(x)
    with second:
        with first:
            y = function(x * x) * x
            first.backward(y.sum())
        g, x.grad = x.grad, None
        np.testing.assert_allclose(g.numpy(), 3 * x.numpy() ** 2, rtol=1e-6)
        second.backward(g.sum())
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.numpy(), rtol=1e-6)


@EACH
@pytest.mark.parametrize("without_host", [False, True])
def test_traced(world, name, without_host):
    traced = jit.trace(lambda x: getattr(D, name)(x + 1) * 2, without_host=without_host)
    for _ in range(3):
        assert traced(tengen.tensor([1.0, 2.0])).tolist() == [4.0, 6.0]


@EACH
def test_dumped_and_loaded(world, name):
    traced = jit.trace(lambda x: getattr(D, name)(x) * 2, without_host=True, capture_as_const=True)
    traced(tengen.tensor([1.0, 2.0]))
    file = io.BytesIO()
    traced.dump(file, arg_names=["x"])
    file.seek(0)
    assert jit.load(file)(x=tengen.tensor([3.0, 4.0])).tolist() == [6.0, 8.0]


@EACH
def test_groups_and_devices(world, name):
    x, function = tengen.tensor([1.0, 2.0]), getattr(D, name)
    for group in (None, dist.WORLD, dist.new_group([0])):
        y = function(x, group, "cpu0")
        assert y.tolist() == [1.0, 2.0] and str(y.device) == "cpu0:0"
    with pytest.raises(TypeError, match=f"{name}: group must be a distributed.Group, got int"):
        function(x, 3)
    with pytest.raises(ValueError, match="is not a device"):
        function(x, device="foo")


@EACH
def test_before_a_world_there_is_nobody_to_ask(name):
    with pytest.raises(RuntimeError, match="please call init_process_group first"):
        getattr(D, name)(tengen.tensor(1.0))


@pytest.mark.parametrize("name", ["all_gather", "gather", "scatter", "reduce_scatter_sum"])
def test_axes(world, name):
    x, function = tengen.tensor(np.ones((2, 3))), getattr(D, name)
    for axis in (0, 1, -1, -2):
        assert function(x, axis=axis).shape == (2, 3)
    with pytest.raises(ValueError, match=f"{name}: axis 2 is out of range"):
        function(x, axis=2)
    with pytest.raises(TypeError, match=f"{name}: an axis must be an integer"):
        function(x, axis=0.5)


def test_axes_of_all_to_all(world):
    x = tengen.tensor(np.ones((2, 3)))
    assert D.all_to_all(x, split_axis=-1, concat_axis=0).shape == (2, 3)
    for wrong in ({"split_axis": 2}, {"concat_axis": -3}):
        with pytest.raises(ValueError, match="all_to_all: axis"):
            D.all_to_all(x, **wrong)


def test_collective_comm(world):
    x = tengen.tensor([1.0, 2.0])

    class Mode:
        name = "all_gather"

    for mode in ("ALL_REDUCE_SUM", "all_reduce_max", Mode(), "SCATTER"):
        assert D.collective_comm(x, mode, dist.WORLD, None).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"mode must be one of REDUCE_SUM, .* got 'foo'"):
        D.collective_comm(x, "foo", dist.WORLD, None)


def test_there_is_no_other_process(world):
    x = tengen.tensor([1.0])
    for call, name in ((lambda r: D.remote_send(x, r), "dest_rank"), (D.remote_recv, "src_rank")):
        with pytest.raises(ValueError, match=f"{name} is 0, this process itself"):
            call(0)
        for rank in (1, -1):
            with pytest.raises(ValueError, match=f"{name} must be from 0 to 0, got {rank}"):
                call(rank)


def test_sending_needs_a_world():
    for call in (lambda: D.remote_send(tengen.tensor(1.0), 1), lambda: D.remote_recv(1)):
        with pytest.raises(RuntimeError, match="please call init_process_group first"):
            call()


# -- several processes: shapes and gradients -------------------------------------------------------------------

SIZE = 3
# The op, and what each process gets of what they all have, by NumPy.
SEVERAL = {
    AllReduce("w", SIZE, "SUM"): lambda xs, r: sum(xs),
    AllReduce("w", SIZE, "MAX"): lambda xs, r: np.max(xs, axis=0),
    AllReduce("w", SIZE, "MIN"): lambda xs, r: np.min(xs, axis=0),
    ReduceSum("w", SIZE): lambda xs, r: sum(xs),
    BroadcastFrom("w", SIZE): lambda xs, r: xs[0],
    AllGather("w", SIZE, 0): lambda xs, r: np.concatenate(xs, 0),
    AllGather("w", SIZE, 1): lambda xs, r: np.concatenate(xs, 1),
    GatherTo("w", SIZE, 1): lambda xs, r: np.concatenate(xs, 1),
    ReduceScatter("w", SIZE, 0): lambda xs, r: np.split(sum(xs), SIZE, 0)[r],
    ReduceScatter("w", SIZE, 1): lambda xs, r: np.split(sum(xs), SIZE, 1)[r],
    ScatterFrom("w", SIZE, 1): lambda xs, r: np.split(xs[0], SIZE, 1)[r],
    AllToAll("w", SIZE, 0, 1): lambda xs, r: np.concatenate([np.split(x, SIZE, 0)[r] for x in xs], 1),
    AllToAll("w", SIZE, 1, 0): lambda xs, r: np.concatenate([np.split(x, SIZE, 1)[r] for x in xs], 0),
    AllToAll("w", SIZE, 1, 1): lambda xs, r: np.concatenate([np.split(x, SIZE, 1)[r] for x in xs], 1),
}  # fmt: skip
REVERSE = {
    AllReduce("w", SIZE, "SUM"): AllReduce("w", SIZE, "SUM"),
    AllReduce("w", SIZE, "MAX"): AllReduce("w", SIZE, "SUM"),
    AllReduce("w", SIZE, "MIN"): AllReduce("w", SIZE, "SUM"),
    ReduceSum("w", SIZE): BroadcastFrom("w", SIZE),
    BroadcastFrom("w", SIZE): ReduceSum("w", SIZE),
    AllGather("w", SIZE, 0): ReduceScatter("w", SIZE, 0),
    AllGather("w", SIZE, 1): ReduceScatter("w", SIZE, 1),
    GatherTo("w", SIZE, 1): ScatterFrom("w", SIZE, 1),
    ReduceScatter("w", SIZE, 0): AllGather("w", SIZE, 0),
    ReduceScatter("w", SIZE, 1): AllGather("w", SIZE, 1),
    ScatterFrom("w", SIZE, 1): GatherTo("w", SIZE, 1),
    AllToAll("w", SIZE, 0, 1): AllToAll("w", SIZE, 1, 0),
    AllToAll("w", SIZE, 1, 0): AllToAll("w", SIZE, 0, 1),
    AllToAll("w", SIZE, 1, 1): AllToAll("w", SIZE, 1, 1),
}


@pytest.mark.parametrize("op", SEVERAL, ids=repr)
def test_shapes_for_several(op):
    xs = [np.full((6, 9), float(r)) for r in range(SIZE)]
    expected = {SEVERAL[op](xs, r).shape for r in range(SIZE)}
    assert {t.shape for t in op.infer(Type("float32", (6, 9)))} == expected


@pytest.mark.parametrize("op", SEVERAL, ids=repr)
def test_gradients_for_several(op):
    x = Type("float32", (6, 9))
    (y,) = op.infer(x)
    found = backward(op, (x,), (y,), (True,), (True,))
    assert found.results == (0,) and found.op.program.outputs[0].type == x
    ops = {node.op for node in found.op.program.nodes}
    assert {o for o in ops if o in REVERSE} == {REVERSE[op]}


@pytest.mark.parametrize("op", [ReduceScatter("w", 4, 1), ScatterFrom("w", 4, 1), AllToAll("w", 4, 1, 0)], ids=repr)
def test_what_cannot_be_cut(op):
    with pytest.raises(ValueError, match=rf"{op.name}: axis 1 of shape \(4, 6\) cannot be cut into 4 equal parts"):
        op.infer(Type("float32", (4, 6)))


def test_every_row_is_tested():
    rows = {kind for kind in op_classes().values() if kind.__module__ == collective.__name__}
    assert rows == {type(op) for op in SEVERAL} | {
        Start,
        Finish,
        Await,
        Send,
        Receive,
        Pack,
        Unpack,
        collective.OwnParts,
        collective.PackParts,
        collective.TakeParts,
    }  # in test_ranks.py, test_training.py and test_sharded.py
