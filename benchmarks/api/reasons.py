"""Public names without a row, and why: patterns of names to the reason."""

ELSEWHERE = "no counterpart in PyTorch, SciPy or NumPy"
OPERATOR = "the function of another name that has a row, by way of a method"
REASONS = {
    # -- functions
    "functional.*deformable_conv2d": f"{ELSEWHERE} (torchvision has one)",
    "functional.*deformable_psroi_pooling": ELSEWHERE,
    "functional.*region_restricted_conv": ELSEWHERE,
    "functional.vision.correlation": ELSEWHERE,
    "functional.vision.nms": f"{ELSEWHERE} (torchvision has one)",
    "functional.vision.nvof": "needs hardware of its own, and says so",
    "functional.vision.roi_align": f"{ELSEWHERE} (torchvision has one)",
    "functional.vision.roi_pooling": f"{ELSEWHERE} (torchvision has one)",
    # -- layers
    "module.LinearBn*1d": "a Linear and a BatchNorm1d, which have rows",
    "module.Elemwise": "calls the function of that name",
    "module.Concat": "calls functional.concat",
    "module.*quantStub": "gives its input, outside of quantised networks",
    "module.*QuantStub": "gives its input, outside of quantised networks",
    "module.BatchMatMulActivation": "a product of batches, a bias and an activation, which have rows",
    "module.DeformableConv2d": ELSEWHERE,
    "module.DeformablePSROIPooling": ELSEWHERE,
    "module.RegionRestrictedConv": ELSEWHERE,
    "module.LocalConv2d": "calls functional.local_conv2d",
    "module.SlidingWindow*": "calls the function of that name",
    # -- optimizers, random sources
    "optimizer.LAMB*": ELSEWHERE,
    "optimizer.*LR*": "a few numbers, no tensors",
    "random.seed": "sets a number",
    # -- tensors
    "Tensor.T Tensor.mT": f"{OPERATOR}: functional.transpose",
    "Tensor.to": f"{OPERATOR}: Tensor.astype",
    "Tensor.to_device Tensor.device": "there is one device",
    "Tensor.desc Tensor.dtype Tensor.format Tensor.grad Tensor.name Tensor.qparams Tensor.shape Tensor.ndim Tensor.size": "an attribute",
}  # fmt: skip
