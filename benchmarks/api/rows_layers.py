"""Layers with their parameters, optimizers, random sources."""

from __future__ import annotations

from .row import Row, row

IMAGE = "1x4x8x8|8x16x32x32|8x64x56x56"
PLANE = "10x10|64x1000|1000x1000"
CHANNELS = "c = x.shape[1]; "


def layer(name: str, ours: str, theirs: str, x: str = IMAGE, **more: object) -> Row:
    names = " ".join(f"module.{n}" for n in name.split())
    return row(
        names,
        "layer(x)",
        "layer(x)",
        "x layer",
        x=x,
        setup=f"{CHANNELS}layer = M.{ours}",
        their_setup=f"{CHANNELS}layer = nn.{theirs}",
        **more,
    )


def optimizer(name: str, ours: str, theirs: str, **more: object) -> Row:
    made = "params = [Parameter(v * 1) for v in x]\nfor v in params: v.grad = v * 0.01\nstep = optimizer.{}"
    theirs_made = "params = [nn.Parameter(v.clone()) for v in x]\nfor v in params: v.grad = v.detach() * 0.01\nstep = torch.optim.{}"
    return row(
        name,
        "step.step() and params[0]",
        "(step.step(), params[0])[1]",
        x="4x100|20x64x64|10x500x500",
        exact=False,
        setup=made.format(ours),
        their_setup=theirs_made.format(theirs),
        **more,
    )


def draw(name: str, ours: str, theirs: str, **more: object) -> Row:
    return row(name, ours, theirs, x="100|64x1000|1000x1000", exact=False, **more)


