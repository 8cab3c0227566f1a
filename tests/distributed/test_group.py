"""The world, its groups, and what programs ask of them."""

from __future__ import annotations

import pytest

import tengen
import tengen.distributed as dist
import tengen.module as M
from tengen.autodiff import GradManager
from tengen.base import world as worlds
from tengen.distributed import rendezvous


def test_without_a_world():
    assert (dist.get_rank(), dist.get_world_size(), dist.is_distributed()) == (0, 1, False)
    dist.group_barrier()
    assert dist.synchronized(lambda x: x + 1)(1) == 2
    for call in (
        dist.get_client, dist.get_backend, dist.get_py_server_addr, dist.get_mm_server_addr, lambda: dist.new_group([0]),
        lambda: dist.Group([0]), lambda: dist.bcast_list_([tengen.tensor(1.0)]), lambda: dist.make_allreduce_cb("sum"),
        lambda: dist.WORLD.size, lambda: dist.WORLD.rank, lambda: dist.WORLD.key, lambda: dist.override_backend("mpi").__enter__(),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="please call init_process_group first"):
            call()


def test_a_world_of_one(world):
    assert (dist.get_rank(), dist.get_world_size(), dist.is_distributed()) == (0, 1, True)
    assert dist.get_backend() == "mpi"
    assert dist.get_py_server_addr() == ("localhost", world.py_server_port)
    assert dist.get_mm_server_addr() == ("localhost", world.mm_server_port)
    assert dist.group.get_rank() == 0 and dist.group.is_distributed()
    dist.group_barrier()
    dist.group_barrier(dist.new_group([0]))
    dist.group_start(), dist.group_end()
    assert dist.get_client().connect()
    assert tengen.get_default_device() == "xpu0"


def test_groups(world):
    group = dist.new_group([0])
    assert (group.size, group.rank, group.key, group.is_single_machine) == (1, 0, "0", True)
    assert group.proc_ranks == [0] and group.comp_node == "xpu0"
    assert (dist.WORLD.size, dist.WORLD.key) == (1, "0")
    assert repr(dist.WORLD) == "WORLD" and repr(group) == "Group([0])"
    for wrong, what in (([1], "1 is none"), ([-1], "-1 is none"), ([], "at least one"), ([0, 0], "is there twice")):
        with pytest.raises(ValueError, match=f"ranks from 0 to 0; .*{what}"):
            dist.new_group(wrong)
    for wrong in ("0", [0.0], [True], ["0"]):
        with pytest.raises(TypeError, match="ranks, which are integers"):
            dist.Group(wrong)
    with pytest.raises(ValueError, match="1 is none"):
        group.reset([0, 1])
    assert group.proc_ranks == [0]


@pytest.mark.parametrize(("wrong", "error", "says"), [
    ({"master_ip": 1}, TypeError, "master_ip must be of type str"), ({"port": "x"}, TypeError, "port must be of type int"),
    ({"world_size": 1.0}, TypeError, "world_size"), ({"rank": True}, TypeError, "rank"), ({"device": None}, TypeError, "device"),
    ({"device_type": 0}, TypeError, "device_type"), ({"world_size": 0}, ValueError, "rank is from 0"),
    ({"rank": 1}, ValueError, "rank is from 0"), ({"rank": -1}, ValueError, "rank is from 0"),
    ({"backend": "foo"}, ValueError, "the backend must be one of auto"), ({"device_type": "tpu"}, ValueError, "is not a device"),
    ({"device_type": "gpu"}, tengen.base.errors.DeviceError, "no such GPU"),
    ({"world_size": 2, "backend": "nccl"}, NotImplementedError, "communicate by 'mpi', and has no 'nccl' yet"),
])  # fmt: skip
def test_no_such_world(wrong, error, says):
    with dist.Server() as server:
        good = {"master_ip": "localhost", "port": server.py_server_port, "world_size": 1, "rank": 0, "device": 0}
        with pytest.raises(error, match=says):
            dist.init_process_group(**{**good, **wrong})
    assert not dist.is_distributed()


def test_only_one_world(world):
    with pytest.raises(RuntimeError, match="has joined a world already"):
        dist.init_process_group("localhost", world.py_server_port, 1, 0, 0)


def test_no_server(monkeypatch):
    monkeypatch.setattr(rendezvous, "CONNECT_SECONDS", 0.0)
    (port,) = dist.get_free_ports(1)
    with pytest.raises(ConnectionError, match=rf"nobody answers at localhost:{port} .*Server\({port}\)"):
        dist.init_process_group("localhost", port, 1, 0, 0)
    assert not dist.is_distributed()


