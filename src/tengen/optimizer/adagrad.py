"""Adagrad and Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from .. import functional as F
from ..core import Parameter
from .optimizer import Group, Optimizer, check_settings


@cache
def _adagrad_rule(decay: bool) -> Any:
    """The update of one parameter by Adagrad."""

    def update(w: Any, s: Any, g: Any, lr: float, eps: float, weight_decay: float) -> Any:
        if decay:
            g = g + weight_decay * w
        s = s + g * g
        return w - lr * (g / F.sqrt(s + eps)), s

    return update


class Adagrad(Optimizer):
    """s ← s + g², w ← w - lrₜ · g / √(s + eps), with lrₜ = lr / (1 + (t - 1) · lr_decay).

    g is the gradient + weight_decay · w.

    Source: Duchi et al., Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        lr_decay: how it falls with the step t.
        eps: keeps the divisor from zero.
        weight_decay: L2 penalty.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = Adagrad([w], lr=0.5)
    >>> w.grad = tengen.tensor([1.0, 2.0])
    >>> _ = opt.step()
    >>> w.numpy().round(3).tolist()
    [0.5, 1.5]
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ):
        check_settings("Adagrad", lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay})

    def _create_state(self, param_group: Group) -> None:
        for param in param_group["params"]:
            self._add_state(param, "square_avg")
            self._add_step(param)

    def _updates(self, param_group: Group) -> None:
        rule = _adagrad_rule(param_group["weight_decay"] != 0)
        for params in self._by_step(param_group):
            self._update(rule, params, ("square_avg",), partial(self._scalars, param_group, params))

    def _scalars(self, param_group: Group, params: Sequence[Parameter]) -> tuple[float, float, float]:
        step = self._count_step(params)
        lr = param_group["lr"] / (1 + (step - 1) * param_group["lr_decay"])
        return lr, param_group["eps"], param_group["weight_decay"]


@cache
def _adadelta_rule(decay: bool) -> Any:
    """The update of one parameter by Adadelta."""

    def update(
        w: Any, s: Any, d: Any, g: Any, lr: float, rho: float, rest: float, eps: float, weight_decay: float
    ) -> Any:
        if decay:
            g = g + weight_decay * w
        s = rho * s + rest * g * g
        delta = F.sqrt(d + eps) / F.sqrt(s + eps) * g
        return w - lr * delta, s, rho * d + rest * delta * delta

    return update


class Adadelta(Optimizer):
    """s ← ρ s + (1 - ρ) g², δ = √(d + eps) / √(s + eps) · g, d ← ρ d + (1 - ρ) δ², w ← w - lr · δ.

    g is the gradient + weight_decay · w.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, algorithm 1.

    Args:
        params: parameters or groups; see Optimizer.
        lr: scales δ.
        rho: ρ, in [0, 1].
        eps: keeps the divisor from zero.
        weight_decay: L2 penalty.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = Adadelta([w], lr=1.0)
    >>> w.grad = tengen.tensor([1.0, 2.0])
    >>> _ = opt.step()
    >>> w.numpy().round(3).tolist()
    [0.996999979019165, 1.996999979019165]
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        check_settings("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0 <= rho <= 1:
            raise ValueError(f"Adadelta: rho is in [0, 1], got {rho}")
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    def _create_state(self, param_group: Group) -> None:
        for param in param_group["params"]:
            self._add_state(param, "square_avg")
            self._add_state(param, "acc_delta")
            self._add_step(param)

    def _updates(self, param_group: Group) -> None:
        rule = _adadelta_rule(param_group["weight_decay"] != 0)
        for params in self._by_step(param_group):
            self._update(rule, params, ("square_avg", "acc_delta"), partial(self._scalars, param_group, params))

    def _scalars(self, param_group: Group, params: Sequence[Parameter]) -> tuple[float, ...]:
        self._count_step(params)
        rho = param_group["rho"]
        return param_group["lr"], rho, 1 - rho, param_group["eps"], param_group["weight_decay"]
