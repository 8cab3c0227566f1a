"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from .. import functional as F
from ..core import Parameter
from .optimizer import Group, Optimizer, check_betas, check_settings


@cache
def _rule(decay: str) -> Any:
    """The update of one parameter. Weight decay is a part of the gradient ("l2"), apart from it ("weight") or "".

    1 - β and the corrections of the first steps are worked out by the caller, in double precision.
    """

    def update(
        w: Any,
        m: Any,
        v: Any,
        g: Any,
        step_size: float,
        beta1: float,
        rest1: float,
        beta2: float,
        rest2: float,
        inverse_root: float,
        eps: float,
        decay_l2: float,
        decay_weight: float,
    ) -> Any:
        if decay == "l2":
            g = g + decay_l2 * w
        m = beta1 * m + rest1 * g
        v = beta2 * v + rest2 * g * g
        step = step_size * (m / (F.sqrt(v) * inverse_root + eps))
        if decay == "weight":
            step = step + decay_weight * w
        return w - step, m, v

    return update


class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², w ← w - lr · m̂ / (√v̂ + eps); g is the gradient + weight_decay · w.

    m̂ and v̂ are m / (1 - β₁ᵗ) and v / (1 - β₂ᵗ) at step t.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        betas: β₁ and β₂, in [0, 1).
        eps: keeps the divisor from zero.
        weight_decay: L2 penalty.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = Adam([w], lr=0.5)
    >>> w.grad = tengen.tensor([1.0, 2.0])
    >>> _ = opt.step()
    >>> w.numpy().round(3).tolist()
    [0.5, 1.5]
    """

    _decay = "l2"

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        owner = type(self).__name__
        check_settings(owner, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(owner, betas)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps})

    def _create_state(self, param_group: Group) -> None:
        for param in param_group["params"]:
            self._add_state(param, "exp_avg")
            self._add_state(param, "exp_avg_sq")
            self._add_step(param)

    def _updates(self, param_group: Group) -> None:
        rule = _rule(self._decay if param_group["weight_decay"] else "")
        for params in self._by_step(param_group):
            self._update(rule, params, ("exp_avg", "exp_avg_sq"), partial(self._scalars, param_group, params))

    def _scalars(self, param_group: Group, params: Sequence[Parameter]) -> tuple[float, ...]:
        step = self._count_step(params)
        lr, eps, decay = param_group["lr"], param_group["eps"], param_group["weight_decay"]
        beta1, beta2 = param_group["betas"]
        inverse_root = 1 / math.sqrt(1 - beta2**step)
        return lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, inverse_root, eps, decay, lr * decay


class AdamW(Adam):
    """Adam whose weight decay does not go through m and v: w ← w - lr · (m̂ / (√v̂ + eps) + weight_decay · w).

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        betas: β₁ and β₂, in [0, 1).
        eps: keeps the divisor from zero.
        weight_decay: the decay.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = AdamW([w], lr=0.5, weight_decay=0.0)
    >>> w.grad = tengen.tensor([1.0, 2.0])
    >>> _ = opt.step()
    >>> w.numpy().round(3).tolist()
    [0.5, 1.5]
    """

    _decay = "weight"

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
