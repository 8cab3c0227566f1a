"""Optimizers whose states are sharded over processes (Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models, 2020, section 5.1).

Each process has an equal part of every tensor: its elements in order, cut into as many pieces as there are processes, the last ones padded
with zeros. So parts do not depend on the order in which gradients arrive, and a state dict, which has whole tensors, fits any number of
processes.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .._rt import apply, update
from ..base.world import WORLD, Group
from ..core import Parameter, Tensor
from ..core.ops.collective import (
    AllGather,
    Await,
    OwnParts,
    Pack,
    PackParts,
    ReduceScatter,
    Start,
    TakeParts,
    Unpack,
    part_length,
)
from ..optimizer import Optimizer
from ..optimizer.shards import Shards, set_shards
from . import buckets as sending
from .buckets import AllreduceCallback, Sent, wide_dtype

__all__ = ["ReduceScatterCallback", "ShardedOptimizer", "sharded"]


class ReduceScatterCallback(AllreduceCallback):
    """A callback for `GradManager.attach` that gives this process its part of each gradient's sum or mean over a group.

    It takes the place of `make_allreduce_cb` for a `sharded` optimizer, which makes it: see there.
    """

    def __call__(self, param: Tensor, grad: Tensor) -> Any:
        return F.flatten(grad) if self._size == 1 else super().__call__(param, grad)

    def _bucket(self, dtype: str, grads: list[Tensor]) -> Sent:
        shapes, wide = tuple([tuple(g.shape) for g in grads]), wide_dtype(dtype)
        given: Tensor = apply(PackParts(self._size, wide), *grads)
        started = whole = None
        if given._is_watched():
            whole = apply(ReduceScatter(self._key, self._size, 0), given).reshape(-1)
        else:
            what = f" of gradients {shapes}"
            started = apply(Start(self._key, self._size, "reduce_scatter_sum", wide, what), given)
        lengths = tuple([(part_length(g.size, self._size),) for g in grads])
        return Sent(given, started, whole, Unpack(lengths, ((0,),) * len(grads), dtype, self._divisor))


class ShardedOptimizer(Optimizer):
    """What `sharded` returns: an optimizer that stands for another one and keeps parts of its states.

    Args: those of `sharded`.
    """

    def __init__(self, optimizer: Optimizer, group: Group = WORLD) -> None:
        if not isinstance(optimizer, Optimizer) or isinstance(optimizer, ShardedOptimizer):
            raise TypeError(f"sharded takes an optimizer that is not sharded yet, got {type(optimizer).__name__}")
        self._rank, self._group = group.rank, group
        self._shares = self._shards = optimizer._shards = Shards(group.key, group.size)
        self._inner = optimizer
        self._parts: dict[Any, Any] = {}
        self._groups: list[Any] = []  # as the inner optimizer sees them
        before = optimizer.state_dict(keep_var=True)
        optimizer._state = {}
        self._state, self._defaults, self._grads_seen = {}, optimizer._defaults, optimizer._grads_seen
        self.param_groups = optimizer.param_groups
        for one in self.param_groups:
            self._create_state(one)
        self.load_state_dict(before)

    def make_reduce_scatter_cb(self, reduce_method: str) -> ReduceScatterCallback:
        """The callback that passes gradients to this optimizer.

        Args:
            reduce_method: "sum" or "mean" over the processes.

        Returns: what GradManager.attach takes as `callbacks`.

        Raises:
            ValueError: the method is unknown.
        """
        return ReduceScatterCallback(reduce_method, self._group)

    def _create_state(self, param_group: dict[str, Any]) -> None:
        params = param_group["params"]
        for param in params:
            self._parts[param] = Parameter(_own_parts(self._rank, self._shares.size, [param])[0])
        set_shards(params, self._shares)
        own: Any = ChainMap({"params": [self._parts[param] for param in params]}, param_group)
        self._groups.append(own)
        self._inner._create_state(own)
        self._state.update(
            {p: self._inner._state[self._parts[p]] for p in params if self._parts[p] in self._inner._state}
        )

    def _updates(self, param_group: dict[str, Any]) -> None:
        (own,) = [one for one in self._groups if one.maps[1] is param_group]
        params = [param for param in param_group["params"] if param.grad is not None]
        if not params:
            return
        parts = [self._parts[param] for param in params]
        for param, part in zip(params, parts, strict=True):
            if param.grad.shape != part.shape:
                raise ValueError(
                    f"{self._title}: a parameter of shape {param.shape} has a gradient of shape {param.grad.shape}, not the part of "
                    f"{part.shape[0]} elements of this process; give GradManager.attach the callback make_reduce_scatter_cb of this optimizer"
                )
        update(OwnParts(self._rank, self._shares.size), len(parts), *parts, *params)
        try:
            for param, part in zip(params, parts, strict=True):
                part.grad = param.grad
            self._inner._updates(own)
        finally:
            for part in parts:
                part.grad = None
        self._gather(params)

    def _gather(self, params: Sequence[Parameter]) -> None:
        """Gather the updated parts of the parameters from all processes."""
        buckets: dict[str, list[list[Parameter]]] = {}
        for param in params:
            dtype = param.desc.dtype
            several = buckets.setdefault(dtype, [[]])
            if sum(p.size for p in several[-1]) * param.desc.itemsize >= sending.BUCKET_BYTES:
                several.append([])
            several[-1].append(param)
        key, size, sent = self._shares.group, self._shares.size, []
        for dtype, several in sorted(buckets.items()):
            for bucket in several:
                parts = [self._parts[param] for param in bucket]
                mine = apply(Pack(((0,),) * len(parts), dtype), *parts)
                what = f" of parameters {[tuple(p.shape) for p in bucket]}"
                sent.append((bucket, mine, size > 1 and apply(Start(key, size, "all_gather", dtype, what), mine)))
        for bucket, mine, started in sent:
            whole = apply(Await(), *started, mine) if started else mine.reshape(1, -1)
            update(TakeParts(), len(bucket), *bucket, whole)

    # -- states ----------------------------------------------------------------------------------------------------

    @property
    def _title(self) -> str:
        return f"sharded {type(self._inner).__name__}"

    def _whole(self, param: Parameter, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        gathered = apply(AllGather(self._shares.group, self._shares.size, 0), value)
        return gathered[: param.size].reshape(param.shape)

    def _shape(self, param: Parameter, value: Any) -> tuple[int, ...]:
        return tuple(param.shape) if isinstance(value, Tensor) else ()

    def _own(self, whole: Tensor) -> Tensor:
        return _own_parts(self._rank, self._shares.size, [whole])[0]


def _own_parts(rank: int, size: int, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    made = apply(OwnParts(rank, size), *tensors, *tensors)
    # copies, as views would keep the whole
    return [F.copy(part) for part in (made if isinstance(made, tuple) else (made,))]


def sharded(optimizer: Optimizer, group: Group = WORLD) -> ShardedOptimizer:
    """Shard the states and updates of an optimizer: each process has a part of them.

    Each process updates its part of the parameters, which is then sent to all. Gradients are reduced so that each
    process gets its part only: give GradManager the callback of this optimizer, in place of `make_allreduce_cb`. After
    the backward, `grad` of a parameter is that part, a vector; `clip_grad_norm` and `GradScaler` handle it. Parameters become
    bit for bit the same as without sharding.

    Args:
        optimizer: one whose rule treats each element on its own, or LAMB; it keeps the state that it has.
        group: the processes; all, by default.

    Returns: an optimizer with the same groups. Its `make_reduce_scatter_cb` is the callback; its `state_dict` and `load_state_dict`, which
    all processes call, hold the states of whole parameters, as those of the optimizer itself do, so they fit any number of processes.

    Raises:
        TypeError: the argument is not an optimizer, or is already sharded.
        RuntimeError: init_process_group has not been called.
        ValueError: this process is not in the group; from `step`: a gradient is not a part.

    Source: Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, 2020, section 5.1.

    >>> import tengen.distributed as dist
    >>> from tengen.autodiff import GradManager
    >>> from tengen.optimizer import Adam
    >>> @dist.launcher(n_gpus=1)
    ... def train():
    ...     w = tengen.Parameter([3.0, 1.0])
    ...     opt = dist.sharded(Adam([w], lr=0.1))
    ...     gm = GradManager().attach([w], callbacks=opt.make_reduce_scatter_cb("mean"))
    ...     with gm:
    ...         gm.backward((w * w).sum())
    ...     opt.step().clear_grad()
    ...     return [round(x, 3) for x in w.tolist()]
    >>> train()
    [[2.9, 0.9]]
    """
    return ShardedOptimizer(optimizer, group)
