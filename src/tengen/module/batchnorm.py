"""Batch normalisation layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import size
from ..functional.arguments import as_tensor
from . import init
from .memory import array_of
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "SyncBatchNorm"]


class _BatchNorm(Module):
    """Per channel: y = (x - mean) / √(var + eps) · weight + bias. Source: Ioffe and Szegedy 2015.

    In training, mean and var are those of the batch, and the running ones take `1 - momentum` of them in (of the
    unbiased var); in evaluation the running ones are used. Parameters and running statistics have shape (1,
    num_features, 1, 1).

    Args:
        num_features: the number of channels C.
        eps: added to the variance.
        momentum: how much of the running statistics stays at each step.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics; without them those of the batch are always used.
        freeze: use the running statistics in training too, and train neither them nor weight and bias.
        name: any text, kept as `.name`.
    """

    _flat_state = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.9,
        affine: bool = True,
        track_running_stats: bool = True,
        freeze: bool = False,
        name: str | None = None,
    ):
        super().__init__(name)
        if freeze and not track_running_stats:
            raise ValueError("freeze=True needs the running statistics that track_running_stats=False leaves out")
        self.num_features = num_features = size(type(self).__name__, "num_features", num_features, 0)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.freeze = freeze
        shape = (1, num_features, 1, 1)
        self.weight = Parameter(array_of(self, shape, 1.0)) if affine else None
        self.bias = Parameter(array_of(self, shape, 0.0)) if affine else None
        self.running_mean = Tensor(array_of(self, shape, 0.0)) if track_running_stats else None
        self.running_var = Tensor(array_of(self, shape, 1.0)) if track_running_stats else None

    def reset_running_stats(self) -> None:
        """Set the running mean to 0 and the running variance to 1."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)

    def reset_parameters(self) -> None:
        """Set weight to 1, bias to 0, and the running statistics anew."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _expand(self, inp: Tensor) -> Tensor:
        """The input as (N, C, H, W). Raises ValueError for a wrong number of dimensions."""
        raise NotImplementedError

    def forward(self, inp: Tensor) -> Tensor:
        inp = as_tensor(inp, self.weight, self.running_mean)
        x = self._expand(inp)
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if self.freeze and weight is not None and bias is not None:
            weight, bias = weight.detach(), bias.detach()
        track = self.track_running_stats
        y = self._normalize(
            x,
            self.running_mean if track else None,
            self.running_var if track else None,
            weight,
            bias,
            training=not track or (self.training and not self.freeze),
            momentum=self.momentum,
            eps=self.eps,
        )
        return y if y.ndim == inp.ndim else y.reshape(inp.shape)

    def _normalize(self, *args: Any, **options: Any) -> Tensor:
        y: Tensor = F.batch_norm(*args, **options)
        return y

    def _module_info_string(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    __doc__ = (
        (_BatchNorm.__doc__ or "")
        + """
    The input is (N, C) or (N, C, L).

    >>> M.BatchNorm1d(2)(tengen.functional.ones((4, 2))).shape
    (4, 2)
    """
    )

    def _expand(self, inp: Tensor) -> Tensor:
        if inp.ndim not in (2, 3):
            raise ValueError(f"BatchNorm1d takes an input of shape (N, C) or (N, C, L), got {tuple(inp.shape)}")
        return inp.reshape(*inp.shape, *(1,) * (4 - inp.ndim))


class BatchNorm2d(_BatchNorm):
    __doc__ = (
        (_BatchNorm.__doc__ or "")
        + """
    The input is (N, C, H, W).

    >>> M.BatchNorm2d(2)(tengen.functional.ones((4, 2, 3, 3))).shape
    (4, 2, 3, 3)
    """
    )

    def _expand(self, inp: Tensor) -> Tensor:
        if inp.ndim != 4:
            raise ValueError(f"BatchNorm2d takes an input of shape (N, C, H, W), got {tuple(inp.shape)}")
        return inp


class SyncBatchNorm(_BatchNorm):
    __doc__ = (_BatchNorm.__doc__ or "").replace(
        "Per channel:", "BatchNorm of the batches of all processes, per channel:"
    ) + (
        """    group: the processes that share statistics, None for all.

    The input is (N, C), (N, C, L) or (N, C, H, W). In one process, and without init_process_group, it is the same as BatchNorm2d.

    >>> M.SyncBatchNorm(2)(tengen.functional.ones((4, 2, 3, 3))).shape
    (4, 2, 3, 3)
    """
    )

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.9,
        affine: bool = True,
        track_running_stats: bool = True,
        freeze: bool = False,
        group: Any = None,
        name: str | None = None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, freeze, name)
        self.group = group

    def _expand(self, inp: Tensor) -> Tensor:
        if inp.ndim not in (2, 3, 4):
            raise ValueError(
                f"SyncBatchNorm takes an input of shape (N, C), (N, C, L) or (N, C, H, W), got {tuple(inp.shape)}"
            )
        return inp.reshape(*inp.shape, *(1,) * (4 - inp.ndim))

    def _normalize(self, *args: Any, **options: Any) -> Tensor:
        return F.nn.sync_batch_norm(*args, **{**options, "group": self.group})
