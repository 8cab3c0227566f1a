"""LAMB, for large batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from .. import functional as F
from .._rt import apply
from ..core import Parameter
from ..core.ops.elemwise import TypeCvt
from ..core.ops.precision import PowerSums
from ..core.ops.shape import Reshape, Slice
from .optimizer import Group, Optimizer, check_betas, check_settings
from .shards import Shards


def moments(adapt: bool, w: Any, m: Any, v: Any, g: Any, *scalars: float) -> Any:
    """One parameter and its moments after a step; `adapt`: scale by the trust ratio."""
    return _all_moments(adapt, False, None, [(w, m, v)], [(g,)], *scalars)[0]


def _all_moments(
    adapt: bool,
    master: bool,
    shards: Shards | None,
    targets: Sequence[Sequence[Any]],
    gradients: Sequence[Sequence[Any]],
    lr: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    correction1: float,
    correction2: float,
    eps: float,
    weight_decay: float,
) -> list[Any]:
    """Parameters, their float32 copies if `master`, and their moments after a step. shards: who has the other parts of them."""
    made = []
    for (*_, w, m, v), (g,) in zip(targets, gradients, strict=True):
        m = beta1 * m + rest1 * g
        v = beta2 * v + rest2 * g * g
        made.append([w, m, v, (m / correction1) / (F.sqrt(v / correction2) + eps) + weight_decay * w])
    if adapt:
        squares = apply(PowerSums(2.0), *(x for w, _, _, step in made for x in (w, step)))
        norms = F.sqrt(squares if shards is None else shards.total(squares))
        for i, one in enumerate(made):
            w_norm, step_norm = _element(norms, 2 * i), _element(norms, 2 * i + 1)
            # A ratio of 1 where either norm is zero; the divisor is made 1 there so that no nan comes up.
            usable = F.minimum(w_norm, step_norm) > 0
            ratio = F.where(usable, w_norm / F.where(usable, step_norm, 1.0), 1.0)
            one[3] = one[3] * apply(TypeCvt(_dtype(one[3])), ratio)
    new = [(w - lr * step, m, v) for w, m, v, step in made]
    return [(w, w, m, v) for w, m, v in new] if master else new


def _element(x: Any, number: int) -> Any:
    """One of a vector, for tensors and values of a Program."""
    return apply(Reshape(()), apply(Slice((number,), (1,), (1,)), x))


def _dtype(x: Any) -> str:
    """The name of the dtype of a tensor, or of a value of a Program."""
    return str(x.desc.dtype if hasattr(x, "desc") else x.dtype)


@cache
def _rule(adapt: bool, master: bool, shards: Shards | None) -> Any:
    """The update of all parameters; `master`: update a float32 copy."""
    made: Any = partial(_all_moments, adapt, master, shards)
    made.effect = shards is not None
    return made


class LAMB(Optimizer):
    """Adam's step + weight_decay · w, scaled for each parameter by the trust ratio ‖w‖ / ‖step‖.

    Source: You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020, algorithm 2.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        betas: β₁ and β₂, in [0, 1), as in Adam.
        eps: keeps the divisor from zero.
        bias_correction: whether m and v are divided by 1 - βᵗ.
        weight_decay: added to the step, times w.
        always_adapt: scale by the trust ratio also where weight_decay is 0.

    >>> w = tengen.Parameter([1.0, 2.0])
    >>> opt = LAMB([w], lr=0.1)
    >>> w.grad = tengen.tensor([1.0, 1.0])
    >>> _ = opt.step()
    >>> w.numpy().round(3).tolist()
    [0.8999999761581421, 1.899999976158142]
    """

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Group] | Parameter | Group,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias_correction: bool = True,
        weight_decay: float = 0.0,
        always_adapt: bool = False,
    ):
        owner = type(self).__name__
        check_settings(owner, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(owner, betas)
        self.bias_correction = bias_correction
        self.always_adapt = always_adapt
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps})

    def _create_state(self, param_group: Group) -> None:
        for param in param_group["params"]:
            self._add_state(param, "exp_avg")
            self._add_state(param, "exp_avg_sq")
            self._add_step(param)

    def _updates(self, param_group: Group) -> None:
        adapts = self.always_adapt or param_group["weight_decay"] != 0
        for params in self._by_step(param_group):
            for master in (False, True):
                chosen = [param for param in params if ("param_fp32" in self._state[param]) == master]
                if chosen:
                    states = ("param_fp32",) * master + ("exp_avg", "exp_avg_sq")
                    rule = _rule(adapts, master, self._shards)
                    self._update(rule, chosen, states, partial(self._scalars, param_group, chosen), together=True)

    def _scalars(self, param_group: Group, params: Sequence[Parameter]) -> tuple[float, ...]:
        step = self._count_step(params)
        lr, eps, decay = param_group["lr"], param_group["eps"], param_group["weight_decay"]
        beta1, beta2 = param_group["betas"]
        corrections = (1 - beta1**step, 1 - beta2**step) if self.bias_correction else (1.0, 1.0)
        return lr, beta1, 1 - beta1, beta2, 1 - beta2, *corrections, eps, decay


class LAMBFp16(LAMB):
    """LAMB that updates a float32 copy of each parameter of another dtype.

    Args:
        params: parameters or groups; see Optimizer.
        lr: the learning rate.
        betas: β₁ and β₂, in [0, 1).
        eps: keeps the divisor from zero.
        bias_correction: whether m and v are divided by 1 - βᵗ.
        weight_decay: the decay.
        always_adapt: scale by the trust ratio also where weight_decay is 0.

    >>> w = tengen.Parameter(np.ones(2, np.float16))
    >>> opt = LAMBFp16([w], lr=0.5)
    >>> w.grad = tengen.tensor(np.ones(2, np.float16))
    >>> _ = opt.step()
    >>> w.dtype
    <class 'numpy.float16'>
    """

    def _create_state(self, param_group: Group) -> None:
        super()._create_state(param_group)
        for param in param_group["params"]:
            if param.dtype.__name__ not in ("float32", "float64"):
                self._add_state(param, "param_fp32", param.astype("float32"))
