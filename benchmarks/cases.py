"""What is measured, as data: one row a case, shapes from real networks. `requirements.py` says what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any

Shape = tuple[int, ...]
ITEM = 4  # bytes of a float32


@dataclass(frozen=True)
class Case:
    """One thing to do, in every framework the same.

    name: group/what. kind: the key of the function that does it in the tables of `ops_*.py`. shapes: of its inputs,
    float32. arguments: of the function. flops, moved: the arithmetic and the bytes that must be read and written at
    least. compiled: whether PyTorch's compiler is worth a try. sample: stands for its group in a first look. traced: tengen
    runs it as a traced function without host, not eagerly. holds: what each input holds (`measure.values`); U(-1, 1) where it says nothing.
    """

    name: str
    kind: str
    shapes: tuple[Shape, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    flops: int = 0
    moved: int = 0
    compiled: bool = False
    sample: bool = False
    tolerance: float = 1e-3
    traced: bool = False
    holds: tuple[str, ...] = ()


# -- overhead: tensors so small that only the way to the kernel counts ---------------------------------------------


def overhead() -> Iterator[Case]:
    yield Case("overhead/add 100", "add", ((100,), (100,)), sample=True)
    yield Case("overhead/matmul 16", "matmul", ((16, 16), (16, 16)))
    yield Case("overhead/module call", "module", ((16, 16), (16, 16), (16,)))
    yield Case("overhead/backward of 20 ops", "chain", ((100,), (100,)), {"length": 20}, sample=True)
    yield network("overhead/mlp train", "mlp", True)


# -- element-wise and reduce ---------------------------------------------------------------------------------------


def elementwise() -> Iterator[Case]:
    shape = (1000, 1000)
    yield _streaming("gelu(2x + 1) 1M", "gelu", shape, 2 * prod(shape), sample=True)
    for rows, columns in ((8192, 128), (1024, 1024), (32, 32768)):
        yield _streaming(f"softmax {rows}x{columns}", "softmax", (rows, columns), 2 * rows * columns)
    for rows, columns in ((1024, 512), (4096, 1024)):
        yield _streaming(f"layer_norm {rows}x{columns}", "layer_norm", (rows, columns), 2 * rows * columns)
    shape = (32, 256, 256)
    for axis in (0, 1, 2, None):
        results = prod(shape) // (prod(shape) if axis is None else shape[axis])
        name = f"sum 32x256x256 axis {'all' if axis is None else axis}"
        yield _streaming(name, "sum", shape, prod(shape) + results, axis=axis)
    for name, shape, order in (
        ("1024x1024 ba", (1024, 1024), (1, 0)),
        ("8x64x56x56 to channels last", (8, 64, 56, 56), (0, 2, 3, 1)),
        ("8x56x56x64 to channels first", (8, 56, 56, 64), (0, 3, 1, 2)),
        ("8x128x8x64 heads", (8, 128, 8, 64), (0, 2, 1, 3)),
    ):
        yield _streaming(f"transpose {name}", "transpose", shape, 2 * prod(shape), order=order)
    for size in ("1M", "10M"):
        count = 1_000_000 * int(size[:-1])
        # Half of the elements, which are read and written; the mask is a quarter of their bytes, written and read.
        yield _streaming(f"x[x > 0] {size}", "mask", (count,), 2 * count)
    moved = 2 * ITEM * 1000 * 1000
    # What is compared is the share of zeros: two draws of it differ by 0.1 %.
    yield Case(
        "elementwise/dropout 1M", "dropout", ((1000, 1000),), {"probability": 0.5}, 0, moved, True, tolerance=0.01
    )


def _streaming(name: str, kind: str, shape: Shape, elements: int, sample: bool = False, **arguments: Any) -> Case:
    return Case(f"elementwise/{name}", kind, (shape,), arguments, moved=ITEM * elements, compiled=True, sample=sample)


# -- matrix products -----------------------------------------------------------------------------------------------


def products() -> Iterator[Case]:
    for size in (64, 128, 256, 512, 1024, 2048):
        yield _product(f"{size}", size, size, size, sample=size == 512)
    for a, b in ((True, False), (False, True), (True, True)):
        yield _product(f"1024 {'aT' * a}{' ' * (a and b)}{'bT' * b}", 1024, 1024, 1024, a, b)
    for rows in (1, 2, 4, 8):
        yield _product(f"{rows}x1024x1024", rows, 1024, 1024)
        yield _product(f"{rows}x1024x1024 bT", rows, 1024, 1024, b=True, sample=rows == 8)
    yield _product("64 of 128x64x128", 128, 64, 128, batch=(64,))


def _product(
    name: str, m: int, k: int, n: int, a: bool = False, b: bool = False, batch: Shape = (), sample: bool = False
) -> Case:
    """a, b: which of the operands is given transposed."""
    shapes = ((*batch, k, m) if a else (*batch, m, k), (*batch, n, k) if b else (*batch, k, n))
    flops, moved = 2 * prod(batch) * m * k * n, ITEM * prod(batch) * (m * k + k * n + m * n)
    return Case(f"matmul/{name}", "matmul", shapes, {"a": a, "b": b}, flops, moved, sample=sample)


# -- convolutions --------------------------------------------------------------------------------------------------

# (input channels, height and width, output channels, kernel, stride, depthwise), padded to keep the size
LAYERS = {
    "resnet50": (
        (3, 224, 64, 7, 2), (64, 56, 64, 1, 1), (64, 56, 64, 3, 1), (64, 56, 256, 1, 1), (256, 56, 64, 1, 1),
        (256, 56, 128, 1, 1), (128, 56, 128, 3, 2), (128, 28, 512, 1, 1), (256, 56, 512, 1, 2), (512, 28, 128, 1, 1),
        (128, 28, 128, 3, 1), (512, 28, 256, 1, 1), (256, 28, 256, 3, 2), (256, 14, 1024, 1, 1), (512, 28, 1024, 1, 2),
        (1024, 14, 256, 1, 1), (256, 14, 256, 3, 1), (1024, 14, 512, 1, 1), (512, 14, 512, 3, 2), (512, 7, 2048, 1, 1),
        (1024, 14, 2048, 1, 2), (2048, 7, 512, 1, 1), (512, 7, 512, 3, 1),
    ),
    "mobilenetv2": (
        (3, 224, 32, 3, 2), (32, 112, 32, 3, 1, True), (32, 112, 16, 1, 1),
        (16, 112, 96, 1, 1), (96, 112, 96, 3, 2, True), (96, 56, 24, 1, 1),
        (24, 56, 144, 1, 1), (144, 56, 144, 3, 1, True), (144, 56, 24, 1, 1), (144, 56, 144, 3, 2, True), (144, 28, 32, 1, 1),
        (32, 28, 192, 1, 1), (192, 28, 192, 3, 1, True), (192, 28, 32, 1, 1), (192, 28, 192, 3, 2, True), (192, 14, 64, 1, 1),
        (64, 14, 384, 1, 1), (384, 14, 384, 3, 1, True), (384, 14, 64, 1, 1), (384, 14, 96, 1, 1),
        (96, 14, 576, 1, 1), (576, 14, 576, 3, 1, True), (576, 14, 96, 1, 1), (576, 14, 576, 3, 2, True), (576, 7, 160, 1, 1),
        (160, 7, 960, 1, 1), (960, 7, 960, 3, 1, True), (960, 7, 160, 1, 1), (960, 7, 320, 1, 1), (320, 7, 1280, 1, 1),
    ),
    "vgg16": (
        (3, 224, 64, 3, 1), (64, 224, 64, 3, 1), (64, 112, 128, 3, 1), (128, 112, 128, 3, 1), (128, 56, 256, 3, 1),
        (256, 56, 256, 3, 1), (256, 28, 512, 3, 1), (512, 28, 512, 3, 1), (512, 14, 512, 3, 1),
    ),
}  # fmt: skip
FORMS = ("forward", "by data", "by weight")
SAMPLE_LAYERS = ((128, 28, 128, 3, 1), (256, 14, 1024, 1, 1), (192, 28, 192, 3, 1, True), (512, 14, 512, 3, 1))


def convolutions() -> Iterator[Case]:
    for net, layers in LAYERS.items():
        for batch in (1, 8):
            for layer in layers:
                for form in FORMS:
                    yield _convolution(net, batch, form, batch == 8 and layer in SAMPLE_LAYERS, *layer)


def _convolution(
    net: str,
    batch: int,
    form: str,
    sample: bool,
    ic: int,
    size: int,
    oc: int,
    k: int,
    stride: int,
    depthwise: bool = False,
) -> Case:
    """shapes: of x, w and the gradient of y, whichever of them a form takes."""
    groups = ic if depthwise else 1
    out = (size + stride - 1) // stride
    shapes = ((batch, ic, size, size), (oc, ic // groups, k, k), (batch, oc, out, out))
    flops = 2 * prod(shapes[2]) * prod(shapes[1][1:])
    name = f"{ic}-{oc} {k}x{k}{f' s{stride}' * (stride > 1)}{' depthwise' * depthwise} {size}"
    arguments = {"form": form, "stride": stride, "padding": k // 2, "groups": groups}
    moved = ITEM * sum(map(prod, shapes))
    return Case(f"conv/{net}/b{batch}/{name} {form}", "conv", shapes, arguments, flops, moved, sample=sample)


# -- networks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """input: its shape. classes: of the labels; 0: the loss is the mean square of the output. optimizer: "sgd" (with
    momentum) or "adamw". flops: of its products and convolutions, forward and all gradients of the parameters.
    """

    input: Shape
    classes: int
    optimizer: str
    flops: tuple[int, int]


NETWORKS = {
    "mlp": Network((32, 20), 10, "sgd", (491_520, 1_146_880)),
    "lenet": Network((64, 1, 32, 32), 10, "sgd", (53_314_560, 144_890_880)),
    "resnet18": Network((8, 3, 224, 224), 1000, "sgd", (29_025_173_504, 85_187_297_280)),
    "resnet50": Network((8, 3, 224, 224), 1000, "sgd", (65_426_948_096, 194_392_621_056)),
    "mobilenetv2": Network((8, 3, 224, 224), 1000, "sgd", (4_812_388_352, 14_263_746_560)),
    "transformer": Network((8, 128, 512), 0, "adamw", (6_710_886_400, 18_522_046_464)),
    "lstm": Network((32, 32, 128), 0, "sgd", (1_879_048_192, 5_335_154_688)),
}
DEEP = ("resnet18", "resnet50", "mobilenetv2")


def network(name: str, net: str, train: bool, sample: bool = False, bfloat16: bool = False) -> Case:
    """bfloat16: its products take bfloat16, by casts; parameters and everything else stay float32."""
    flops = NETWORKS[net].flops[train]
    # Rounding grows with depth. Float32 gradients of the deep ones are 1 to 5 % from those in float64, in PyTorch too.
    tolerance = (0.1 if net in DEEP else 3e-3) if train else 1e-3
    arguments = {"network": net, "train": train, "bfloat16": bfloat16}
    if bfloat16:
        tolerance = 0.05
    return Case(name, "network", (NETWORKS[net].input,), arguments, flops, 0, True, sample, tolerance)


def networks() -> Iterator[Case]:
    for net in NETWORKS:
        if net != "mlp":
            yield network(f"network/{net} inference", net, False, net in ("lenet", "lstm"))
            yield network(f"network/{net} train", net, True, net in ("lenet", "transformer"))


# -- the same, traced ----------------------------------------------------------------------------------------------


def traced() -> Iterator[Case]:
    """Cases of above, for which tengen traces a whole step."""
    names = ("elementwise/gelu*", "overhead/mlp train", "network/*")
    for case in [*elementwise(), *overhead(), *networks()]:
        if any(fnmatchcase(case.name, name) for name in names):
            yield replace(case, name=f"traced/{case.name.partition('/')[2]}", traced=True)
    yield replace(network("traced/transformer train, bfloat16", "transformer", True, bfloat16=True), traced=True)
    limited = network("traced/resnet18 train, in 60 % of the memory", "resnet18", True)
    yield replace(limited, arguments={**limited.arguments, "memory": 0.6}, traced=True, compiled=False)


# -- starting ------------------------------------------------------------------------------------------------------


def starting() -> Iterator[Case]:
    """Measured by `startup.py`, in processes of their own or once a shape."""
    yield Case("startup/import", "import", sample=True)
    yield Case("startup/first resnet18 step, empty kernel cache", "first step", arguments={"warm": False})
    yield Case("startup/first resnet18 step, warm kernel cache", "first step", arguments={"warm": True})
    yield Case(
        "startup/first traced resnet18 step, empty kernel cache", "first step", arguments={"warm": False}, traced=True
    )
    yield Case(
        "startup/first traced resnet18 step, warm kernel cache", "first step", arguments={"warm": True}, traced=True
    )
    yield Case("startup/unseen matmul shape", "plan", arguments={"op": "matmul"}, sample=True)
    yield Case("startup/unseen conv shape", "plan", arguments={"op": "conv"}, sample=True)


def all_cases() -> list[Case]:
    """Every case, in the order of the report."""
    return [*overhead(), *elementwise(), *products(), *convolutions(), *networks(), *traced(), *starting()]
