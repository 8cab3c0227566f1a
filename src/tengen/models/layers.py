"""Parts of several networks."""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor

Act = Callable[[], M.Module] | None


def conv_norm_act(
    i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Act = M.ReLU, eps: float = 1e-5, momentum: float = 0.9
) -> M.Sequential:  # fmt: skip
    """A convolution with padding that keeps the size (apart from the stride), batch normalisation, and perhaps an activation."""
    conv = M.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    return M.Sequential(conv, M.BatchNorm2d(o, eps, momentum), *([act()] if act else []))


class ReLU6(M.Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class Hardswish(M.Module):
    """x · relu6(x + 3) / 6. Howard et al. 2019, section 5.2."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hswish(x)


class SqueezeExcite(M.Module):
    """Weights channels by what two small layers compute from their means. Hu et al. 2018, section 3.

    Args:
        channels: of the input. squeezed: between the layers.
        act: the activation between the layers. gate: turns their result into weights.
    """

    def __init__(self, channels: int, squeezed: int, act: Callable[[Tensor], Tensor], gate: Callable[[Tensor], Tensor]):
        super().__init__()
        self.fc1, self.fc2 = M.Conv2d(channels, squeezed, 1), M.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act, gate

    def forward(self, x: Tensor) -> Tensor:
        weights = F.mean(x, (2, 3), keepdims=True)
        return x * self.gate(self.fc2(self.act(self.fc1(weights))))


class StochasticDepth(M.Module):
    """In training, zeroes whole samples with probability `p`, and divides the others by 1 - p. Huang et al. 2016."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * F.dropout(F.ones((x.shape[0], *(1,) * (x.ndim - 1)), dtype=x.dtype, device=x.device), self.p, True)


class SelfAttention(M.Module):
    """Self-attention of a sequence (N, L, features). Vaswani et al. 2017, section 3.2. The names are those of PyTorch's MultiheadAttention."""

    def __init__(self, features: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.features, self.heads, self.dropout = features, heads, dropout
        self.in_proj_weight = Parameter(F.zeros((3 * features, features)))
        self.in_proj_bias = Parameter(F.zeros(3 * features))
        self.out_proj = M.Linear(features, features)
        M.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.split(F.linear(x, self.in_proj_weight, self.in_proj_bias), 3, axis=2)
        y, _ = F.multi_head_attention(
            q, k, v, self.features, self.heads, self.dropout, 0.0, None, training=self.training
        )
        return self.out_proj(y)


def mlp(features: int, hidden: int, dropout: float = 0.0) -> M.Sequential:
    """The two layers of a transformer block, with GELU between them."""
    inner, outer = M.Linear(features, hidden), M.Linear(hidden, features)
    return M.Sequential(inner, M.GELU(), M.Dropout(dropout), outer, M.Dropout(dropout))


def draw_convolutions(net: M.Module) -> None:
    """Initialise convolutions: weights N(0, 2 / fan out), biases 0. He et al. 2015, section 2.2."""
    for layer in net.modules():
        if isinstance(layer, M.Conv2d):
            fan_out = layer.out_channels // layer.groups * math.prod(layer.kernel_size)
            M.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_out))


def draw_linear(net: M.Module, std: float) -> None:
    """Initialise all matrices: weights N(0, std²), biases 0."""
    for layer in net.modules():
        if isinstance(layer, (M.Linear, M.Embedding)):
            M.init.normal_(layer.weight, 0.0, std)
        if isinstance(layer, M.Linear) and layer.bias is not None:
            M.init.zeros_(layer.bias)
