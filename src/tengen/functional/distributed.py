"""Operations over several processes; `tengen.distributed` says which there are. They take part in gradients and traces as all others.

Each takes `group`, the processes that call it together (all, by default), and `device`, where the result is to be (by default where the
input is). All processes call it with tensors of one shape and dtype; a process alone gets what it gives. The first process of a group is its
root; where a result is for the root, the others get None. Sums are taken in the order of processes.

Gradients are those of the sum of what all processes differentiate, so each of them runs its backward. Raises RuntimeError before
`tengen.distributed.init_process_group`, DistributedError if the processes do different things or one of them is gone.
"""

from __future__ import annotations

from typing import Any

from .._rt import apply
from ..base.world import WORLD, Group, membership
from ..core import Tensor, elsewhere
from ..core.ops.collective import (
    AllGather,
    AllReduce,
    AllToAll,
    BroadcastFrom,
    GatherTo,
    Receive,
    ReduceScatter,
    ReduceSum,
    ScatterFrom,
    Send,
)
from ..core.ops.shape import Fill
from ..core.places import copied
from .arguments import as_tensor, device_name, integer, normal_axis

__all__ = [
    "all_gather", "all_reduce_max", "all_reduce_min", "all_reduce_sum", "all_to_all", "broadcast", "collective_comm",
    "gather", "reduce_scatter_sum", "reduce_sum", "remote_recv", "remote_send", "scatter",
]  # fmt: skip


