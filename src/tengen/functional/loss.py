"""Losses. `reduction` is "mean", "sum", or "none" for one loss per element; narrow floats give float32."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from math import isnan, prod
from typing import Any

import numpy as np

from .._rt import apply, recording
from ..base.usage import warn
from ..core import Tensor
from ..core.ops.ctc import CTCLoss
from ..core.ops.loss import CrossEntropy, ElementwiseLoss, NegativeLogLikelihood
from .arguments import (
    REDUCTIONS,
    as_index,
    as_tensor,
    as_tensors,
    host_index,
    integer,
    need_choice,
    need_integers,
    normal_axis,
    number,
)

__all__ = ["binary_cross_entropy", "cross_entropy", "ctc_loss", "hinge_loss", "l1_loss", "nll_loss", "square_loss"]


def l1_loss(pred: Tensor, label: Tensor, reduction: str = "mean") -> Tensor:
    """|pred - label|; shapes broadcast, but unless one is a single number that brings a UsageWarning.

    Args:
        pred: floats of any shape.
        label: numbers of the shape of pred.
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one of the shape of pred.

    >>> F.loss.l1_loss(Tensor([1.0, 4.0]), Tensor([2.0, 2.0])).item()
    1.5
    """
    return _elementwise("l1_loss", "l1_loss", pred, label, reduction)


def square_loss(pred: Tensor, label: Tensor, reduction: str = "mean") -> Tensor:
    """(pred - label)²; shapes broadcast, but unless one is a single number that brings a UsageWarning.

    Args:
        pred: floats of any shape.
        label: numbers of the shape of pred.
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one of the shape of pred.

    >>> F.loss.square_loss(Tensor([1.0, 4.0]), Tensor([2.0, 2.0])).item()
    2.5
    """
    return _elementwise("square_loss", "square_loss", pred, label, reduction)


def binary_cross_entropy(pred: Tensor, label: Tensor, with_logits: bool = True, reduction: str = "mean") -> Tensor:
    """The binary cross entropy -(label · log(p) + (1 - label) · log(1 - p)), with p = sigmoid(pred).

    It is computed without overflow. Without with_logits p is pred, and a NaN mean or sum warns, because pred goes
    beyond [0, 1] (not in traced functions).

    Args:
        pred: scores of any shape, or probabilities.
        label: numbers from 0 to 1, of the shape of pred.
        with_logits: whether pred are scores, of which the function takes the probabilities itself.
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one of the shape of pred.

    >>> F.loss.binary_cross_entropy(Tensor([0.0]), Tensor([1.0])).numpy().round(4).item()
    0.6930999755859375
    """
    mode = "binary_cross_entropy_with_logits" if with_logits else "binary_cross_entropy"
    loss = _elementwise("binary_cross_entropy", mode, pred, label, reduction)
    return loss if with_logits else _of_probabilities("binary_cross_entropy", "sigmoid", pred, loss)


def hinge_loss(pred: Tensor, label: Tensor, norm: str = "L1", reduction: str = "mean") -> Tensor:
    """Σ max(0, 1 - pred · label) over axis 1, or with norm "L2" the sum of its square; labels are -1 and 1.

    Args:
        pred, label: (N, classes, …).
        norm: "L1" or "L2", which squares.
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one loss for each sample.

    Raises:
        ValueError: the norm is unknown, or there are too few dims.

    >>> F.loss.hinge_loss(Tensor([[0.5, 2.0]]), Tensor([[1.0, -1.0]])).item()
    3.5
    """
    need_choice("hinge_loss", "norm", norm, ("L1", "L2"))
    pred, label = as_tensors(pred, label)
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
    """The loss. Warns if it is NaN because of numbers in `pred` that are not probabilities; all of `pred` is looked at only then."""
    if loss.ndim == 0 and recording() is None and _worth_waiting_for(loss) and isnan(loss._array()):
        values = np.asarray(pred)
        wrong = values[(values < 0) | (values > 1)]
        if wrong.size:
            warn(
                f"{op}: the loss is nan, because pred holds {wrong[0]:g}; with_logits=False takes probabilities, from 0 to 1: give "
                f"{function}(pred), or such scores with with_logits=True"
            )
    return loss


_lookups = count(1)


def _worth_waiting_for(loss: Tensor) -> bool:
    """Whether to look at a value. On a GPU the program would wait for it, so only the 1st, 2nd, 4th, 8th, … is looked at."""
    if loss.device.memory == "cpu":
        return True
    number = next(_lookups)
    return number & (number - 1) == 0


def cross_entropy(
    pred: Tensor,
    label: Tensor,
    axis: int = 1,
    with_logits: bool = True,
    label_smooth: float = 0,
    reduction: str = "mean",
) -> Tensor:
    """-log of the probability that `pred` gives to each label.

    Args:
        pred: scores, floats with the classes along `axis`; probabilities are softmax(pred), or without `with_logits`
            pred itself.
        label: integers 0 … classes - 1, of the shape of pred without `axis`.
        axis: along which dim of pred the classes are.
        with_logits: whether pred are scores, of which the function takes the probabilities itself.
        label_smooth: s takes (1 - s) of the loss and s times its mean over all classes (Szegedy et al. 2016, section
            7).
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one of the shape of label.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the labels are not integers.
        IndexError: a label is not a class.

    >>> F.loss.cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1])).numpy().round(4).item()
    0.6930999755859375
    """
    need_choice("cross_entropy", "reduction", reduction, REDUCTIONS)
    x, label = as_tensor(pred, label), need_integers("cross_entropy", "label", as_index(label, pred))
    label_smooth = number("cross_entropy", "label_smooth", label_smooth)
    if not 0 <= label_smooth <= 1:
        raise ValueError(f"cross_entropy: label_smooth must be between 0 and 1, got {label_smooth}")
    op = CrossEntropy(normal_axis("cross_entropy", axis, x.ndim), bool(with_logits), label_smooth != 0, reduction)
    loss = apply(op, x, label, label_smooth)
    return loss if with_logits else _of_probabilities("cross_entropy", "softmax", x, loss)


def nll_loss(pred: Tensor, label: Tensor, axis: int = 1, reduction: str = "mean") -> Tensor:
    """The negative of what `pred`, such as logsoftmax of scores, holds at each label; see cross_entropy.

    Args:
        pred: log-probabilities, floats with the classes along `axis`.
        label: integers of the shape of pred without `axis`.
        axis: along which dim of pred the classes are.
        reduction: "mean", "sum" or "none", which keeps each loss.

    Returns: a 0-d tensor, or with reduction "none" one of the shape of label.

    >>> F.loss.nll_loss(Tensor([[-0.5, -1.0]]), Tensor([1])).item()
    1.0
    """
    need_choice("nll_loss", "reduction", reduction, REDUCTIONS)
    x, label = as_tensor(pred, label), need_integers("nll_loss", "label", as_index(label, pred))
    return apply(NegativeLogLikelihood(normal_axis("nll_loss", axis, x.ndim), reduction), x, label)


def ctc_loss(
    pred: Tensor,
    pred_lengths: Tensor,
    label: Tensor,
    label_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
) -> Tensor:
    """-log of the probability that a sequence of classes says the label, once repetitions and then blanks are left out.

    Graves et al. 2006, Connectionist Temporal Classification, section 4.1.

    A label that cannot be said in so many steps has the loss inf, and gradients of 0.

    Args:
        pred: probabilities (T, N, C), such as softmax of scores gives.
        pred_lengths: (N,), how many of the T steps count.
        label: classes (N, S), of which what is past the length does not count, or all one after the other (sum of
            label_lengths,).
        label_lengths: (N,), from 0 on.
        blank: the class that says nothing.
        reduction: "mean" of each loss divided by the length of its label, "sum", or "none" for (N,).

    Returns: a 0-d tensor, or with reduction "none" (N,).

    Raises:
        ValueError: shapes do not fit, lengths are out of range (where they are known, not in traced functions), or no
            such blank.
        TypeError: the labels are not integers.
        IndexError: a label is not a class.

    >>> pred = Tensor([[[0.0614, 0.9386], [0.8812, 0.1188]], [[0.699, 0.301], [0.2572, 0.7428]]])
    >>> F.loss.ctc_loss(pred, [2, 2], [1, 1], [1, 1]).numpy().round(4).item()
    0.15039999783039093
    """
    need_choice("ctc_loss", "reduction", reduction, REDUCTIONS)
    x = as_tensor(pred, label, pred_lengths, label_lengths)
    label = need_integers("ctc_loss", "label", as_index(label, x))
    if x.ndim != 3:
        raise ValueError(f"ctc_loss takes pred of (steps, batch, classes), got shape {tuple(x.shape)}")
    steps, batch, classes = x.shape
    blank = integer("ctc_loss", "blank", blank)
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank must be one of the {classes} classes, got {blank}")
    x_lengths = _lengths("pred_lengths", pred_lengths, x, steps)
    lengths = _lengths("label_lengths", label_lengths, x, label.shape[1] if label.ndim == 2 else label.size)
    if label.ndim == 1:
        label = _padded(label, lengths.numpy())
    if label.ndim != 2 or label.shape[0] != batch:
        raise ValueError(f"ctc_loss: label must be ({batch}, length) or one after the other, got {tuple(label.shape)}")
    return apply(CTCLoss(blank, reduction), x, x_lengths, label, lengths)


def _lengths(name: str, value: Any, x: Any, most: int) -> Tensor:
    """Lengths as int32, one for each sequence of x, from 0 to `most` if they are known, not in traced functions."""
    numbers, batch = host_index(value), x.shape[1]  # those of a list are looked at as they are
    lengths: Tensor = as_tensor(value if numbers is None else numbers.astype(np.int32), x).astype("int32")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"ctc_loss: {name} must have the shape ({batch},), got {tuple(lengths.shape)}")
    if recording() is None:
        known = lengths.numpy() if numbers is None else numbers
        wrong = [n for n in known.tolist() if not 0 <= n <= most]
        if wrong:
            raise ValueError(f"ctc_loss: {name} must be from 0 to {most}, got {wrong[0]}")
    return lengths


def _padded(label: Tensor, lengths: np.ndarray) -> Tensor:
    """Labels that lie one after the other as the rows of a matrix."""
    if lengths.sum() != label.size:
        raise ValueError(
            f"ctc_loss: label has {label.size} classes, but label_lengths are {int(lengths.sum())} together"
        )
    place = np.arange(max(lengths.max(initial=0), 0))
    inside = place < lengths[:, None]
    index = np.where(inside, (lengths.cumsum() - lengths)[:, None] + place, 0)
    return label[index.astype(np.int32)] if label.size else label.reshape(len(lengths), 0)
