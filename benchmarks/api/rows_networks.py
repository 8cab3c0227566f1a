"""What networks are made of: activations, normalisation, convolutions, pooling, losses, images."""

from __future__ import annotations

from .row import Row, row

MAP = "100|64x1000|1000x1000"
PLANE = "10x10|64x1000|1000x1000"
IMAGE = "1x4x8x8|8x16x32x32|8x64x56x56"
SQUARE = "w = F.ones(x.shape[1]); b = F.zeros(x.shape[1])"
THEIR_SQUARE = "w = torch.ones(x.shape[1]); b = torch.zeros(x.shape[1])"
FOUR = "w4 = w.reshape(1, -1, 1, 1); b4 = b.reshape(1, -1, 1, 1)"


def activation(name: str, theirs: str, low: bool = False) -> Row:
    return row(f"functional.{name}", f"F.{name}(x)", theirs, "x", x=MAP, low=low)


def conv(name: str, x: str, w: str, more: str = "", tag: str = "", low: bool = False) -> Row:
    ours, theirs = (f"{functions}.{name}(x, w{more})" for functions in ("F", "nnf"))
    return row(f"functional.{name}", ours, theirs, "x w", tag=tag, low=low, x=x, w=w)


LABELS = "8 int 0 10|64 int 0 1000|1000 int 0 1000"

