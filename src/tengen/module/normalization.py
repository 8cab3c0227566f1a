"""Normalisation layers that look at one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from ..core import Parameter, Tensor
from ..core.ops.base import integers, size, sizes
from . import init
from .memory import array_of
from .module import Module

__all__ = ["GeneralNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "LocalResponseNorm"]


class _Norm(Module):
    """What these layers have in common: weight, first 1, and bias, first 0, of one shape; both None unless `affine`."""

    def __init__(self, shape: tuple[int, ...], eps: float, affine: bool, name: str | None):
        super().__init__(name)
        self.eps = eps
        self.affine = affine
        self.weight = Parameter(array_of(self, shape, 1.0)) if affine else None
        self.bias = Parameter(array_of(self, shape, 0.0)) if affine else None

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _module_info_string(self) -> str:
        return f"eps={self.eps}, affine={self.affine}"


class LayerNorm(_Norm):
    """Normalises over the last axes.

    Source: Ba et al. 2016.

    Args:
        normalized_shape: their extents; an int for the last axis alone. Also the shape of weight and bias.
        eps: added to the variance.
        affine: whether there are weight and bias.
        name: any text, kept as `.name`.

    >>> M.LayerNorm(2)(tengen.tensor([[1.0, 3.0]])).numpy().round(3).tolist()
    [[-1.0, 1.0]]
    """

    _flat_state = True

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, affine: bool = True, name: str | None = None
    ):
        shape = sizes("LayerNorm", "normalized_shape", normalized_shape, 0)
        super().__init__(shape, eps, affine, name)
        self.normalized_shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.affine, self.weight, self.bias, self.eps)

    def _module_info_string(self) -> str:
        return f"normalized_shape={self.normalized_shape}, {super()._module_info_string()}"


class GroupNorm(_Norm):
    """Splits the channels (axis 1) into groups and normalises over each.

    Source: Wu and He 2018.

    Args:
        num_groups: how many; it divides num_channels.
        num_channels: the number of channels, also the shape of weight and bias.
        eps: added to the variance.
        affine: whether there are weight and bias.
        name: any text, kept as `.name`.

    >>> M.GroupNorm(2, 4)(F.ones((1, 4, 2, 2))).shape
    (1, 4, 2, 2)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, name: str | None = None
    ):
        num_groups = size("GroupNorm", "num_groups", num_groups)
        num_channels = size("GroupNorm", "num_channels", num_channels, 0)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide num_channels, got {num_groups} and {num_channels}")
        super().__init__((num_channels,), eps, affine, name)
        self.num_groups = num_groups
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.affine, self.weight, self.bias, self.eps)

    def _module_info_string(self) -> str:
        return f"groups={self.num_groups}, channels={self.num_channels}, {super()._module_info_string()}"


class InstanceNorm(_Norm):
    """Normalises each channel (axis 1) of each sample by itself.

    Source: Ulyanov et al. 2016.

    Args:
        num_channels: the number of channels, also the shape of weight and bias.
        eps: added to the variance.
        affine: whether there are weight and bias.
        name: any text, kept as `.name`.

    >>> M.InstanceNorm(4)(F.ones((1, 4, 2, 2))).shape
    (1, 4, 2, 2)
    """

    def __init__(self, num_channels: int, eps: float = 1e-5, affine: bool = True, name: str | None = None):
        num_channels = size("InstanceNorm", "num_channels", num_channels, 0)
        super().__init__((num_channels,), eps, affine, name)
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, self.affine, self.weight, self.bias, self.eps)

    def _module_info_string(self) -> str:
        return f"channels={self.num_channels}, {super()._module_info_string()}"


class GeneralNorm(_Norm):
    """Normalises over any axes.

    Args:
        normalized_shape: the extents of these axes, in the same order; needed if `affine`. Also the shape of weight and
            bias.
        normalized_axis: the axes.
        eps: added to the variance.
        affine: whether there are weight and bias.
        name: any text, kept as `.name`.
        bias.

    >>> M.GeneralNorm(2, 0, affine=True)(tengen.tensor([[1.0], [3.0]])).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None = None,
        normalized_axis: int | Sequence[int] = 0,
        eps: float = 1e-5,
        affine: bool = True,
        name: str | None = None,
    ):
        axes = integers("GeneralNorm", "normalized_axis", normalized_axis)
        if affine and normalized_shape is None:
            raise ValueError("affine=True needs normalized_shape, the extents of the normalised axes")
        shape = () if normalized_shape is None else sizes("GeneralNorm", "normalized_shape", normalized_shape, 0)
        if affine and len(shape) != len(axes):
            raise ValueError(f"normalized_shape {shape} and normalized_axis {axes} differ in length")
        super().__init__(shape, eps, affine, name)
        self.normalized_shape = shape
        self.normalized_axis = axes

    def forward(self, x: Tensor) -> Tensor:
        return F.general_norm(x, self.normalized_axis, self.affine, self.weight, self.bias, self.eps)

    def _module_info_string(self) -> str:
        axes = f"normalized_shape={self.normalized_shape}, normalized_axis={self.normalized_axis}"
        return f"{axes}, {super()._module_info_string()}"


class LocalResponseNorm(Module):
    """Divides each channel by (k + alpha · Σ x² over `kernel_size` neighbouring channels) ^ beta.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012, section 3.3.

    Args:
        kernel_size: how many channels count, odd.
        k, alpha, beta: the numbers of this formula.
        name: any text, kept as `.name`.

    >>> M.LocalResponseNorm(k=1.0, alpha=1.0, beta=1.0)(F.ones((1, 1, 1, 1))).tolist()
    [[[[0.5]]]]
    """

    def __init__(
        self, kernel_size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, name: str | None = None
    ):
        super().__init__(name)
        self.kernel_size = size("LocalResponseNorm", "kernel_size", kernel_size)
        self.k = k
        self.alpha = alpha
        self.beta = beta

    def forward(self, inputs: Tensor) -> Tensor:
        return F.local_response_norm(inputs, self.kernel_size, self.k, self.alpha, self.beta)
