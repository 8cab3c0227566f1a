"""Reduces gradients over all processes, and sends them while others are still being computed.

They are sent in buckets, because one large message costs less than many small ones. In a bucket, each keeps its memory layout: that of a linear layer
is transposed, and copying it row by row takes ten times as long. Layouts may differ between processes, so all use the order of the
first process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _rt
from .._rt import apply
from ..base.world import WORLD, Group, communicator
from ..core import Tensor
from ..core.ops.collective import AllReduce, Await, Pack, Start, Unpack
from .group import get_backend, override_backend

BUCKET_BYTES = 10 << 20

Orders = tuple[tuple[int, ...], ...]


class _Pending:
    """A gradient on its way."""

    def __init__(self, sender: AllreduceCallback) -> None:
        self.sender = sender
        self.bucket: Sent | None = None
        self.number = -1

    def result(self) -> Tensor:
        assert self.bucket is not None, "the sender was not flushed"
        return self.bucket.parts()[self.number]


class Sent:
    """A bucket on its way. started: what Start returned; whole: the sum, if it is there already."""

    def __init__(self, given: Tensor, started: Any, whole: Tensor | None, unpack: Unpack) -> None:
        self._given, self._started, self._whole, self._unpack = given, started, whole, unpack
        self._parts: tuple[Tensor, ...] | None = None

    def parts(self) -> tuple[Tensor, ...]:
        """The gradients in it, once it has arrived."""
        if self._parts is None:
            whole = apply(Await(), *self._started, self._given) if self._whole is None else self._whole
            made = apply(self._unpack, whole)
            self._parts = made if isinstance(made, tuple) else (made,)
        return self._parts


class AllreduceCallback:
    """A callback for `GradManager.attach` that replaces each gradient by its sum or mean over all processes of a group.

    Gradients are sent while the backward continues, in buckets of some 10 MB; those of float16 and bfloat16 are added as
    float32. All processes must have gradients of the same tensors.

    Args:
        reduce_method: "sum" or "mean".
        group: the processes; all, by default.
        backend: how they communicate; by default that of the world.

    Raises:
        ValueError: the method is unknown.
        RuntimeError: init_process_group has not been called; the backward raises DistributedError if the processes have gradients of
            different tensors.

    >>> import tengen.distributed as dist
    >>> from tengen.autodiff import GradManager
    >>> @dist.launcher
    ... def gradient():
    ...     w = tengen.Parameter([3.0])
    ...     gm = GradManager().attach(w, callbacks=dist.make_allreduce_cb("mean"))
    ...     with gm:
    ...         gm.backward(w * w)
    ...     return w.grad.tolist()
    >>> gradient()
    [[6.0]]
    """

    def __init__(self, reduce_method: str, group: Group = WORLD, backend: str | None = None) -> None:
        if reduce_method not in ("sum", "mean"):
            raise ValueError(f"make_allreduce_cb: reduce_method must be 'sum' or 'mean', got {reduce_method!r}")
        self._backend = get_backend() if backend is None else backend
        with override_backend(self._backend):  # raises if there is no such backend
            self._key, self._size = group.key, group.size
        self._divisor = self._size if reduce_method == "mean" else 1
        self._open: dict[str, list[tuple[Tensor, _Pending]]] = {}  # by dtype
        self._orders: dict[Any, Orders] = {}  # by shapes and this process's order

    def __call__(self, param: Tensor, grad: Tensor) -> Any:
        if self._size == 1:
            return grad
        dtype = grad.desc.dtype
        entries = self._open.setdefault(dtype, [])
        entries.append((grad, _Pending(self)))
        if sum(g.size for g, _ in entries) * grad.desc.itemsize >= BUCKET_BYTES:
            self._send(dtype)
        return entries[-1][1]

    def flush(self) -> None:
        """Send the gradients that wait for their bucket to fill up."""
        for dtype in sorted(self._open):
            self._send(dtype)

    def forget(self) -> None:
        """Forget the gradients, because the backward has failed."""
        self._open.clear()

    def _send(self, dtype: str) -> None:
        entries = self._open.pop(dtype)
        sent = self._bucket(dtype, [grad for grad, _ in entries])
        for number, (_, pending) in enumerate(entries):
            pending.bucket, pending.number = sent, number

    def _bucket(self, dtype: str, grads: list[Tensor]) -> Sent:
        """Send the gradients of one dtype."""
        shapes = tuple([tuple(g.shape) for g in grads])
        orders, wide = self._agreed(shapes, grads), wide_dtype(dtype)
        given: Tensor = apply(Pack(orders, wide), *grads)
        started = whole = None
        if given._is_watched():  # the gradient is itself differentiated, so an operation that has a gradient sends it
            whole = apply(AllReduce(self._key, self._size, "SUM"), given)
        else:
            started = apply(Start(self._key, self._size, "all_reduce_sum", wide, f" of gradients {shapes}"), given)
        return Sent(given, started, whole, Unpack(shapes, orders, dtype, self._divisor))

    def _agreed(self, shapes: tuple[tuple[int, ...], ...], grads: list[Tensor]) -> Orders:
        """The order of dims in which each gradient is sent. A trace chooses layouts by itself."""
        if _rt.recording() is not None:
            return tuple([tuple(range(len(shape))) for shape in shapes])
        own = tuple([_order(g) for g in grads])
        if (shapes, own) not in self._orders:
            dims = np.array([d for order in own for d in order], np.int64)
            communicator(self._key).start(
                "broadcast", "int64", dims, dims, f" of the order of gradients {shapes}"
            ).wait()
            found, left = [], dims.tolist()
            for shape in shapes:
                found.append(tuple(left[: len(shape)]))
                left = left[len(shape) :]
            self._orders[shapes, own] = tuple(found)
        return self._orders[shapes, own]


def wide_dtype(dtype: str) -> str:
    """The dtype in which gradients of a dtype are added."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def _order(grad: Tensor) -> tuple[int, ...]:
    """The dims of a tensor, from the largest stride to the smallest."""
    strides = grad.desc.strides
    return tuple(sorted(range(grad.ndim), key=lambda d: -abs(strides[d])))


make_allreduce_cb = AllreduceCallback
