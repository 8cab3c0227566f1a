"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from ..core import Parameter
from .optimizer import Group, Optimizer, check_settings


@cache
def _rule(momentum: bool, nesterov: bool, decay: bool) -> Any:
    """The update of one parameter. Scalars: lr, weight_decay, momentum."""

    def plain(w: Any, g: Any, lr: float, weight_decay: float, _momentum: float) -> Any:
        if decay:
            g = g + weight_decay * w
        return (w - lr * g,)

    def with_momentum(w: Any, v: Any, g: Any, lr: float, weight_decay: float, momentum: float) -> Any:
        if decay:
            g = g + weight_decay * w
        v = momentum * v + g
        return w - lr * (g + momentum * v if nesterov else v), v

    return with_momentum if momentum else plain


class SGD(Optimizer):
    """w ← w - lr · v, with v ← momentum · v + g, and g the gradient + weight_decay · w.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        momentum: how much of the last step's direction v stays.
        nesterov: use g + momentum · v in the place of v.
        weight_decay: L2 penalty.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = SGD([w], lr=0.5)
    >>> w.grad = tengen.tensor([1.0, 2.0])
    >>> _ = opt.step().clear_grad()
    >>> w.tolist()
    [0.5, 1.0]
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        check_settings("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and momentum <= 0:
            raise ValueError("SGD: nesterov=True needs a momentum above 0")
        self.nesterov = nesterov
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def _create_state(self, param_group: Group) -> None:
        if param_group["momentum"]:
            for param in param_group["params"]:
                self._add_state(param, "momentum_buffer")

    def _updates(self, param_group: Group) -> None:
        kept, decays = self._state, param_group["weight_decay"] != 0

        def scalars() -> tuple[float, float, float]:
            return param_group["lr"], param_group["weight_decay"], param_group["momentum"]

        params = [param for param in param_group["params"] if param.grad is not None]
        for moving in (False, True):
            chosen = [param for param in params if ("momentum_buffer" in kept.get(param, ())) == moving]
            if chosen:
                rule = _rule(moving, self.nesterov, decays)
                self._update(rule, chosen, ("momentum_buffer",) if moving else (), scalars)