ROWS = [
    activation("relu", "torch.relu(x)", True), activation("relu6", "nnf.relu6(x)"), activation("sigmoid", "torch.sigmoid(x)", True),
    activation("hsigmoid", "nnf.hardsigmoid(x)"), activation("hswish", "nnf.hardswish(x)"), activation("silu", "nnf.silu(x)", True),
    activation("gelu", "nnf.gelu(x)", True), activation("leaky_relu", "nnf.leaky_relu(x)"), activation("logsigmoid", "nnf.logsigmoid(x)"),
    activation("softplus", "nnf.softplus(x)"),
    row("functional.prelu", "F.prelu(x, w)", "nnf.prelu(x, w)", "x w", x=IMAGE, w="1"),
    row("functional.softmax", "F.softmax(x, axis=1)", "torch.softmax(x, 1)", "x", x=PLANE, low=True),
    row("functional.softmax", "F.softmax(x, axis=1)", "torch.softmax(x, 1)", "x", tag="channels", x=IMAGE),
    row("functional.logsoftmax", "F.logsoftmax(x, 1)", "torch.log_softmax(x, 1)", "x", x=PLANE),
    row("functional.logsumexp", "F.logsumexp(x, 1)", "torch.logsumexp(x, 1)", "x", x=PLANE),
    # -- normalisation
    row("functional.layer_norm", "F.layer_norm(x, x.shape[1], True, w, b)", "nnf.layer_norm(x, x.shape[1:], w, b)", "x", x=PLANE, setup=SQUARE, their_setup=THEIR_SQUARE, low=True),
    row("functional.layer_norm", "F.square(F.layer_norm(x, x.shape[1], True, w, b)) * 2 + x", "torch.square(nnf.layer_norm(x, x.shape[1:], w, b)) * 2 + x", "x", tag="and maths", x=PLANE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.group_norm", "F.group_norm(x, 4, True, w, b)", "nnf.group_norm(x, 4, w, b)", "x", x=IMAGE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.group_norm", "F.silu(F.group_norm(x, 4, True, w, b)) * x", "nnf.silu(nnf.group_norm(x, 4, w, b)) * x", "x", tag="and maths", x=IMAGE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.instance_norm", "F.instance_norm(x, True, w, b)", "nnf.instance_norm(x, None, None, w, b)", "x", x=IMAGE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.instance_norm", "F.square(F.instance_norm(x, True, w, b)) * x", "torch.square(nnf.instance_norm(x, None, None, w, b)) * x", "x", tag="and maths", x=IMAGE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.general_norm", "F.general_norm(x, (1,), True, w, b)", "nnf.layer_norm(x, x.shape[1:], w, b)", "x", x=PLANE, setup=SQUARE, their_setup=THEIR_SQUARE),
    row("functional.batch_norm functional.sync_batch_norm", "F.batch_norm(x, weight=w4, bias=b4, training=True)", "nnf.batch_norm(x, None, None, w, b, True)", "x", x=IMAGE, setup=f"{SQUARE}; {FOUR}", their_setup=THEIR_SQUARE),
    row("functional.batch_norm", "F.square(F.batch_norm(x, weight=w4, bias=b4, training=True)) * x", "torch.square(nnf.batch_norm(x, None, None, w, b, True)) * x", "x", tag="and maths", x=IMAGE, setup=f"{SQUARE}; {FOUR}", their_setup=THEIR_SQUARE),
    row("functional.batch_norm", "F.batch_norm(x, b4, w4, w4, b4)", "nnf.batch_norm(x, b, w, w, b)", "x", tag="inference", x=IMAGE, setup=f"{SQUARE}; {FOUR}", their_setup=THEIR_SQUARE),
    row("functional.local_response_norm", "F.local_response_norm(x, 5, 2.0, 1e-4, 0.75)", "nnf.local_response_norm(x, 5, 5e-4, 0.75, 2.0)", "x", x=IMAGE),
    row("functional.dropout", "F.dropout(x, 0.3)", "nnf.dropout(x, 0.3)", "x", x=MAP, exact=False, low=True),
    # -- products
    row("functional.linear", "F.linear(x, w, b)", "nnf.linear(x, w, b)", "x w b", x="4x16|64x256|512x1024", w="16x16|128x256|1024x1024", b="16|128|1024", low=True),
    conv("conv1d", "1x4x32|8x32x256|8x128x1024", "4x4x3|32x32x3|128x128x3", ", padding=1"),
    conv("conv2d", IMAGE, "4x4x3x3|32x16x3x3|64x64x3x3", ", padding=1", low=True),
    conv("conv2d", IMAGE, "4x4x3x3|32x16x3x3|64x64x3x3", ", stride=2, padding=1", tag="stride 2"),
    conv("conv2d", "1x8x8x8|8x32x28x28|8x128x28x28", "8x2x3x3|32x8x3x3|128x32x3x3", ", padding=1, groups=4", tag="4 groups"),
    conv("conv2d", "1x16x8x8|8x64x28x28|8x256x14x14", "16x2x3x3|64x2x3x3|256x8x3x3", ", padding=1, groups=x.shape[1] // w.shape[1]", tag="many groups"),
    conv("conv2d", IMAGE, "4x1x3x3|16x1x3x3|64x1x3x3", ", padding=1, groups=x.shape[1]", tag="depthwise"),
    conv("conv2d", IMAGE, "4x4x3x3|32x16x3x3|64x64x3x3", ", padding=2, dilation=2", tag="dilated"),
    conv("conv3d", "1x4x4x8x8|2x8x8x16x16|2x32x8x28x28", "4x4x3x3x3|8x8x3x3x3|32x32x3x3x3", ", padding=1"),
    conv("conv_transpose2d", "1x4x8x8|8x16x16x16|8x64x28x28", "4x4x4x4|16x16x4x4|64x64x4x4", ", stride=2, padding=1"),
    conv("conv_transpose3d", "1x4x4x4x4|2x8x4x8x8|2x16x8x14x14", "4x4x2x2x2|8x8x2x2x2|16x16x2x2x2", ", stride=2"),
    row("functional.local_conv2d", "F.local_conv2d(x, w)", "local(x, w)", "x w", x="1x4x6x6|4x8x10x10|8x16x16x16", w="1x4x4x4x3x3x4|1x8x8x8x3x3x8|1x14x14x16x3x3x16",
        their_setup="def local(x, w):\n u = nnf.unfold(x, 3).reshape(x.shape[0], x.shape[1], 9, *w.shape[1:3])\n return torch.einsum('ncthw,hwcto->nohw', u, w[0].reshape(*w.shape[1:4], 9, -1))"),
    row("functional.embedding", "F.embedding(i, w)", "nnf.embedding(i, w)", "w", w="10x16|1000x64|30000x128", i="4x4 long 10|8x32 long 1000|32x128 long 30000", low=True),
    row("functional.embedding", "F.embedding(i, w)", "nnf.embedding(i, w)", "w", tag="repeated", w="10x16|1000x64|1000x256", i="4x4 long 3|8x32 long 10|32x256 long 50"),
    # -- pooling
    row("functional.max_pool2d", "F.max_pool2d(x, 2)", "nnf.max_pool2d(x, 2)", "x", x=IMAGE),
    row("functional.max_pool2d", "F.max_pool2d(x, 3, 2, 1)", "nnf.max_pool2d(x, 3, 2, 1)", "x", tag="3 by 3", x=IMAGE, low=True),
    row("functional.avg_pool2d", "F.avg_pool2d(x, 2)", "nnf.avg_pool2d(x, 2)", "x", x=IMAGE),
    row("functional.avg_pool2d", "F.avg_pool2d(x, 3, 2, 1)", "nnf.avg_pool2d(x, 3, 2, 1, count_include_pad=False)", "x", tag="3 by 3", x=IMAGE),
    row("functional.adaptive_avg_pool2d", "F.adaptive_avg_pool2d(x, 4)", "nnf.adaptive_avg_pool2d(x, 4)", "x", x=IMAGE),
    row("functional.adaptive_avg_pool2d", "F.adaptive_avg_pool2d(x, 1)", "nnf.adaptive_avg_pool2d(x, 1)", "x", tag="to 1", x=IMAGE),
    row("functional.adaptive_max_pool2d", "F.adaptive_max_pool2d(x, 4)", "nnf.adaptive_max_pool2d(x, 4)", "x", x=IMAGE),
    # -- windows and borders
    *[
        row("functional.pad", f"F.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), '{mode}')", f"nnf.pad(x, (2, 2, 2, 2), '{theirs}')", "x", tag=mode, x=IMAGE)
        for mode, theirs in (("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate"))
    ],
    row("functional.pixel_shuffle", "F.pixel_shuffle(x, 2)", "nnf.pixel_shuffle(x, 2)", "x", x=IMAGE),
    row("functional.sliding_window", "F.sliding_window(x, 3).reshape(-1)", "x.unfold(2, 3, 1).unfold(3, 3, 1).reshape(-1)", "x", x="1x4x8x8|8x8x32x32|8x16x56x56"),
    row("functional.sliding_window_transpose", "F.sliding_window_transpose(x, o, 3)", "nnf.fold(x.permute(0, 1, 4, 5, 2, 3).reshape(x.shape[0], x.shape[1] * 9, -1), o, 3)", "x",
        x="1x4x6x6x3x3|8x8x30x30x3x3|8x16x54x54x3x3", setup="o = (x.shape[2] + 2, x.shape[3] + 2)", their_setup="o = (x.shape[2] + 2, x.shape[3] + 2)"),
    # -- losses
    row("functional.loss.cross_entropy", "F.loss.cross_entropy(x, t)", "nnf.cross_entropy(x, t.long())", "x", x="8x10|64x1000|1000x1000", t=LABELS),
    row("functional.loss.cross_entropy", "F.loss.cross_entropy(x, t)", "nnf.cross_entropy(x, t.long())", "x", tag="pixels", x="1x4x8x8|4x21x32x32|4x21x128x128", t="1x8x8 int 0 4|4x32x32 int 0 21|4x128x128 int 0 21"),
    row("functional.loss.nll_loss", "F.loss.nll_loss(x, t)", "nnf.nll_loss(x, t.long())", "x", x="8x10|64x1000|1000x1000", t=LABELS),
    row("functional.loss.binary_cross_entropy", "F.loss.binary_cross_entropy(x, y)", "nnf.binary_cross_entropy_with_logits(x, y)", "x", x=MAP, y="100 unit|64x1000 unit|1000x1000 unit"),
    row("functional.loss.l1_loss", "F.loss.l1_loss(x, y)", "nnf.l1_loss(x, y)", "x", x=MAP, y=MAP),
    row("functional.loss.square_loss", "F.loss.square_loss(x, y)", "nnf.mse_loss(x, y)", "x", x=MAP, y=MAP),
    row("functional.loss.hinge_loss", "F.loss.hinge_loss(x, t)", "torch.relu(1 - x * t).sum(1).mean()", "x", x=PLANE, t="10x10 sign|64x1000 sign|1000x1000 sign"),
    row("functional.loss.ctc_loss", "F.loss.ctc_loss(F.softmax(x, axis=2), pl, t, tl)", "nnf.ctc_loss(torch.log_softmax(x, 2), t, pl, tl)", "x", x="8x2x6|40x8x30|100x16x80", t="2x3 int 1 6|8x10 int 1 30|16x20 int 1 80",
        setup="pl = [x.shape[0]] * x.shape[1]; tl = [t.shape[1]] * x.shape[1]", their_setup="pl = torch.full((x.shape[1],), x.shape[0]); tl = torch.full((x.shape[1],), t.shape[1])", tolerance=1e-2),
    # -- images
    *[
        row("functional.vision.interpolate", f"F.vision.interpolate(x, scale_factor=2, mode='{mode}'{', align_corners=False' * (mode == 'bilinear')})", f"nnf.interpolate(x, scale_factor=2, mode='{mode}'{', align_corners=False' * (mode == 'bilinear')})", "x", tag=mode, x="1x4x8x8|8x16x16x16|8x32x56x56")
        for mode in ("bilinear", "nearest", "bicubic")
    ],
    row("functional.vision.remap functional.remap functional.nn.remap", "F.vision.remap(x, m)", "nnf.grid_sample(x, m / (half - 0.5) - 1 + 0, 'bilinear', 'border', True)", "x", x="1x4x8x8|8x16x32x32|8x32x56x56", m="1x8x8x2 pixels 7|8x32x32x2 pixels 31|8x56x56x2 pixels 55",
        their_setup="half = x.shape[2] / 2"),
    row("functional.vision.warp_perspective functional.warp_perspective functional.nn.warp_perspective", "F.vision.warp_perspective(x, p, x.shape[2:])", "nnf.grid_sample(x, grid, 'bilinear', 'border', True)", "x", x="1x4x8x8|8x16x32x32|8x32x56x56",
        setup="p = tensor(np.tile(np.eye(3, dtype=np.float32), (x.shape[0], 1, 1)))",
        their_setup="grid = nnf.affine_grid(torch.eye(2, 3).repeat(x.shape[0], 1, 1), x.shape, align_corners=True)"),
    row("functional.vision.warp_affine functional.warp_affine functional.nn.warp_affine", "F.vision.warp_affine(x, p, x.shape[2:], format='NCHW')", "nnf.grid_sample(x, nnf.affine_grid(p, x.shape, align_corners=True), 'bilinear', 'border', True)", x="1x4x8x8|8x16x32x32|8x32x56x56",
        setup="p = tensor(np.tile(np.eye(2, 3, dtype=np.float32), (x.shape[0], 1, 1)))", their_setup="p = torch.eye(2, 3).repeat(x.shape[0], 1, 1)"),
    row("functional.vision.cvt_color", "F.vision.cvt_color(x, 'RGB2GRAY')", "x @ torch.tensor([[0.299], [0.587], [0.114]])", x="1x8x8x3|8x32x32x3|8x224x224x3"),
    # -- attention
    *[
        row("functional.scaled_dot_product_attention", f"F.scaled_dot_product_attention(x, y, z{more})", f"nnf.scaled_dot_product_attention(x, y, z{more})", "x y z", tag=tag, low=not tag,
            x="1x2x8x16|4x4x64x32|4x8x512x64", y="1x2x8x16|4x4x64x32|4x8x512x64", z="1x2x8x16|4x4x64x32|4x8x512x64")
        for tag, more in (("", ""), ("causal", ", is_causal=True"))
    ],
    row("functional.multi_head_attention functional.nn.multi_head_attention", "F.multi_head_attention(x, y, z, x.shape[2], 4, 0.0, 0.0, None)[0]", "attend(x, y, z)", "x y z", x="1x8x16|4x64x64|8x256x256", y="1x8x16|4x64x64|8x256x256", z="1x8x16|4x64x64|8x256x256",
        their_setup="heads = lambda v: v.unflatten(2, (4, -1)).transpose(1, 2)\nattend = lambda x, y, z: nnf.scaled_dot_product_attention(heads(x), heads(y), heads(z)).transpose(1, 2).flatten(2)"),
]  # fmt: skip
