"""Names that MegEngine had before 1.13, and what replaced them, for the error of a program that still uses them."""

from __future__ import annotations

REPLACED = {
    "Graph": "jit.trace",
    "core.Buffer": "tensor",
    "data.dataset.meta_dataset.MapDataset": "data.dataset.Dataset",
    "functional.accuracy": "functional.metric.topk_accuracy",
    "functional.add_axis": "functional.expand_dims",
    "functional.batched_matrix_mul": "functional.matmul",
    "functional.clamp": "functional.clip",
    "functional.cross_entropy": "functional.loss.cross_entropy",
    "functional.cross_entropy_with_softmax": "functional.loss.cross_entropy",
    "functional.dimshuffle": "functional.transpose",
    "functional.grad": "autodiff.GradManager",
    "functional.interpolate": "functional.vision.interpolate",
    "functional.multiply": "functional.mul",
    "functional.remove_axis": "functional.squeeze",
    "functional.repeat_interleave": "functional.repeat",
    "functional.roi_align": "functional.vision.roi_align",
    "functional.roi_pooling": "functional.vision.roi_pooling",
    "functional.top_k": "functional.topk",
    "functional.zero_grad": "optimizer.Optimizer.clear_grad",
    "module.L1Loss": "functional.loss.l1_loss",
    "module.MSELoss": "functional.loss.square_loss",
    "ones": "functional.ones",
    "random.gaussian": "random.normal",
    "zeros": "functional.zeros",
}
"""Both names without the leading `megengine.`."""


def advice(path: str) -> str:
    """What to use instead of a name; empty if that is not known."""
    now = REPLACED.get(path)
    return f"; MegEngine 1.13 does not have it either, use megengine.{now}" if now else ""
