"""Gradients that are the same in all processes."""

from __future__ import annotations

from ..base.world import WORLD, Group
from ..core import Tensor
from ..functional.distributed import all_reduce_sum
from .group import get_backend, override_backend


class AllreduceCallback:
    """A callback for `GradManager.attach` that gives each gradient's sum or mean over all processes of a group.

    Args:
        reduce_method: "sum" or "mean".
        group: the processes; all, by default.
        backend: how they communicate; by default as the world does.

    Raises ValueError for another method, RuntimeError before init_process_group.

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
            raise ValueError(f"make_allreduce_cb: reduce_method is 'sum' or 'mean', got {reduce_method!r}")
        self._method, self._group = reduce_method, group
        self._backend = get_backend() if backend is None else backend
        with override_backend(self._backend):  # asks whether there is such a one
            self._size = group.size

    def __call__(self, param: Tensor, grad: Tensor) -> Tensor:
        if self._size == 1:
            return grad
        with override_backend(self._backend):
            whole = all_reduce_sum(grad, self._group)
        return whole / self._size if self._method == "mean" else whole


make_allreduce_cb = AllreduceCallback
