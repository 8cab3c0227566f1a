"""Normalisation, and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._rt import apply
from ..base.world import WORLD, Group, joined
from ..core import Tensor
from ..core.ops.base import statistics_dtype
from ..core.ops.normalization import BatchNorm, BatchNormInference, GroupNorm, LocalResponseNorm, Normalize
from ..core.ops.random import Dropout
from ..random.rng import default_generator
from .arguments import as_tensor, integer, integers, need_choice, normal_axes, number
from .distributed import all_gather
from .elemwise import maximum, square
from .math import mean, sum
from .tensor import concat, full

__all__ = [
    "batch_norm",
    "dropout",
    "general_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "sync_batch_norm",
]

_TRAIN, _TRACK, _INFER, _DROPOUT = BatchNorm(False), BatchNorm(True), BatchNormInference(), Dropout()


def batch_norm(
    inp: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    training: bool = False,
    momentum: float = 0.9,
    eps: float = 1e-5,
    inplace: bool = True,
) -> Any:
    """Each channel (axis 1) to mean 0 and variance 1 over all other axes, times `weight`, plus `bias`.

    Ioffe and Szegedy 2015, algorithm 1.

    Args:
        inp: (N, C, …).
        running_mean, running_var: statistics, one number per channel.
        weight, bias: one number per channel, by default 1 and 0.
        training: use the mean and variance of the batch, and set running_mean and running_var, if given, to momentum ·
            old + (1 - momentum) · batch, where the batch's variance is divided by count - 1. Otherwise running_mean and
            running_var are used, and must be given.
        momentum: the share of the old statistics.
        eps: is added to the variance.
        inplace: False leaves the statistics as they are and gives the new ones.

    Returns: a tensor of the shape of inp; without inplace (result, new mean, new variance).

    Raises:
        ValueError: statistics are missing or the numbers of channels differ.

    >>> F.batch_norm(Tensor([[1.0], [3.0]]), training=True).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    """
    y, *new = _batch_norm("batch_norm", inp, (running_mean, running_var), (weight, bias), training, momentum, eps)
    if not training:
        return y
    if not inplace:
        return (y, *new)
    _take_over((running_mean, running_var), new)
    return y


def sync_batch_norm(
    inp: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.9,
    eps: float = 1e-5,
    eps_mode: str = "additive",
    group: Any = None,
) -> Tensor:
    """`batch_norm` with the statistics of the batches of all processes, which may be of several sizes; in a single process, the same.

    Args:
        inp: (N, C, …).
        running_mean, running_var: updated in training; both None for none.
        weight, bias: one number per channel, by default 1 and 0.
        training, momentum, eps: as for batch_norm.
        eps_mode: "additive" divides by √(variance + eps), "max" by √(the larger of variance and eps).
        group: the processes that share statistics, each of which calls it; None for all. It matters in training only.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: statistics are missing, the numbers of channels differ, eps_mode is unknown, or this process is
            not in the group.

    >>> F.nn.sync_batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    """
    mode = need_choice("sync_batch_norm", "eps_mode", str(eps_mode).lower(), ("additive", "max"))
    running, affine = (running_mean, running_var), (weight, bias)
    members = (WORLD if group is None else group) if joined() else None
    if training and members is not None and members.size > 1:
        y, *new = _over_processes(members, inp, running, affine, momentum, eps, mode == "max")
    else:
        y, *new = _batch_norm("sync_batch_norm", inp, running, affine, training, momentum, eps, floor=mode == "max")
    if training:
        _take_over(running, new)
    return y


def _over_processes(
    members: Group, inp: Tensor, running: Any, affine: Any, momentum: Any, eps: float, floor: bool
) -> Sequence[Any]:
    """The result and the new running statistics, if there are any, with the mean and variance of the batches of several processes.

    Each gives its mean, its sum of squared distances from that, and its count (Chan, Golub and LeVeque 1983).
    """
    x = as_tensor(inp, running, affine)
    _need_channels("sync_batch_norm", x, running, affine)
    channels, axes = x.shape[1], [d for d in range(x.ndim) if d != 1]
    wide = x.astype(statistics_dtype(x.desc.dtype))
    count = x.size // channels
    own = mean(wide, axes, keepdims=True)
    squares = sum(square(wide - own), axes)
    counted = full((1,), float(count), dtype=wide.dtype, device=x.device)
    parts = all_gather(concat([own.reshape(-1), squares, counted]).reshape(1, -1), members)
    means, squares, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
    total = sum(counts)
    average = sum(means * counts, 0) / total
    variance = sum(squares + counts * square(means - average), 0) / total
    shape = [1, channels, *[1] * (x.ndim - 2)]
    scale, shift = (default if v is None else v for v, default in zip(affine, (1.0, 0.0), strict=True))
    spread, least = (maximum(variance, eps), 0.0) if floor else (variance, eps)
    y = apply(_INFER, x, average.reshape(shape), spread.reshape(shape), scale, shift, least)
    if running[0] is None:
        return (y,)
    unbiased = variance * (total / maximum(total - 1, 1))
    new = zip(running, (average, unbiased), strict=True)
    return y, *[old * momentum + value.reshape(old.shape).astype(old.dtype) * (1 - momentum) for old, value in new]


def _batch_norm(
    op: str, inp: Tensor, running: Any, affine: Any, training: bool, momentum: Any, eps: float, floor: bool = False
) -> Sequence[Any]:
    """The result; in training then the new running statistics, or without `running` the batch's. floor: eps is the least variance."""
    x = as_tensor(inp, running, affine)
    _need_channels(op, x, running, affine)
    scale, shift = (default if v is None else v for v, default in zip(affine, (1.0, 0.0), strict=True))
    missing = running[0] is None
    if not training:
        if missing:
            raise ValueError(f"{op}: without training=True it needs running_mean and running_var")
        variance, eps = (maximum(running[1], eps), 0.0) if floor else (running[1], eps)
        return (apply(_INFER, x, running[0], variance, scale, shift, eps),)
    made = apply(_TRAIN, x, scale, shift, eps) if missing else apply(_TRACK, x, scale, shift, eps, *running, momentum)
    y, mean, variance = made[:3]
    if floor:
        y = apply(_INFER, x, mean, maximum(variance, eps), scale, shift, 0.0)
    return y, *(made[1:] if missing else made[3:])