ROWS = [
    *[
        layer(name, f"{name}()", f"{theirs}()", x=PLANE)
        for name, theirs in (("ReLU", "ReLU"), ("Sigmoid", "Sigmoid"), ("SiLU", "SiLU"), ("GELU", "GELU"), ("LeakyReLU", "LeakyReLU"), ("Identity", "Identity"))
    ],
    layer("Softmax", "Softmax(1)", "Softmax(1)", x=PLANE),
    layer("PReLU", "PReLU(c)", "PReLU(c)"),
    layer("Dropout", "Dropout(0.3)", "Dropout(0.3)", x=PLANE, exact=False),
    layer("Linear LinearRelu Sequential Module", "Sequential(M.Linear(c, 64), M.ReLU(), M.Linear(64, 10))", "Sequential(nn.Linear(c, 64), nn.ReLU(), nn.Linear(64, 10))", x="4x16|64x256|1000x1000"),
    layer("BatchNorm1d", "BatchNorm1d(c)", "BatchNorm1d(c, momentum=0.1)", x=PLANE),
    layer("BatchNorm2d SyncBatchNorm", "BatchNorm2d(c)", "BatchNorm2d(c, momentum=0.1)"),
    layer("LayerNorm", "LayerNorm(c)", "LayerNorm(c)", x=PLANE),
    layer("GroupNorm", "GroupNorm(4, c)", "GroupNorm(4, c)"),
    layer("InstanceNorm", "InstanceNorm(c)", "InstanceNorm2d(c, affine=True)"),
    layer("GeneralNorm", "GeneralNorm((c,), 1)", "LayerNorm(c)", x=PLANE),
    layer("LocalResponseNorm", "LocalResponseNorm(5, 2.0, 1e-4, 0.75)", "LocalResponseNorm(5, 5e-4, 0.75, 2.0)"),
    layer("Conv1d", "Conv1d(c, c, 3, padding=1)", "Conv1d(c, c, 3, padding=1)", x="1x4x32|8x32x256|8x128x1024"),
    layer("Conv2d ConvRelu2d ConvBn2d ConvBnRelu2d", "Sequential(M.Conv2d(c, c, 3, padding=1), M.BatchNorm2d(c), M.ReLU())", "Sequential(nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU())", tolerance=1e-2),
    layer("Conv3d", "Conv3d(c, c, 3, padding=1)", "Conv3d(c, c, 3, padding=1)", x="1x4x4x8x8|2x8x8x16x16|2x32x8x28x28"),
    layer("ConvTranspose2d ConvTransposeRelu2d ConvTransposeBn2d ConvTransposeBnRelu2d", "ConvTranspose2d(c, c, 4, 2, 1)", "ConvTranspose2d(c, c, 4, 2, 1)", x="1x4x8x8|8x16x16x16|8x64x28x28"),
    layer("ConvTranspose3d", "ConvTranspose3d(c, c, 2, 2)", "ConvTranspose3d(c, c, 2, 2)", x="1x4x4x4x4|2x8x4x8x8|2x16x8x14x14"),
    layer("MaxPool2d", "MaxPool2d(2)", "MaxPool2d(2)"),
    layer("AvgPool2d", "AvgPool2d(2)", "AvgPool2d(2)"),
    layer("AdaptiveAvgPool2d", "AdaptiveAvgPool2d(4)", "AdaptiveAvgPool2d(4)"),
    layer("AdaptiveMaxPool2d", "AdaptiveMaxPool2d(4)", "AdaptiveMaxPool2d(4)"),
    layer("Pad", "Pad(((0, 0), (0, 0), (2, 2), (2, 2)), 'reflect')", "ReflectionPad2d(2)"),
    layer("PixelShuffle", "PixelShuffle(2)", "PixelShuffle(2)"),
    row("module.Embedding", "layer(i)", "layer(i)", "layer", i="4x4 long 10|8x32 long 10|32x128 long 10", setup="layer = M.Embedding(1000, 64)", their_setup="layer = nn.Embedding(1000, 64)"),
    row("module.MultiHeadAttention", "layer(x, x, x)[0]", "layer(x, x, x, need_weights=False)[0]", "x layer", x="1x8x16|4x64x64|8x256x256", exact=False, setup="layer = M.MultiHeadAttention(x.shape[2], 4)", their_setup="layer = nn.MultiheadAttention(x.shape[2], 4, batch_first=True)"),
    row("module.LSTM", "layer(x)[0]", "layer(x)[0]", "x layer", x="4x2x8|32x8x32|64x32x128", exact=False, setup="layer = M.LSTM(x.shape[2], x.shape[2])", their_setup="layer = nn.LSTM(x.shape[2], x.shape[2])"),
    row("module.RNN", "layer(x)[0]", "layer(x)[0]", "x layer", x="4x2x8|32x8x32|64x32x128", exact=False, setup="layer = M.RNN(x.shape[2], x.shape[2])", their_setup="layer = nn.RNN(x.shape[2], x.shape[2])"),
    row("module.LSTMCell", "layer(x)[0]", "layer(x)[0]", "x layer", x="2x8|8x32|64x256", exact=False, setup="layer = M.LSTMCell(x.shape[1], x.shape[1])", their_setup="layer = nn.LSTMCell(x.shape[1], x.shape[1])"),
    row("module.RNNCell", "layer(x)", "layer(x)", "x layer", x="2x8|8x32|64x256", exact=False, setup="layer = M.RNNCell(x.shape[1], x.shape[1])", their_setup="layer = nn.RNNCell(x.shape[1], x.shape[1])"),
    # -- optimizers
    optimizer("optimizer.SGD optimizer.Optimizer", "SGD(params, 1e-3)", "SGD(params, 1e-3)"),
    optimizer("optimizer.SGD", "SGD(params, 1e-3, momentum=0.9, weight_decay=1e-4)", "SGD(params, 1e-3, momentum=0.9, weight_decay=1e-4)", tag="momentum"),
    optimizer("optimizer.Adam", "Adam(params, 1e-3)", "Adam(params, 1e-3)"),
    optimizer("optimizer.AdamW", "AdamW(params, 1e-3)", "AdamW(params, 1e-3)"),
    optimizer("optimizer.Adagrad", "Adagrad(params)", "Adagrad(params)"),
    optimizer("optimizer.Adadelta", "Adadelta(params)", "Adadelta(params)"),
    row("optimizer.clip_grad_norm", "optimizer.clip_grad_norm(params, 1.0)", "nn.utils.clip_grad_norm_(params, 1.0)", x="4x100|20x64x64|10x500x500", exact=False,
        setup="params = [Parameter(v * 1) for v in x]\nfor v in params: v.grad = v * 0.01", their_setup="params = [nn.Parameter(v.clone()) for v in x]\nfor v in params: v.grad = v.detach() * 0.01"),
    row("optimizer.clip_grad_value", "optimizer.clip_grad_value(params, -1.0, 1.0)", "nn.utils.clip_grad_value_(params, 1.0)", x="4x100|20x64x64|10x500x500", exact=False,
        setup="params = [Parameter(v * 1) for v in x]\nfor v in params: v.grad = v * 0.01", their_setup="params = [nn.Parameter(v.clone()) for v in x]\nfor v in params: v.grad = v.detach() * 0.01"),
    # -- random sources
    draw("random.uniform random.RNG", "random.uniform(0, 1, x.shape)", "torch.rand(x.shape)"),
    draw("random.normal", "random.normal(0, 1, x.shape)", "torch.randn(x.shape)"),
    draw("random.gamma", "random.gamma(x * x + 1)", "torch._standard_gamma(x * x + 1)"),
    draw("random.beta", "random.beta(x * x + 1, x * x + 1)", "torch.distributions.Beta(x * x + 1, x * x + 1, validate_args=False).sample()"),
    draw("random.poisson", "random.poisson(x * x + 1)", "torch.poisson(x * x + 1)"),
    row("random.permutation", "random.permutation(n)", "torch.randperm(n)", x="100|10000|1000000", exact=False, setup="n = x.shape[0]", their_setup="n = x.shape[0]"),
    row("random.shuffle", "random.shuffle(x)", "x.copy_(x[torch.randperm(x.shape[0])])", x="100|1000x10|1000x1000", exact=False),
]  # fmt: skip