@pytest.mark.parametrize("backend", ["nccl", "auto", None])
def test_backends(backend):
    device = tengen.get_default_device()
    with dist.Server() as server:
        dist.init_process_group("localhost", server.py_server_port, 1, 0, 0, backend=backend, device_type="cpu")
        try:
            named = backend if backend == "nccl" else "mpi"
            assert dist.get_backend() == named
            with dist.override_backend("ucx"):
                assert dist.get_backend() == "ucx" and dist.get_world_size() == 1
            assert dist.get_backend() == named
            with pytest.raises(ValueError, match="override_backend: the backend must be one of"):
                dist.override_backend("foo").__enter__()
        finally:
            worlds.enter(None)
            tengen.set_default_device(device)


# -- what training needs ---------------------------------------------------------------------------------------


def test_bcast_list(world):
    net = M.BatchNorm1d(3)
    tensors = list(net.tensors())
    before = [t.numpy().copy() for t in tensors]
    assert dist.bcast_list_(tensors) is None
    assert all((t.numpy() == b).all() for t, b in zip(tensors, before, strict=True))
    assert all(a is b for a, b in zip(net.tensors(), tensors, strict=True))
    with pytest.raises(TypeError, match="bcast_list_ takes tensors, got int"):
        dist.bcast_list_([3])


@pytest.mark.parametrize("method", ["sum", "mean"])
@pytest.mark.parametrize("backend", [None, "nccl"])
def test_allreduce_callback(world, method, backend):
    w = tengen.Parameter([1.0, 2.0])
    gm = GradManager().attach(w, callbacks=dist.make_allreduce_cb(method, dist.WORLD, backend))
    with gm:
        gm.backward((w * w).sum())
    assert w.grad.tolist() == [2.0, 4.0]
    assert isinstance(dist.make_allreduce_cb(method), dist.helper.AllreduceCallback)


def test_callbacks_that_cannot_be():
    with pytest.raises(ValueError, match="reduce_method must be 'sum' or 'mean', got 'foo'"):
        dist.make_allreduce_cb("foo")


def test_callbacks_of_no_backend(world):
    with pytest.raises(ValueError, match="the backend must be one of"):
        dist.make_allreduce_cb("sum", backend="foo")


def test_offsets_and_packing(world):
    """The first line is what the reference gives."""
    assert dist.helper.get_offsets([(2, 3), (), (4,), (1, 1)]) == [0, 6, 6, 7, 7, 11, 11, 12]
    assert dist.helper.get_offsets([]) == []
    parts = [tengen.tensor([[1.0, 2.0], [3.0, 4.0]]).T, tengen.tensor(5.0), tengen.tensor([[6.0]])]
    shapes = [p.shape for p in parts]
    offsets = dist.helper.get_offsets(shapes)
    packed = dist.helper.param_pack_concat(parts, tengen.tensor(offsets), offsets)
    assert packed.tolist() == [1.0, 3.0, 2.0, 4.0, 5.0, 6.0]
    for found in (
        dist.helper.param_pack_split(packed, offsets, shapes),
        dist.helper.pack_allreduce_split(parts, shapes, dist.WORLD, "sum"),
        dist.helper.pack_allreduce_split(parts, shapes, dist.WORLD, "mean"),
    ):
        assert isinstance(found, tuple) and [f.tolist() for f in found] == [p.tolist() for p in parts]
    with pytest.raises(ValueError, match=r"offsets \[0, 1\] do not fit tensors of the shapes"):
        dist.helper.param_pack_concat(parts, None, [0, 1])
    with pytest.raises(ValueError, match=r"do not fit a tensor of shape \(6,\)"):
        dist.helper.param_pack_split(packed, [0, 3], [(3,)])
    with pytest.raises(ValueError, match="'sum' or 'mean'"):
        dist.helper.pack_allreduce_split(parts, shapes, dist.WORLD, "max")


def test_other_names(world):
    assert dist.functional.all_reduce_sum is tengen.functional.distributed.all_reduce_sum
    assert dist.helper.get_device_count_by_fork("cpu") == tengen.get_device_count("cpu")
    with pytest.raises(AttributeError, match="has no attribute 'foo'"):
        dist.foo  # noqa: B018

    @dist.synchronized
    def twice(x):
        """What it does."""
        return 2 * x

    assert twice(3) == 6 and twice.__doc__ == "What it does."
