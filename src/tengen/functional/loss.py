"""Losses. `reduction` is "mean", "sum", or "none" for one loss per element; narrow floats give float32."""

from __future__ import annotations

from contextlib import suppress
from math import isnan, prod

import numpy as np

from .._rt import apply, recording
from ..base.usage import warn
from ..core import Tensor
from ..core.ops.loss import CrossEntropy, ElementwiseLoss, NegativeLogLikelihood
from .arguments import REDUCTIONS, as_index, as_tensor, need_choice, need_integers, normal_axis

__all__ = ["binary_cross_entropy", "cross_entropy", "hinge_loss", "l1_loss", "nll_loss", "square_loss"]


def l1_loss(pred: Tensor, label: Tensor, reduction: str = "mean") -> Tensor:
    """|pred - label|; shapes broadcast, but unless one is a single number that brings a UsageWarning.

    >>> F.loss.l1_loss(Tensor([1.0, 4.0]), Tensor([2.0, 2.0])).item()
    1.5
    """
    return _elementwise("l1_loss", "l1_loss", pred, label, reduction)


def square_loss(pred: Tensor, label: Tensor, reduction: str = "mean") -> Tensor:
    """(pred - label)²; shapes broadcast, but unless one is a single number that brings a UsageWarning.

    >>> F.loss.square_loss(Tensor([1.0, 4.0]), Tensor([2.0, 2.0])).item()
    2.5
    """
    return _elementwise("square_loss", "square_loss", pred, label, reduction)


def binary_cross_entropy(pred: Tensor, label: Tensor, with_logits: bool = True, reduction: str = "mean") -> Tensor:
    """-(label · log(p) + (1 - label) · log(1 - p)), with p = sigmoid(pred), computed without overflow, or without `with_logits` p = pred.

    Warns where a mean or sum of the latter is NaN because pred goes beyond [0, 1] (not in traced functions).

    >>> F.loss.binary_cross_entropy(Tensor([0.0]), Tensor([1.0])).numpy().round(4).item()
    0.6930999755859375
    """
    mode = "binary_cross_entropy_with_logits" if with_logits else "binary_cross_entropy"
    loss = _elementwise("binary_cross_entropy", mode, pred, label, reduction)
    return loss if with_logits else _of_probabilities("binary_cross_entropy", "sigmoid", pred, loss)


def hinge_loss(pred: Tensor, label: Tensor, norm: str = "L1", reduction: str = "mean") -> Tensor:
    """Σ max(0, 1 - pred · label) over axis 1, or with norm "L2" the sum of its square; labels are -1 and 1.

    pred, label: (N, classes, …). Raises ValueError for another norm or fewer dims.

    >>> F.loss.hinge_loss(Tensor([[0.5, 2.0]]), Tensor([[1.0, -1.0]])).item()
    3.5
    """
    need_choice("hinge_loss", "norm", norm, ("L1", "L2"))
    pred, label = as_tensor(pred), as_tensor(label)
    if max(pred.ndim, label.ndim) < 2:
        raise ValueError(
            f"hinge_loss takes pred and label of (N, classes), got shapes {tuple(pred.shape)} and {tuple(label.shape)}"
        )
    return _elementwise("hinge_loss", f"hinge_loss_{norm}", pred, label, reduction)


def _elementwise(op: str, mode: str, pred: Tensor, label: Tensor, reduction: str) -> Tensor:
    have, want = getattr(label, "shape", ()), getattr(pred, "shape", ())
    if have != want and prod(have) != 1 and prod(want) != 1:
        _warn_of_broadcast(op, want, have)
    return apply(ElementwiseLoss(mode, need_choice(op, "reduction", reduction, REDUCTIONS)), pred, label)


def _warn_of_broadcast(op: str, pred: tuple[int, ...], label: tuple[int, ...]) -> None:
    with suppress(ValueError):  # the op says what is wrong with shapes that do not broadcast
        result = np.broadcast_shapes(pred, label)
        warn(
            f"{op}: pred of shape {tuple(pred)} and label of shape {tuple(label)} broadcast to {result}, so elements meet that hardly belong "
            "together; reshape one to the shape of the other, or say that it is meant with functional.broadcast_to"
        )


def _of_probabilities(op: str, function: str, pred: Tensor, loss: Tensor) -> Tensor:
    """The loss. Warns if it is NaN because of numbers in `pred` that are no probabilities; all of `pred` is looked at only then."""
    if loss.ndim == 0 and recording() is None and isnan(loss._array()):
        values = np.asarray(pred)
        wrong = values[(values < 0) | (values > 1)]
        if wrong.size:
            warn(
                f"{op}: the loss is nan, because pred holds {wrong[0]:g}; with_logits=False takes probabilities, from 0 to 1: give "
                f"{function}(pred), or such scores with with_logits=True"
            )
    return loss


def cross_entropy(
    pred: Tensor,
    label: Tensor,
    axis: int = 1,
    with_logits: bool = True,
    label_smooth: float = 0,
    reduction: str = "mean",
) -> Tensor:
    """-log of the probability that `pred` gives to each label.

    pred: scores with the classes along `axis`; probabilities are softmax(pred), or without `with_logits` pred itself.
    label: integers 0 … classes - 1, of the shape of pred without `axis`. label_smooth: s takes (1 - s) of the loss and
    s times its mean over all classes (Szegedy et al. 2016, section 7). Raises ValueError if the shapes do not fit,
    TypeError for labels that are no integers, IndexError for a label that is no class.

    >>> F.loss.cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1])).numpy().round(4).item()
    0.6930999755859375
    """
    need_choice("cross_entropy", "reduction", reduction, REDUCTIONS)
    x, label = as_tensor(pred), need_integers("cross_entropy", "label", as_index(label))
    if not 0 <= label_smooth <= 1:
        raise ValueError(f"cross_entropy: label_smooth must be between 0 and 1, got {label_smooth}")
    op = CrossEntropy(normal_axis("cross_entropy", axis, x.ndim), bool(with_logits), label_smooth != 0, reduction)
    loss = apply(op, x, label, float(label_smooth))
    return loss if with_logits else _of_probabilities("cross_entropy", "softmax", x, loss)


def nll_loss(pred: Tensor, label: Tensor, axis: int = 1, reduction: str = "mean") -> Tensor:
    """The negative of what `pred`, such as logsoftmax of scores, holds at each label; see cross_entropy.

    >>> F.loss.nll_loss(Tensor([[-0.5, -1.0]]), Tensor([1])).item()
    1.0
    """
    need_choice("nll_loss", "reduction", reduction, REDUCTIONS)
    x, label = as_tensor(pred), need_integers("nll_loss", "label", as_index(label))
    return apply(NegativeLogLikelihood(normal_axis("nll_loss", axis, x.ndim), reduction), x, label)
