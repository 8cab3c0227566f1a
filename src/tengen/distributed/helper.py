"""Helpers for training over several processes, besides collective operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from math import prod
from typing import Any

from .. import functional as F
from ..base.world import WORLD, Group
from ..core import Tensor
from ..device import get_device_count
from ..functional.distributed import all_reduce_sum, broadcast
from .buckets import AllreduceCallback as AllreduceCallback
from .buckets import make_allreduce_cb as make_allreduce_cb
from .group import group_barrier

Shape = tuple[int, ...]


def bcast_list_(inps: Iterable[Tensor], group: Group = WORLD) -> None:
    """Copy tensors, such as parameters and buffers before training, from the first process of a group to all of them.

    Args:
        inps: tensors, which are written to.
        group: the processes; all, by default.

    Raises:
        RuntimeError: init_process_group has not been called.
        TypeError: one of them is not a tensor.

    >>> import tengen.distributed as dist
    >>> @dist.launcher
    ... def weights():
    ...     net = M.Linear(2, 3)
    ...     dist.bcast_list_(net.tensors())
    ...     return net.weight.shape
    >>> weights()
    [(3, 2)]
    """
    for inp in inps:
        if not isinstance(inp, Tensor):
            raise TypeError(f"bcast_list_ takes tensors, got {type(inp).__name__} among them")
        inp._reset(broadcast(inp.detach(), group))


def synchronized(func: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: after the function, each process waits until all others have called it too.

    Use it for downloads, for example.

    Args:
        func: the function.

    Returns: a function with the same arguments.

    >>> import tengen.distributed as dist
    >>> @dist.synchronized
    ... def download():
    ...     return "done"
    >>> download()
    'done'
    """

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        group_barrier()
        return result

    return wrapper


def get_offsets(shapes: Iterable[Sequence[int]]) -> list[int]:
    """Where tensors of these shapes begin and end in one vector: [begin, end, begin, end, …].

    >>> get_offsets([(2, 3), (4,)])
    [0, 6, 6, 10]
    """
    offsets: list[int] = []
    end = 0
    for shape in shapes:
        offsets += [end, end + prod(shape)]
        end = offsets[-1]
    return offsets


def param_pack_concat(inps: Sequence[Tensor], offsets: Any, offsets_val: Sequence[int]) -> Tensor:
    """Concatenate tensors to one vector, in order.

    offsets: not used; offsets_val says the same. offsets_val: what get_offsets returns. Raises ValueError if they do not fit.

    >>> param_pack_concat([F.ones(1), F.zeros((1, 2))], None, [0, 1, 1, 3]).tolist()
    [1.0, 0.0, 0.0]
    """
    if not inps or list(offsets_val) != get_offsets([x.shape for x in inps]):
        shapes = [tuple(x.shape) for x in inps]
        raise ValueError(f"param_pack_concat: offsets {list(offsets_val)} do not fit tensors of the shapes {shapes}")
    return F.concat([F.flatten(x) for x in inps])


def param_pack_split(inp: Tensor, offsets: Sequence[int], shapes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Split a vector into tensors: the inverse of param_pack_concat. Raises ValueError if offsets or shapes do not fit.

    >>> [part.tolist() for part in param_pack_split(F.arange(3), [0, 1, 1, 3], [(1,), (1, 2)])]
    [[0.0], [[1.0, 2.0]]]
    """
    if list(offsets) != get_offsets(shapes) or inp.ndim != 1 or list(offsets)[-1:] != [inp.shape[0]]:
        raise ValueError(
            f"param_pack_split: offsets {list(offsets)} and shapes {[tuple(s) for s in shapes]} do not fit a tensor of shape {inp.shape}"
        )
    places = zip(offsets[::2], offsets[1::2], shapes, strict=True)
    return tuple([inp[begin:end].reshape(tuple(shape)) for begin, end, shape in places])


def pack_allreduce_split(
    pack_list: Sequence[Tensor], shapes: Sequence[Sequence[int]], group: Group, reduce_method: str
) -> tuple[Tensor, ...]:
    """The sum ("sum") or mean ("mean") of tensors over the processes of a group, sent as one vector.

    Raises ValueError for another method, or shapes that the tensors do not have.
    """
    if reduce_method not in ("sum", "mean"):
        raise ValueError(f"pack_allreduce_split: reduce_method must be 'sum' or 'mean', got {reduce_method!r}")
    offsets = get_offsets(shapes)
    whole = all_reduce_sum(param_pack_concat(pack_list, None, offsets), group)
    return param_pack_split(whole / group.size if reduce_method == "mean" else whole, offsets, shapes)


def get_device_count_by_fork(device_type: str) -> int:
    """The old name of device.get_device_count, which does not need a process of its own."""
    return get_device_count(device_type)