def all_reduce_sum(inp: Tensor, group: Group | None = WORLD, device: str | None = None) -> Tensor:
    """The sum of what all processes give, for all.

    Its gradient is the sum of theirs.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.all_reduce_sum(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _run(AllReduce, "all_reduce_sum", inp, group, device, "SUM")


def all_reduce_max(inp: Tensor, group: Group | None = WORLD, device: str | None = None) -> Tensor:
    """The largest of what all processes give, for all.

    Its gradient goes to all that have it.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.all_reduce_max(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _run(AllReduce, "all_reduce_max", inp, group, device, "MAX")


def all_reduce_min(inp: Tensor, group: Group | None = WORLD, device: str | None = None) -> Tensor:
    """The smallest of what all processes give, for all.

    Its gradient goes to all that have it.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.all_reduce_min(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _run(AllReduce, "all_reduce_min", inp, group, device, "MIN")


def reduce_sum(inp: Tensor, group: Group | None = WORLD, device: str | None = None) -> Tensor | None:
    """The sum of what all processes give, for the first of them.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp; None for the others, whose gradient comes from the first.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.reduce_sum(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _for_root(group, _run(ReduceSum, "reduce_sum", inp, group, device))


def broadcast(inp: Tensor, group: Group | None = WORLD, device: str | None = None) -> Tensor:
    """What the first process gives, for all.

    Args:
        inp: a tensor; of the others than the first only its shape and dtype count.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: a tensor of the shape and dtype of inp.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.broadcast(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _run(BroadcastFrom, "broadcast", inp, group, device)


def all_gather(inp: Tensor, group: Group | None = WORLD, device: str | None = None, axis: int = 0) -> Tensor:
    """What all processes give, side by side along `axis`, for all.

    Numbers become a vector.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.
        axis: along which dim.

    Returns: a tensor (…, size · n, …) for inp (…, n, …).

    Raises:
        ValueError: the axis does not exist.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.all_gather(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _along(AllGather, "all_gather", inp, group, device, axis)


def gather(inp: Tensor, group: Group | None = WORLD, device: str | None = None, axis: int = 0) -> Tensor | None:
    """What all processes give, side by side along `axis`, for the first of them.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.
        axis: along which dim.

    Returns: a tensor (…, size · n, …) for inp (…, n, …); None for the others, whose gradient comes from the first.

    Raises:
        ValueError: the axis does not exist.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.gather(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _for_root(group, _along(GatherTo, "gather", inp, group, device, axis))


def scatter(inp: Tensor, group: Group | None = WORLD, device: str | None = None, axis: int = 0) -> Tensor:
    """Equal parts along `axis` of what the first process gives, one for each.

    Args:
        inp: a tensor (…, size · n, …); of the others than the first only its shape and dtype count.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.
        axis: along which dim.

    Returns: a tensor (…, n, …).

    Raises:
        ValueError: the axis does not exist, or cannot be cut into equal parts.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.scatter(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _along(ScatterFrom, "scatter", inp, group, device, axis)


def reduce_scatter_sum(inp: Tensor, group: Group | None = WORLD, device: str | None = None, axis: int = 0) -> Tensor:
    """Equal parts along `axis` of the sum of what all processes give, one for each.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.
        axis: along which dim.

    Returns: a tensor (…, n, …) for inp (…, size · n, …).

    Raises:
        ValueError: the axis does not exist, or cannot be cut into equal parts.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.reduce_scatter_sum(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    return _along(ReduceScatter, "reduce_scatter_sum", inp, group, device, axis)


def all_to_all(
    inp: Tensor,
    group: Group | None = WORLD,
    device: str | None = None,
    split_axis: int = 0,
    concat_axis: int = 0,
) -> Tensor:
    """Each process cuts its tensor along `split_axis` and gives every other a part; what it gets it joins along `concat_axis`.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.
        split_axis: along which dim inp is cut; its extent is a multiple of the number of processes.
        concat_axis: along which dim the parts are joined.

    Returns: a tensor with as many elements as inp.

    Raises:
        ValueError: an axis does not exist, or cannot be cut into equal parts.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.all_to_all(Tensor([1.0, 2.0])).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    members, x = _members("all_to_all", group), as_tensor(inp)
    if not x.ndim:
        raise _no_axes("all_to_all")
    axes = [normal_axis("all_to_all", axis, x.ndim) for axis in (split_axis, concat_axis)]
    return _run(AllToAll, "all_to_all", x, members, device, *axes)


_MODES = {
    "REDUCE_SUM": reduce_sum, "BROADCAST": broadcast, "ALL_GATHER": all_gather, "REDUCE_SCATTER_SUM": reduce_scatter_sum,
    "ALL_REDUCE_SUM": all_reduce_sum, "ALL_REDUCE_MAX": all_reduce_max, "ALL_REDUCE_MIN": all_reduce_min, "GATHER": gather,
    "SCATTER": scatter, "ALL_TO_ALL": all_to_all,
}  # fmt: skip


def collective_comm(inp: Tensor, mode: Any, group: Group | None, device: str | None) -> Tensor | None:
    """The collective operation of a name, along axis 0 where there is one.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        mode: a name such as "ALL_REDUCE_SUM".
        group: the processes that take part, each of which calls it; None for all.
        device: where the result shall be; None for where inp is.

    Returns: what the function of this name gives.

    Raises:
        ValueError: the name is unknown.

    >>> @tengen.distributed.launcher(n_gpus=1)
    ... def run():
    ...     return F.distributed.collective_comm(Tensor([1.0, 2.0]), "ALL_REDUCE_SUM", tengen.distributed.WORLD, None).tolist()
    >>> run()
    [[1.0, 2.0]]
    """
    name = str(getattr(mode, "name", mode)).upper()
    if name not in _MODES:
        raise ValueError(f"collective_comm: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    return _MODES[name](inp, group, device)


def remote_send(inp: Tensor, dest_rank: int) -> None:
    """Send a tensor to another process, which calls remote_recv. It does not wait until that has it.

    If it is recorded for a gradient, the backward of this process waits for that of the other.

    Args:
        inp: a tensor; all processes give the same shape and dtype.
        dest_rank: the rank of the process that calls remote_recv.

    Raises:
        ValueError: `dest_rank` is not the rank of another process.
    """
    x, other = as_tensor(inp), _other("remote_send", "dest_rank", dest_rank)
    own, watched = membership().rank, x._is_watched()
    membership().client.put(f"{own}>{other}", [list(x.shape), x.desc.dtype, watched])
    elsewhere.send(apply(Send(f"{own}>{other}", x.desc.dtype), x))


def remote_recv(src_rank: int, device: str | None = None, inp: Tensor | None = None) -> Tensor:
    """What another process sends by remote_send, once it is there. Its gradient goes back, if that process wants it.

    Args:
        src_rank: the rank of the process that calls remote_send.
        device: where the result shall be; None for where inp is.
        inp: something of this process that what comes follows on, which says nothing here.

    Returns: a tensor of the shape and dtype that the other process gives.

    Raises:
        ValueError: `src_rank` is not the rank of another process.
    """
    other, own = _other("remote_recv", "src_rank", src_rank), membership().rank
    shape, dtype, returns = membership().client.take(f"{other}>{own}")
    beginning: Tensor = apply(Fill((), "float32", device_name(device)), 0.0)
    if returns:
        elsewhere.receive(beginning)
    received: Tensor = apply(Receive(f"{other}>{own}", tuple(shape), dtype, returns), beginning)
    return received


def _other(op: str, argument: str, rank: int) -> int:
    """The rank of another process. Raises ValueError if it is not."""
    members = _members(op, WORLD)
    number = integer(op, argument, rank)
    if number == members.rank:
        raise ValueError(f"{op}: {argument} is {number}, this process itself; it must be another one")
    if not 0 <= number < members.size:
        raise ValueError(f"{op}: {argument} must be from 0 to {members.size - 1}, got {number}")
    return number


def _for_root(group: Group | None, made: Tensor) -> Tensor | None:
    """What an operation has made, for the root only. For the others it is an end of their computation."""
    if _members("", group).rank == 0:
        return made
    elsewhere.send(made)
    return None


def _members(op: str, group: Group | None) -> Group:
    """The group, of which this process is one. Raises RuntimeError, TypeError or ValueError if it is not."""
    members = WORLD if group is None else group
    if not isinstance(members, Group):
        raise TypeError(f"{op}: group must be a distributed.Group, got {type(group).__name__}")
    assert members.rank >= 0  # asks
    return members


def _along(kind: type[Any], op: str, inp: Tensor, group: Group | None, device: str | None, axis: int) -> Tensor:
    members, x = _members(op, group), as_tensor(inp)
    if not x.ndim and kind in (ScatterFrom, ReduceScatter):
        raise _no_axes(op)
    return _run(kind, op, x, members, device, normal_axis(op, axis, max(x.ndim, 1)))


def _no_axes(op: str) -> ValueError:
    return ValueError(f"{op}: a tensor of shape () has no axis to cut it along")


def _run(kind: type[Any], op: str, inp: Tensor, group: Group | None, device: str | None, *parameters: Any) -> Tensor:
    members = _members(op, group)
    made: Tensor = apply(kind(members.key, members.size, *parameters), inp)
    return made if device is None else copied(made, device_name(device))