def _need_channels(op: str, x: Tensor, running: Any, affine: Any) -> None:
    """Raises ValueError unless each has one number per channel."""
    if x.ndim < 2:
        raise ValueError(f"{op} takes a tensor (N, C, …), got shape {tuple(x.shape)}")
    if (running[0] is None) != (running[1] is None):
        raise ValueError(f"{op}: running_mean and running_var must be given both or not at all")
    for name, value in zip(("running_mean", "running_var", "weight", "bias"), (*running, *affine), strict=True):
        if value is not None and as_tensor(value).size != x.shape[1]:
            raise ValueError(
                f"{op}: {name} of shape {tuple(value.shape)} does not fit the {x.shape[1]} channels of shape {tuple(x.shape)}"
            )


def _take_over(running: Any, new: Sequence[Tensor]) -> None:
    if running[0] is not None:
        for old, value in zip(running, new, strict=True):
            old._reset(value.detach())


def layer_norm(
    inp: Tensor,
    normalized_shape: int | Sequence[int],
    affine: bool,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises the last dims to mean 0 and variance 1.

    Ba et al. 2016, section 3.1.

    Args:
        inp: floats (…, *normalized_shape).
        normalized_shape: the extents of these dims, also the shape of weight and bias.
        affine: multiply by weight and add bias.
        weight, bias: floats of the shape normalized_shape.
        eps: is added to the variance.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: the last dims have other extents.

    >>> F.layer_norm(Tensor([[1.0, 3.0]]), 2, affine=False).numpy().round(3).tolist()
    [[-1.0, 1.0]]
    """
    x = as_tensor(inp, weight, bias)
    shape = integers("layer_norm", "normalized_shape", normalized_shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"layer_norm: the last dims of shape {tuple(x.shape)} are not the normalized_shape {shape}")
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return _affine_norm("layer_norm", Normalize(axes, affine, "layer_norm"), x, eps, weight, bias)


def general_norm(
    inp: Tensor,
    normalized_axis: int | Sequence[int],
    affine: bool = True,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises any axes to mean 0 and variance 1.

    Args:
        inp: floats of any shape.
        normalized_axis: an int or several.
        affine: multiply by weight and add bias.
        weight, bias: floats with the extents of these axes.
        eps: is added to the variance.

    Returns: a tensor of the shape of inp.

    >>> F.general_norm(Tensor([[1.0], [3.0]]), 0, affine=False).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    """
    x = as_tensor(inp, weight, bias)
    axes = normal_axes("general_norm", normalized_axis, x.ndim)
    return _affine_norm("general_norm", Normalize(axes, affine, "general_norm"), x, eps, weight, bias)


def group_norm(
    inp: Tensor,
    num_groups: int,
    affine: bool,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each of `num_groups` groups of channels (axis 1) of each sample to mean 0 and variance 1.

    Wu and He 2018, section 3.1.

    Args:
        inp: floats (N, C, …), with C a multiple of num_groups.
        num_groups: how many groups.
        affine: multiply by weight and add bias.
        weight, bias: floats (C,).
        eps: is added to the variance.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: C is not a multiple of num_groups.

    >>> F.group_norm(Tensor([[[1.0], [3.0]]]), 1, affine=False).numpy().round(3).tolist()
    [[[-1.0], [1.0]]]
    """
    return _grouped_norm(
        "group_norm",
        as_tensor(inp, weight, bias),
        integer("group_norm", "num_groups", num_groups),
        affine,
        weight,
        bias,
        eps,
    )


def instance_norm(
    inp: Tensor, affine: bool, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalises each channel (axis 1) of each sample to mean 0 and variance 1.

    Ulyanov et al. 2016.

    Args:
        inp: floats (N, C, …).
        affine: multiply by weight and add bias.
        weight, bias: floats (C,).
        eps: is added to the variance.

    Returns: a tensor of the shape of inp.

    >>> F.instance_norm(Tensor([[[1.0, 3.0]]]), affine=False).numpy().round(3).tolist()
    [[[-1.0, 1.0]]]
    """
    x = as_tensor(inp, weight, bias)
    return _grouped_norm("instance_norm", x, max(x.shape[1], 1) if x.ndim > 1 else 1, affine, weight, bias, eps)


def _grouped_norm(
    op: str, x: Tensor, groups: int, affine: bool, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"{op}: the channels (axis 1) of shape {tuple(x.shape)} cannot be put into {groups} equal groups"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if affine and value is not None and as_tensor(value).size != x.shape[1]:
            raise ValueError(
                f"{op}: {name} of shape {tuple(value.shape)} does not fit the {x.shape[1]} channels of shape {tuple(x.shape)}"
            )
    return _affine_norm(op, GroupNorm(groups, affine, op), x, eps, weight, bias)


def _affine_norm(op: str, norm: Any, x: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if not norm.affine:
        return apply(norm, x, eps)
    if weight is None or bias is None:
        raise ValueError(f"{op}: affine=True needs weight and bias")
    return apply(norm, x, eps, weight, bias)


def local_response_norm(
    inp: Tensor, kernel_size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> Tensor:
    """Divides each channel by (k + alpha · Σ x² over `kernel_size` neighbouring channels) ^ beta.

    Krizhevsky et al. 2012, section 3.3.

    Args:
        inp: (N, C, H, W).
        kernel_size: odd; neighbours that are not there count as 0.
        k, alpha, beta: the numbers of this formula.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: kernel_size is even.

    >>> F.local_response_norm(F.ones((1, 1, 1, 1)), k=1.0, alpha=1.0, beta=1.0).item()
    0.5
    """
    x, size = as_tensor(inp), integer("local_response_norm", "kernel_size", kernel_size)
    if size < 1 or size % 2 == 0 or x.ndim < 2:
        raise ValueError(
            f"local_response_norm takes (N, C, H, W) and an odd kernel_size, got shape {tuple(x.shape)} and {size}"
        )
    return apply(
        LocalResponseNorm(size),
        x,
        *(number("local_response_norm", what, value) for what, value in (("k", k), ("alpha", alpha), ("beta", beta))),
    )


def dropout(inp: Tensor, drop_prob: float, training: bool = True) -> Tensor:
    """Sets each element to 0 with probability `drop_prob` and divides the others by 1 - drop_prob.

    Srivastava et al. 2014. Which elements depends on tengen.random.seed.

    Args:
        inp: floats of any shape.
        drop_prob: from 0 to below 1.
        training: False returns inp as it is.

    Returns: a tensor of the shape of inp.

    Raises:
        ValueError: drop_prob is outside [0, 1).

    >>> F.dropout(Tensor([1.0, 2.0]), 0.5, training=False).tolist()
    [1.0, 2.0]
    """
    drop_prob = number("dropout", "drop_prob", drop_prob)
    if not 0 <= drop_prob < 1:
        raise ValueError(f"dropout: drop_prob must be at least 0 and less than 1, got {drop_prob}")
    x = as_tensor(inp)
    if not training or drop_prob == 0:
        return x
    return apply(_DROPOUT, x, drop_prob, *default_generator().draw(x.size))
