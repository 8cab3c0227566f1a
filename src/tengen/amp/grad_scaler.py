"""Scaling of losses, so that small gradients survive in float16."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .. import _rt
from ..autodiff import GradManager
from ..base.errors import StateDictError
from ..core import Tensor
from ..core.ops.precision import Unscale
from ..core.ops.shape import Fill
from ..optimizer.shards import shards_of

_STATE = ("scale_factor", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


class GradScaler:
    """Multiplies losses by a factor and divides the gradients by it again; the factor follows what the gradients can take.

    Where a gradient is infinite or NaN, all of that step are dropped (`grad` is None then, so that optimizers skip
    them) and the factor gets smaller; after some steps without it grows. Micikevicius et al. 2018, section 3.2. Only
    float16 needs it: bfloat16 has the range of float32.

    Args:
        init_scale: the first factor.
        growth_factor: what it is multiplied by after `growth_interval` good steps in a row.
        backoff_factor: what it is multiplied by after a step with an infinity or NaN.
        growth_interval: 0: the factor stays as it is.

    Raises:
        ValueError: a factor is not positive or not finite.

    >>> from tengen.amp import GradScaler
    >>> from tengen.autodiff import GradManager
    >>> w = tengen.Parameter([1.0, 2.0])
    >>> gm, scaler = GradManager().attach(w), GradScaler(init_scale=8.0, growth_interval=1)
    >>> with gm:
    ...     scaler.backward(gm, F.sum(w * w))
    >>> w.grad.tolist(), scaler.scale_factor
    ([2.0, 4.0], 16.0)
    """

    def __init__(
        self,
        init_scale: float = 2.0**4,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self.scale_factor = _positive("init_scale", init_scale)
        self.growth_factor = _positive("growth_factor", growth_factor)
        self.backoff_factor = _positive("backoff_factor", backoff_factor)
        self.growth_interval = int(growth_interval)
        self._growth_tracker = 0
        self._found_non_finite = False

    def backward(
        self,
        gm: GradManager,
        y: Tensor | list[Tensor] | None = None,
        dy: Tensor | list[Tensor] | None = None,
        *,
        unscale_grad: bool = True,
        update_scale: bool | str = "if_unscale_grad",
    ) -> None:
        """`gm.backward(y, dy)` with dy times the factor.

        Args:
            gm: the manager that has recorded y.
            y, dy: as for the manager's backward.
            unscale_grad: call `unscale` for what is attached. False where gradients of several calls add up: call it
                after the last.
            update_scale: call `update` then, too.
        """
        ys = [] if y is None else [y] if isinstance(y, Tensor) else list(y)
        if dy is None:
            grads = [_filled(t, self.scale_factor) for t in ys]
        else:
            grads = [g * self.scale_factor for g in ([dy] if isinstance(dy, Tensor) else dy)]
        gm.backward(ys, grads)
        if unscale_grad:
            self.unscale(gm.attached_tensors())
            if update_scale:
                self.update()

    def unscale(self, grad_tensors: Iterable[Tensor]) -> GradScaler:
        """Divide the gradients of tensors by the factor; drop them all if one is infinite or NaN.

        Args:
            grad_tensors: those that have a gradient from a scaled backward, each once a step; those without one are
                left out. Whether they are finite is read here, so a trace without host cannot hold this call.

        Returns: this scaler.
        """
        tensors = [grad_tensors] if isinstance(grad_tensors, Tensor) else list(grad_tensors)
        grads = list({id(t.grad): t.grad for t in tensors if t.grad is not None}.values())
        if not grads:
            return self
        wrong = _rt.update(Unscale(), len(grads), *grads, 1.0 / self.scale_factor)[-1]
        for shards in dict.fromkeys(shards_of(t) for t in tensors if t.grad is not None):
            wrong = shards.total(wrong) if shards else wrong
        if wrong.item():
            self._found_non_finite = True
            for tensor in tensors:
                tensor.grad = None
        return self

    def update(self, new_scale: float | None = None) -> None:
        """Let the factor follow what `unscale` has found since the last call; or set it to `new_scale`.

        Args:
            new_scale: the factor; None lets it follow.
        """
        if new_scale is not None:
            self.scale_factor = _positive("new_scale", new_scale)
        elif self.growth_interval and self._found_non_finite:
            self.scale_factor *= self.backoff_factor
            self._growth_tracker = 0
        elif self.growth_interval:
            self._growth_tracker += 1
            if self._growth_tracker >= self.growth_interval:
                self.scale_factor *= self.growth_factor
                self._growth_tracker = 0
        self._found_non_finite = False

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes.

        Returns: a dict.
        """
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another scaler was.

        Args:
            state: what `state_dict` gave.

        Raises:
            StateDictError: something is missing.
        """
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise StateDictError(f"the state dict of a GradScaler has no {' and no '.join(map(repr, missing))}")
        for name in _STATE:
            setattr(self, name, state[name])


def _positive(name: str, value: float) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"GradScaler: {name} must be positive and finite, got {value}")
    return number


def _filled(like: Tensor, number: float) -> Tensor:
    made: Tensor = _rt.apply(Fill(like.shape, like.desc.dtype, like.desc.device), number)
    return made
