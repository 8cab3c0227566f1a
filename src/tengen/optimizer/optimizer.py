"""Optimizer: the base class of what updates parameters by their gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._rt import grads_set
from ..base.frames import shorten
from ..base.missing import Explained
from ..base.usage import warn
from ..core import Parameter, Tensor, as_it_lies, fused_update
from ..core.live import live
from ..core.ops.base import number, several, statistics_dtype
from .shards import Shards
from .state import check_state

Group = dict[str, Any]


class Optimizer(Explained, ABC):
    """Updates parameters by their gradients at each `step()`.

    A subclass says in `_create_state` what it keeps for each parameter (with `_add_state`) and in `_updates` what a
    step does, both for one group.

    Args:
        params: parameters, or dicts that each have some under "params" and settings of their own for them.
        defaults: settings of groups that do not say otherwise, such as {"lr": 0.1}.

    >>> class SignSGD(Optimizer):
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, {"lr": lr})
    ...     def _create_state(self, param_group):
    ...         pass
    ...     def _updates(self, param_group):
    ...         for param in param_group["params"]:
    ...             if param.grad is not None:
    ...                 param -= param_group["lr"] * F.sign(param.grad)
    """

    _shards: Shards | None = None
    """Who has the other parts, where this updates parts of parameters."""

    def __init__(self, params: Iterable[Parameter] | Iterable[Group] | Parameter | Group, defaults: Group):
        self._state: dict[Parameter, dict[str, Any]] = {}
        self._defaults = defaults
        self._grads_seen = 0  # how many gradients had been set, of any tensor, at the last step
        self.param_groups: list[Group] = []
        if hasattr(params, "parameters"):
            raise TypeError(
                f"{type(self).__name__} takes parameters, got a {type(params).__name__}; give its parameters()"
            )
        alone = isinstance(params, (Parameter, Mapping))
        wanted = "parameters in a list, or groups of them"
        given: list[Any] = [params] if alone else several(type(self).__name__, "params", params, wanted)
        if not given:
            raise ValueError(
                f"{type(self).__name__} got no parameters; is the network empty, or its generator used up?"
            )
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with settings of their own.

        Args:
            param_group: a dict with "params" (one or several) and any of the settings; the others are the defaults.

        Raises:
            TypeError: it is not a parameter.
            ValueError: a parameter is already in a group.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f"a parameter group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise KeyError(f"a parameter group needs 'params', got {', '.join(map(repr, param_group))}")
        params = param_group["params"]
        group = {**param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        known = {id(param) for other in self.param_groups for param in other["params"]}
        for param in group["params"]:
            if not isinstance(param, Parameter):
                raise TypeError(f"an optimizer updates Parameters, got {type(param).__name__}")
            if id(param) in known:
                raise ValueError("a parameter is given twice, or is in another group already")
            known.add(id(param))
        for name, value in self._defaults.items():
            group.setdefault(name, value)
        self.param_groups.append(group)
        self._create_state(group)

    def _add_state(self, param: Parameter, state_name: str, initializer: Any = None) -> None:
        """Keep a tensor for `param`, first zeros of its shape in float32 (float64 for one of float64), or `initializer`."""
        if initializer is None:
            initializer = np.zeros(tuple(param.shape), np.float32)
        dtype = statistics_dtype(param.desc.dtype)
        value = (
            initializer if isinstance(initializer, Tensor) else Tensor(initializer, dtype=dtype, device=param.device)
        )
        self._state.setdefault(param, {})[state_name] = value

    def _add_step(self, param: Parameter) -> None:
        """Count the steps of `param` under "step"; see `_count_step`."""
        self._state.setdefault(param, {})["step"] = 0

    @abstractmethod
    def _create_state(self, param_group: Group) -> None:
        """Make what is kept for the parameters of a group."""

    @abstractmethod
    def _updates(self, param_group: Group) -> None:
        """Update the parameters of a group."""

    def _by_step(self, param_group: Group) -> list[list[Parameter]]:
        """The parameters that have a gradient; those that have seen as many steps stand together."""
        by_step: dict[int, list[Parameter]] = {}
        for param in param_group["params"]:
            if param.grad is not None:
                by_step.setdefault(self._state[param]["step"], []).append(param)
        return list(by_step.values())

    def _count_step(self, params: Sequence[Parameter]) -> int:
        """Count one more step of parameters that have seen as many; returns its number, the first being 1."""
        step: int = self._state[params[0]]["step"] + 1
        for param in params:
            self._state[param]["step"] = step
        return step

    def _update(
        self,
        rule: Any,
        params: Sequence[Parameter],
        states: Sequence[str],
        scalars: Callable[[], Sequence[float]],
        together: bool = False,
    ) -> None:
        """Run `rule(param, *states, grad, *scalars())`, giving new param and states, for all `params` at once.

        together: the rule is `rule(all of (param, *states), all of (grad,), *scalars())`, and gives a list.
        `scalars` is called once at each step, in traced functions too, so it may count steps and read settings.
        """
        targets = [(param, *(self._state[param][name] for name in states)) for param in params]
        fused_update(rule, targets, [(param.grad,) for param in params], live(scalars), together)

    def step(self) -> Optimizer:
        """Update all parameters that have a gradient.

        Warns if no parameter has got a gradient since the last step: backward was not called.

        Returns: this optimizer.
        """
        self._look_at_gradients()
        try:
            for group in self.param_groups:
                self._updates(group)
        except Exception as error:
            shorten(error)
            raise
        return self

    def _look_at_gradients(self) -> None:
        """Warn if all gradients are None or those of the last step."""
        params = [param for group in self.param_groups for param in group["params"]]
        if params and not any(param._grad_number > self._grads_seen for param in params):
            warn(f"{type(self).__name__}.step: {_STALE if any(param._grad_number for param in params) else _NONE}")
        self._grads_seen = grads_set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_grads_seen": 0}  # another process counts anew

    def clear_grad(self) -> None:
        """Set the gradient of each parameter to None."""
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None

    def zero_grad(self) -> None:
        """Set the gradient of each parameter that has one to zeros.

        `clear_grad` is better: it frees them.
        """
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    param.grad.reset_zero()

    def backward(self, loss: Tensor) -> None:
        """Not here: use autodiff.GradManager.

        Args:
            loss: not used.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("an optimizer computes no gradients: use autodiff.GradManager")

    def bcast_param(self) -> None:
        """Not here: use distributed.bcast_list_.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("an optimizer does not communicate: use distributed.bcast_list_")

    def state_dict(self, keep_var: bool = False) -> dict[str, Any]:
        """Settings of the groups and what is kept for each parameter; parameters are numbered through all groups.

        Args:
            keep_var: give the tensors themselves, not NumPy arrays.

        Returns: a dict of plain data and arrays.
        """
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                number[id(param)] = len(number)
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": [number[id(param)] for param in group["params"]]})
        state = {
            number[id(param)]: {
                name: whole if keep_var else _array(whole)
                for name, value in kept.items()
                for whole in [self._whole(param, value)]
            }
            for param, kept in self._state.items()
        }
        return {"param_groups": groups, "state": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, for the same parameters in the same order; on an error nothing is changed.

        Args:
            state: what `state_dict` gave.

        Raises:
            StateDictError: (a KeyError and ValueError) the state does not fit; lists everything that is wrong.
        """
        params = [group["params"] for group in self.param_groups]
        shapes = {param: {n: self._shape(param, v) for n, v in kept.items()} for param, kept in self._state.items()}
        found = check_state(self._title, params, shapes, state)
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})
        for param, name, value in found:
            kept = self._state[param]
            if isinstance(kept[name], Tensor):
                kept[name]._reset(self._own(as_it_lies(value, kept[name].dtype, kept[name].device)))
            else:
                kept[name] = int(np.asarray(value))

    # -- what an optimizer that keeps parts says -------------------------------------------------------------------

    @property
    def _title(self) -> str:
        """Its name in messages."""
        return type(self).__name__

    def _whole(self, param: Parameter, value: Any) -> Any:
        """What is kept for a parameter, of which `value` is here."""
        return value

    def _shape(self, param: Parameter, value: Any) -> tuple[int, ...]:
        """The shape of that."""
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def _own(self, whole: Tensor) -> Tensor:
        """What is here of that."""
        return whole


_NONE = (
    "no parameter has a gradient, so none is updated; before each step compute the loss inside `with gm:`, of a GradManager to which "
    "these parameters are attached, and call gm.backward(loss) there; clear_grad() comes after the step, or before the backward"
)
_STALE = (
    "no parameter has got a gradient since the last step, so the same ones are used again; before each step call gm.backward(loss), "
    "after it clear_grad()"
)


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.array(value, np.float32)


def check_settings(owner: str, **settings: float) -> None:
    """Raise ValueError for the first setting that is negative."""
    for name, value in settings.items():
        if not number(owner, name, value) >= 0:
            raise ValueError(f"{owner}: {name} must be at least 0, got {value}")


def check_betas(owner: str, betas: Sequence[float]) -> None:
    """Raise ValueError unless there are two numbers in [0, 1)."""
    if not isinstance(betas, Sequence) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{owner}: betas are two numbers in [0, 1), got {betas!r}")
