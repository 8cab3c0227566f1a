"""Each op of the table with operands, for its export to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scan_rows
from onnx_harness import check, draw

from tengen.compiler.program import Op
from tengen.core.ops import (
    collective,
    color,
    conv,
    correlation,
    create,
    deformable,
    dot_product,
    einsum,
    elemwise,
    formula,
    index,
    layout,
    linalg,
    local_conv,
    loop,
    loss,
    normalization,
    precision,
    recurrent,
    roi,
    sample,
    scan,
    sort,
    warp,
)
from tengen.core.ops.elemwise import Elemwise
from tengen.core.ops.pool import AdaptivePooling, Pooling
from tengen.core.ops.reduce import ArgReduce, OtherProducts, Reduce, Within
from tengen.core.ops.resample import Interpolate
from tengen.core.ops.shape import (
    Broadcast,
    Concatenate,
    Copy,
    Detach,
    Fill,
    Pad,
    PlaceView,
    Reduced,
    Reshape,
    SetSubtensor,
    Slice,
    Subtensor,
    Transpose,
    Windows,
)


@dataclass(frozen=True)
class Row:
    """An op on arrays; further inputs (numbers, weights) follow them."""

    op: Op
    arrays: Sequence[np.ndarray]
    numbers: Sequence[Any] = ()
    weights: Sequence[np.ndarray] = ()
    factor: float = 1.0

    def __str__(self) -> str:
        shown = repr(self.op).replace("(", " ").replace(")", "")
        return f"{shown} {' '.join(f'{a.dtype}{list(a.shape)}' for a in self.arrays)}"

    def run(self) -> None:
        count = len(self.arrays)
        check(lambda *xs: self.op(*xs[:count], *xs[count:], *self.numbers), self.arrays, self.weights, self.factor)


def f(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return draw(shape, dtype, seed=seed)


def i(*shape: int, high: int = 3, low: int = 0, seed: int = 0, dtype: str = "int32") -> np.ndarray:
    return draw(shape, dtype, low, high - 1, seed)


KINDS = ["float32", "float64", "int32", "int64", "int8", "uint8", "bool", "float16"]
S = Slice((1, 0, 4), (2, 3, 2), (1, 1, -3))
WHOLE = Slice((0, 0), (3, 4), (1, 1))

VIEWS = [
    *(Row(Reshape((4, 3)), [f(3, 4).astype(d)]) for d in KINDS),
    Row(Reshape((0, 3)), [f(3, 0)]),
    Row(Reshape(()), [f(1, 1)]),
    *(Row(Transpose((2, 0, 1)), [f(2, 3, 4).astype(d)]) for d in KINDS),
    *(Row(Broadcast((2, 3, 4)), [f(3, 1).astype(d)]) for d in KINDS),
    *(Row(Slice((1, 0, 4), (2, 3, 2), (1, 1, -3)), [f(3, 3, 5).astype(d)]) for d in KINDS),
    Row(Slice((2, 0), (3, 4), (-1, 1)), [f(3, 4)]),
    Row(Slice((2, 0), (0, 4), (1, 1)), [f(3, 4)]),
    Row(Slice((0, 0), (3, 4), (1, 1)), [f(3, 4)]),
    *(Row(Pad((1, 0), (0, 2), 0.0), [f(3, 4).astype(d)]) for d in KINDS),
    Row(Pad((1, 0), (0, 2), float("-inf")), [f(3, 4)]),
    Row(Windows((2, 3), (3, 2), (2, 1), (1, 2)), [f(2, 3, 7, 8)]),
    Row(Windows((1,), (3,), (1,), (1,)), [f(2, 5, 3)]),
    Row(Windows((2, 0), (3, 2), (1, 1), (1, 1)), [f(3, 2, 5)]),
    *(Row(Concatenate(1), [f(2, 3).astype(d), f(2, 1).astype(d)]) for d in KINDS),
    *(
        Row(PlaceView(S, mode), [f(3, 3, 5).astype(d), f(2, 3, 2, seed=1).astype(d)])
        for d in ("float32", "int8")
        for mode in ("set", "add")
    ),
    Row(PlaceView(WHOLE, "set"), [f(3, 4), f(3, 4, seed=1)]),
    Row(PlaceView(WHOLE, "add"), [f(3, 4), f(3, 4, seed=1)]),
    Row(PlaceView(Windows((2, 3), (3, 3), (1, 1), (1, 1)), "add"), [f(1, 2, 6, 5), f(1, 2, 4, 3, 3, 3)]),
    Row(PlaceView(Windows((2, 3), (2, 2), (2, 2), (1, 1)), "set"), [f(1, 2, 4, 6), f(1, 2, 2, 3, 2, 2)]),
    Row(Subtensor(Slice((1, 0), (1, 4), (1, 1)), (4,)), [f(3, 4)]),
    Row(SetSubtensor(Slice((1, 0), (1, 2), (1, 2)), (2,)), [f(3, 4), f(1)]),
    Row(Reduced(Reduce("SUM", (0, 2)), (0, 2), False), [f(2, 3, 4)]),
    Row(Reduced(formula.Mean((1,)), (1,), True), [f(2, 3, 4)]),
    Row(Reduced(ArgReduce("argmax", (1,)), (1,), False), [f(2, 3, 4)]),
    Row(Copy(None), [f(3, 4)]),
    Row(Detach(), [f(3, 4)]),
    Row(Fill((2, 3), "int32", ""), [f()]),
]

REDUCTIONS = [
    *(
        Row(Reduce(mode, (0, 2)), [f(2, 3, 4).astype(d)])
        for mode in ("SUM", "PRODUCT", "MAX", "MIN")
        for d in KINDS
        if (mode, d) != ("PRODUCT", "float64")
    ),
    Row(Reduce("SUM", ()), [f(2, 3)]),
    Row(Reduce("SUM", (1,)), [f(2, 0)]),
    Row(Reduce("PRODUCT", (1,)), [f(2, 0)]),
    Row(Reduce("MAX", (1,)), [np.float32([[1, np.nan, 2], [3, 2, 1], [np.nan] * 3])]),
    Row(Reduce("MIN", (0, 1)), [np.float32([[1, np.nan, 2], [3, 2, 1]])]),
    *(
        Row(ArgReduce(m, axes), [i(3, 4, 5, high=4).astype(d)])
        for m in ("argmax", "argmin")
        for axes in ((1,), (0, 2), (2,))
        for d in ("float32", "int32", "int64", "uint8", "bool", "float16")
    ),
    *(Row(formula.Mean((0, 2)), [f(2, 3, 4).astype(d)]) for d in KINDS),
    Row(formula.Mean(()), [f(2, 3)]),
    *(Row(formula.Variance((1,), root), [f(4, 9)]) for root in (True, False)),
    *(Row(formula.Norm(order, (1,)), [f(4, 9)]) for order in (0.0, 1.0, 2.0, 3.0, np.inf, -np.inf)),
    Row(formula.UnitNorm(2.0, (1,)), [f(4, 9)], [1e-12]),
    Row(OtherProducts((1,)), [np.float32([[0, 2, 3], [0, 0, 3], [1, 2, 3]])]),
    Row(
        OtherProducts((1,)),
        [np.float32([[0, 2, 3], [0, 0, 3], [1, 2, 3]]), *np.float32([[[1, 2, 3]] * 3, [[3, 1, 2]] * 3])],
    ),
    *(
        Row(sort.TopK(3, down), [i(4, 9, high=5, low=-3).astype(d)])
        for down in (True, False)
        for d in ("float32", "int32", "int64", "int8", "float64")
    ),
    *(
        Row(sort.TopK(9, down), [i(4, 9, high=5, low=-3).astype(d)])
        for down in (True, False)
        for d in ("float32", "float16")
    ),
    *(
        Row(scan.CumSum(1, reverse), [f(2, 9, 2).astype(d)])
        for reverse in (True, False)
        for d in ("float32", "float64", "int32", "int64", "int8")
    ),
    Row(sort.ArgSort(3, True), [i(4, 9, high=5, low=-3)]),
    Row(scan.PrefixFold("sum", 1), [f(2, 9, 2)]),
    *(
        Row(row.op(0), [f(5, 3).astype(d)])
        for row in scan_rows.ROWS
        for d in ("bool", "float16", "float32")
        if not row.no_onnx
    ),
]

LOOPS = [
    Row(recurrent.RecurrentLayers("tanh", 1, 1, False), [f(3, 2, 4), f(1, 2, 5), f(5 * 4 + 5 * 5)]),
    Row(recurrent.RecurrentLayers("lstm", 1, 2, True), [f(3, 2, 4), f(2, 2, 5), f(2, 2, 5), f(2 * 20 * (4 + 5 + 2))]),
    Row(recurrent.RecurrentLayers("lstm", 1, 1, True), [f(1, 2, 4), f(1, 2, 5), f(1, 2, 5), f(20 * (4 + 5 + 2))]),
    Row(loop.Scan(recurrent.LSTMStep(), 2, 1, 0, True), [f(2, 5), f(2, 5), f(3, 2, 20), f(20, 5)]),
]

INDICES = [
    *(
        Row(index.take_op(3, (axis,), rank), [f(4, 5, 6), i(*(2, 3)[:rank], high=4, low=-4, dtype=d)])
        for axis in range(3)
        for rank in (0, 1, 2)
        for d in ("int32", "int64")
    ),
    Row(index.take_op(2, (0,), 1), [f(4, 5), i(3, dtype="uint8")]),
    Row(index.Embedding(), [f(4, 5), i(2, 3, high=4, low=-4)]),
    Row(index.take_op(3, (0, 1), 1), [f(4, 5, 6), i(7), i(7, low=-3)]),
    Row(index.take_op(3, (1, 2), 2), [f(4, 5, 6), i(2, 1), i(3)]),
    Row(index.take_op(3, (0, 2), 1, True), [f(4, 5, 6), i(7), i(7)]),
    Row(index.take_op(4, (1, 3), 1, True), [f(2, 4, 5, 6), i(7), i(1)]),
    Row(index.take_op(2, (1,), 1, True), [f(4, 5), i(3)]),
    *(
        Row(index.put_op(mode, 3, axes, 1, apart), [f(4, 5, 6), f(*shape, seed=1), *(np.int32([2, 0, 3]),) * len(axes)])
        for mode in ("set", "add")
        for axes, apart, shape in [
            ((0,), False, (3, 5, 6)),
            ((1,), False, (4, 3, 6)),
            ((0, 1), False, (3, 6)),
            ((0, 2), True, (3, 5)),
        ]
    ),
    Row(index.put_op("add", 1, (0,), 1), [f(4), f(6, seed=1), np.int32([1, 1, 0, 3, 1, 0])]),
    Row(index.Take((0, -1, 2), (1,), (0, 1)), [f(2, 4, 3), i(2, 5, high=4)]),
    Row(index.Put("add", (0, -1, 2), (1,), (0, 1)), [f(2, 4, 3), f(2, 5, 3, seed=1), i(1, 5, high=4)]),
    Row(index.put_op("add", 1, (0,), 1), [i(4, dtype="int8"), i(6, dtype="int8"), np.int32([1, 1, 0, 3, 1, 0])]),
    Row(index.TakeIndexed(Slice((0, 1), (4, 1), (1, 1)), (4,), index.take_op(1, (0,), 1)), [f(4, 3), i(2)]),
    Row(
        index.PutIndexed(Slice((0, 1), (4, 1), (1, 1)), (4,), index.put_op("set", 1, (0,), 1)),
        [f(4, 3), f(1), np.int32([2, 0])],
    ),
    Row(index.MaskedFill(), [f(4, 3), draw((4, 3), "bool")], [-7.0]),
    *(Row(index.GatherAlong(axis), [f(4, 5), i(3, 5, high=4, low=-4)]) for axis in (0,)),
    Row(index.GatherAlong(1), [f(4, 5), i(4, 2)]),
    *(
        Row(index.ScatterAlong(1, mode), [f(4, 5), np.int32([[0, 2, -1]] * 4), f(4, 3, seed=1)])
        for mode in ("set", "add")
    ),
    Row(index.ScatterAlong(0, "add"), [f(4, 5), np.int32([[0, 2], [0, 3]]), f(2, 2)]),
    *(Row(index.OneHot(4, d), [i(2, 3)]) for d in ("int32", "float32", "bool")),
    Row(index.IndexingOneHot(1), [f(2, 4, 3), i(2, 3)]),
    Row(index.IndexingOneHot(0), [f(4), i()]),
]

W4 = f(6, 3, 3, 2, seed=1)
PRODUCTS = [
    *(
        Row(
            dot_product.FusedAttention(causal, 0.5),
            [f(2, 3, 5, 4), f(2, 3, 6, 4, seed=1), f(2, 3, 6, 2, seed=2), *bias],
        )
        for causal in (False, True)
        for bias in ([], [f(2, 3, 5, 6, seed=3)])
    ),
    *(
        Row(linalg.MatMul(), [f(*a).astype(d), f(*b, seed=1).astype(d)])
        for a, b in [((3, 4), (4, 5)), ((2, 1, 3, 4), (3, 4, 5))]
        for d in ("float32", "float64", "float16")
    ),
    *(Row(linalg.Product(ta, tb), [f(3, 3), f(3, 3, seed=1)]) for ta in (True, False) for tb in (True, False)),
    *(
        Row(linalg.Product(), [f(*a).astype(d), f(*b, seed=1).astype(d)])
        for a, b in [((4,), (4, 5)), ((2, 3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5))]
        for d in ("float32", "int32", "int8", "int64")
    ),
    Row(linalg.Product(), [f(3, 4), i(4, 2)]),
    *(
        Row(linalg.Linear(bool(bias)), [f(*lead, 4).astype(d), f(5, 4, seed=1).astype(d), *[f(5).astype(d)] * bias])
        for lead in ((3,), (2, 3), ())
        for bias in (0, 1)
        for d in ("float32", "float16", "float64")
    ),
    Row(einsum.Einsum("...ij,jk->...ki"), [f(2, 3, 4), f(4, 5)]),
    Row(einsum.Einsum("iaib,b->ab"), [f(3, 2, 3, 4), f(4)]),
    Row(einsum.Diagonal(0, 2), [f(3, 2, 3, 4)]),
    Row(einsum.Diagonal(1, 2), [i(2, 3, 3)]),
    Row(einsum.Diagonal(0, 1), [f(1, 1)]),
    Row(linalg.Linear(True), [f(3, 4)], weights=[f(5, 4), f(5)]),
    Row(linalg.Linear(True), [f(2, 3, 4)], weights=[f(5, 4), f(5)]),
    Row(linalg.Linear(True), [f(3, 4), f(5, 4), f(1)]),
    Row(linalg.Dot(), [f(7), f(7, seed=1)]),
    Row(conv.Convolution((2, 1), (1, 0), (1, 2), 1), [f(2, 3, 9, 8), W4]),
    *(
        Row(
            conv.Conv2d((1, 2), (2, 1), (2, 1), 1, bool(bias)),
            [f(2, 3, 9, 8).astype(d), W4.astype(d), *[f(1, 6, 1, 1).astype(d)] * bias],
        )
        for bias in (0, 1)
        for d in ("float32", "float16")
    ),
    Row(conv.Conv2d((1, 1), (1, 1), (1, 1), 2, True), [f(2, 4, 5, 5), f(6, 2, 3, 3), f(1, 6, 1, 1)]),
    Row(conv.Conv2d((1, 1), (1, 1), (1, 1), 2, True), [f(2, 4, 5, 5), f(2, 3, 2, 3, 3), f(6)]),
    Row(conv.Conv2d((1, 1), (1, 1), (1, 1), 4, True), [f(2, 4, 5, 5)], weights=[f(4, 1, 3, 3), f(1, 4, 1, 1)]),
    Row(conv.Conv3d((1, 2, 1), (2, 1, 0), (1, 2, 1), 2, True), [f(1, 4, 3, 6, 5), f(6, 2, 2, 3, 3), f(6)]),
    Row(conv.Conv3d((1, 1, 1), (0, 0, 0), (1, 1, 1), 2, False), [f(1, 4, 3, 4, 5), f(2, 3, 2, 2, 2, 3)]),
    Row(
        conv.ConvolutionBackwardFilter((1, 2, 1), (1, 1, 0), (1, 1, 1), 2, (3, 3, 2)),
        [f(2, 4, 3, 6, 5), f(2, 6, 3, 3, 4)],
    ),
    Row(
        conv.ConvTranspose3d((2, 1, 3), (1, 0, 1), (1, 0, 2), (1, 2, 1), 2, True),
        [f(1, 4, 2, 3, 4), f(4, 3, 2, 3, 2), f(6)],
    ),
    *(Row(conv.Conv1d(2, 1, 1, groups, True), [f(2, 4, 9), f(6, 4 // groups, 3), f(1, 6, 1)]) for groups in (1, 2)),
    Row(conv.ConvolutionBackwardData((2, 2), (1, 1), (1, 1), 1, (8, 7)), [f(3, 4, 3, 3), f(2, 3, 4, 4)]),
    Row(conv.ConvolutionBackwardData((1, 2), (0, 1), (2, 1), 2, (8, 7)), [f(4, 3, 3, 3), f(2, 4, 4, 4)]),
    *(
        Row(
            conv.ConvTranspose2d((2, 3), (1, 0), (1, 2), (1, 2), groups, bool(bias)),
            [f(2, 4, 5, 4), f(4, 3, 3, 2), *[f(3 * groups)] * bias],
        )
        for groups in (1, 2)
        for bias in (0, 1)
    ),
    Row(conv.ConvTranspose2d((2, 2), (0, 0), (0, 0), (1, 1), 2, False), [f(2, 4, 5, 4), f(2, 2, 3, 3, 2)]),
    Row(
        conv.ConvTranspose2d((2, 2), (0, 0), (0, 0), (1, 1), 1, True),
        [f(2, 4, 5, 4, dtype="float16"), f(4, 3, 2, 2, dtype="float16"), f(3, dtype="float16")],
    ),
    Row(conv.ConvolutionBackwardFilter((2, 1), (1, 0), (1, 2), 1, (3, 2)), [f(2, 3, 9, 8), f(2, 6, 5, 6)]),
    Row(conv.ConvolutionBackwardFilter((1, 2), (1, 1), (1, 1), 2, (3, 3)), [f(2, 4, 6, 7), f(2, 6, 6, 4)]),
]

REGIONS = np.arange(40, dtype=np.int32).reshape(2, 4, 5) % 3
LOCAL = [
    Row(local_conv.LocalConv2d((2, 1), (1, 0), (1, 1), True), [f(2, 4, 5, 4), f(2, 3, 3, 2, 3, 2, 3), f(1, 6, 1, 1)]),
    *(
        Row(
            local_conv.RegionRestrictedConv((1, 1), (1, 1), (1, 1), g, False),
            [f(2, 4, 4, 5), f(g, 3, 4 // g, 3, 3), REGIONS, REGIONS],
        )
        for g in (1, 4)
    ),
    Row(local_conv.BatchConv2d((1, 1), (1, 0), (1, 1), 2, True), [f(2, 4, 5, 4), f(2, 6, 2, 3, 3), f(6)]),
    Row(
        deformable.DeformableConv2d((1, 1), (1, 1), (1, 1), 1, False),
        [f(1, 2, 4, 5), f(3, 2, 3, 3), f(1, 18, 4, 5, seed=1), f(1, 9, 4, 5, seed=2)],
    ),
    Row(
        deformable.DeformablePSROIPooling(False, 2, (2, 3), 2, 0.5, 0.1),
        [f(2, 3, 6, 7), np.array([[0, 1, 1, 5, 4], [1, -3, 2, 9, 3]], np.float32), f(2, 2, 2, 2)],
    ),
    Row(AdaptivePooling("max", (2, 3)), [f(2, 3, 5, 6)]),
    Row(AdaptivePooling("average", (2, 3)), [f(2, 3, 5, 6)]),
]

V = [f(4, seed=s) for s in range(3)]
POSITIVE_V = np.abs(V[0]) + 0.5
IMAGES = [
    *(
        Row(Pooling(mode, (3, 2), (2, 1), pad), [f(2, 3, 8, 7).astype(d)])
        for mode in ("max", "average", "average_count_exclude_padding")
        for pad in ((0, 0), (1, 1))
        for d in ("float32", "float16", "int32")
    ),
    Row(Pooling("max", (2, 2), (2, 2), (2, 3)), [f(1, 2, 5, 5)]),
    Row(Pooling("average", (4, 4), (4, 4), (0, 0)), [f(1, 2, 4, 4)]),
    *(
        Row(Interpolate(size, mode, corners), [f(2, 3, 6, 5)], factor=2)
        for mode, corners in [("nearest", False), ("bilinear", True), ("bilinear", False), ("bicubic", False)]
        for size in [(12, 10), (3, 5), (7, 11), (1, 1)]
    ),
    *(
        Row(Interpolate((12, 10), mode, False), [f(2, 3, 6, 5).astype(d)])
        for mode in ("nearest", "bilinear")
        for d in ("float16", "int32")
    ),
    Row(Interpolate((9,), "bilinear", False), [f(2, 3, 6)]),
    Row(layout.PixelShuffle(2), [f(2, 8, 3, 4)]),
    Row(layout.PixelShuffle(2), [f(8, 3, 4)]),
    Row(layout.SlidingWindow((3, 2), (1, 1), (2, 1), (1, 2)), [f(1, 2, 6, 7)]),
    Row(layout.SlidingWindowTranspose((6, 6), (3, 3), (1, 1), (1, 1), (1, 1)), [f(1, 2, 6, 6, 3, 3)]),
]

NORMALIZATION = [
    *(
        Row(normalization.BatchNormInference(), [f(2, 4, *tail)], [1e-5], [V[0], POSITIVE_V, V[1], V[2]])
        for tail in ((), (3,), (3, 5))
    ),
    Row(
        normalization.BatchNormInference(),
        [f(2, 4, 3, 5)],
        [1e-3],
        [v.reshape(1, 4, 1, 1) for v in (V[0], POSITIVE_V, V[1], V[2])],
    ),
    Row(normalization.BatchNormInference(), [f(2, 4, 3)], [1.0, 0.0, 1e-3], [V[0], POSITIVE_V]),
    Row(normalization.BatchNormInference(), [f(2, 4, 3).astype("float16")], [1e-3], [V[0], POSITIVE_V, V[1], V[2]]),
    Row(normalization.BatchNorm(False), [f(3, 4, 5, 6), V[1], V[2]], [1e-5], factor=2),
    *(
        Row(normalization.Normalize(axes, False, "n"), [f(3, 4, 5).astype(d)], [1e-5])
        for axes in ((2,), (1, 2), (1,), (0, 1, 2))
        for d in ("float32", "float64", "float16")
    ),
    Row(normalization.Normalize((2,), True, "n"), [f(3, 5, 4)], [], [np.float32(1e-5), V[1], V[2]]),
    Row(normalization.Normalize((1, 2), True, "n"), [f(3, 5, 4)], [], [np.float32(1e-5), f(5, 4), f(5, 4)]),
    *(Row(normalization.GroupNorm(groups, False, "g"), [f(3, 4, 5, 2)], [1e-5]) for groups in (1, 2, 4)),
    Row(normalization.GroupNorm(2, True, "g"), [f(3, 4, 5)], [], [np.float32(1e-5), V[1], V[2]]),
    Row(normalization.GroupNorm(2, False, "g"), [f(3, 4, 5).astype("float16")], [1e-5]),
    *(Row(normalization.LocalResponseNorm(size), [f(2, 7, 3, 3)], [2.0, 1e-2, 0.75]) for size in (3, 5)),
    *(
        Row(kind(axes), [f(2, 3, 4).astype(d)])
        for kind in (formula.Softmax, formula.LogSoftmax, formula.LogSumExp)
        for axes in ((1,), (2,), (0, 2))
        for d in ("float32", "float16", "float64")
    ),
    *(
        Row(kind((1,)), [np.float32([[-np.inf, 1, 2], [90, 100, -100]])])
        for kind in (formula.Softmax, formula.LogSoftmax, formula.LogSumExp)
    ),
]

ACTIVATIONS = [
    *(
        Row(formula.Activation(mode), [f(3, 17, dtype=d) * 3], parameters)
        for d in ("float32", "float16")
        for mode, parameters in [
            ("gelu", []),
            ("silu", []),
            ("relu6", []),
            ("hsigmoid", []),
            ("hswish", []),
            ("logsigmoid", []),
            ("leaky_relu", [0.01]),
            ("prelu", [0.25]),
            ("clip", [-1.0, 2.0]),
        ]
    ),
    *(
        Row(
            formula.Activation(mode),
            [f(3, 4, seed=n) * 3 for n in range(formula.ACTIVATIONS[mode].__code__.co_argcount)],
        )
        for mode in formula.ACTIVATIONS
        if mode not in ("rmulh", "acosh_grad", "atanh_grad")
    ),
    *(Row(formula.Activation(mode), [f(3, 4) + 2, f(3, 4)]) for mode in ("acosh_grad", "atanh_grad")),
    Row(formula.Activation("rmulh"), [i(3, 4, high=99, low=-99).astype("int8")] * 2),
    Row(formula.Activation("prelu"), [f(2, 3, 4), f(3, 1, seed=1)]),
    Row(formula.Activation("prelu"), [f(4), f(3, 1, seed=1)]),
    Row(formula.Activation("clip"), [f(3, 4), f(1), f(1, seed=3)]),
    Row(formula.Activation("clip"), [f(3, 4)], [2.0, -1.0]),
    Row(formula.Activation("relu6"), [i(3, 4, low=-3, high=9)]),
    Row(formula.Activation("logaddexp"), [f(3, 4), f(3, 4, seed=1)]),
    Row(formula.ScaledSum(), [f(3, 4), f(3, 4, seed=1)], [2.0, 0.5]),
]

LAYOUT = [
    Row(layout.Join(-1), [f(2, 3), f(2, 1)]),
    Row(layout.Join(0), [f(), f(3)]),
    Row(layout.Stack(1), [f(2, 3), f(2, 3, seed=1)]),
    Row(layout.Stack(-1), [i(2, 3), f(2, 3)]),
    Row(layout.Split(1, (0, 2, 3, 6)), [f(2, 6)]),
    Row(layout.Repeat(3, 1), [f(2, 4)]),
    Row(layout.Tile((2, 1, 3)), [f(2, 4)]),
    Row(layout.Roll((1, -2), (0, 1)), [f(3, 5)]),
    Row(layout.RollFlat(4), [f(3, 5)]),
    *(Row(layout.PadBy(mode, (0, 2), (1, 3)), [f(3, 5)]) for mode in ("edge", "reflect")),
    Row(create.FillLike(), [f(2, 3)], [7]),
    Row(create.Diag(1), [f(3, 5)]),
    Row(create.Diag(-1), [f(3)]),
    Row(create.Meshgrid(True), [f(3), f(4), f(2)]),
    Row(create.Arange(4, "float32", ""), [f(), f(seed=1)]),
    Row(create.Linspace(5, "float32", ""), [f(), f(seed=1)]),
    Row(create.Eye(3, 4, "float32", ""), [f()]),
    Row(elemwise.Where(), [draw((3, 4), "bool"), f(3, 4), f(4, seed=1)]),
    *(Row(elemwise.Where(), [draw((3, 4), "bool"), f(3, 4).astype(d), f(4, seed=1).astype(d)]) for d in KINDS),
    Row(elemwise.Where(), [f(3, 4), i(3, 4), f(4)]),
    Row(elemwise.Where(), [draw((3, 4), "bool"), f(3, 4)], [0.0]),
]

LOSSES = [
    *(
        Row(
            loss.ElementwiseLoss(mode, reduction),
            [draw((3, 4), low=0.1, high=0.9), draw((3, 4), low=0.1, high=0.9, seed=1)],
            factor=2,
        )
        for mode in loss.ELEMENTWISE
        for reduction in ("none", "mean", "sum")
    ),
    *(
        Row(
            loss.CrossEntropy(1, logits, smooth, "mean"),
            [draw((5, 4), low=0.1, high=0.9), i(5, high=4)],
            [0.1],
            factor=2,
        )
        for logits in (True, False)
        for smooth in (True, False)
    ),
    Row(loss.BinaryCrossEntropy(), [np.float32([0, 0.25, 1, 1]), np.float32([0, 0.5, 1, 0])]),
    Row(loss.NegativeLogLikelihood(1, "none"), [f(5, 4), i(5, high=4)]),
    Row(loss.TopKAccuracy(2), [f(5, 4), i(5, high=4)]),
]

ALONE = "0", 1  # a group of one process
PROCESSES = [
    *(Row(collective.AllReduce(*ALONE, mode), [f(3, 4)]) for mode in ("SUM", "MAX", "MIN")),
    *(Row(kind(*ALONE), [f(3, 4)]) for kind in (collective.ReduceSum, collective.BroadcastFrom)),
    *(Row(kind(*ALONE, 1), [f(3, 4)]) for kind in (collective.AllGather, collective.ReduceScatter)),
    *(Row(kind(*ALONE, 0), [i(3, 4)]) for kind in (collective.GatherTo, collective.ScatterFrom)),
    Row(collective.AllGather(*ALONE, 0), [f()]),
    Row(collective.AllToAll(*ALONE, 0, 1), [f(3, 4)]),
]

MIXED_PRECISION = [
    Row(precision.Converted(linalg.Product(), "float16"), [f(3, 4), f(4, 5, seed=1)]),
    Row(precision.Converted(Elemwise("EXP"), "float32"), [f(3, 4, dtype="float16")]),
    Row(precision.Narrowed(), [f(3, 4, dtype="float16")]),
    Row(precision.Unscale(), [f(3, 4), f(5, seed=1)], [0.5]),
]

PROJECTION, AFFINE = np.float32([[[0.9, 0.2, 0.3], [-0.1, 1.1, -0.7], [0.02, 0.05, 1.0]]] * 2), ("NCHW", (3, 4))
REGIONS = np.float32([[1, 1, 2, 9, 8], [0, -3, 0, 3, 30], [1, 5, 5, 4, 4], [0, 3.3, 2.2, 7.7, 9.9]])
SAMPLED = [
    *(
        Row(warp.Remap(filter, border, 0.5, "NCHW"), [f(2, 3, 4, 5), 2 * f(2, 3, 3, 2, seed=1)], factor=4)
        for filter, border in [
            ("bilinear", "replicate"), ("bilinear", "constant"), ("bicubic", "reflect_101"), ("nearest", "reflect"), ("lanczos4", "wrap"),
        ]
    ),
    Row(warp.WarpPerspective("bilinear", "reflect", 0.0, *AFFINE), [f(2, 3, 4, 5), PROJECTION], factor=4),
    Row(warp.WarpPerspective("bilinear", "constant", 1.0, *AFFINE), [f(2, 3, 4, 5), PROJECTION, i(2, high=2)], factor=4),
    Row(warp.WarpAffine("bilinear", "wrap", 0.0, "NHWC", (3, 4)), [f(2, 4, 5, 3), PROJECTION[:, :2]], factor=4),
    *(
        Row(roi.ROIAlign(mode, 0.5, 0.5, (2, 3), points), [f(2, 3, 6, 7), REGIONS], factor=4)
        for mode in ("average", "max")
        for points in ((2, 2), (0, 1))
    ),
    *(Row(roi.ROIPooling(mode, 0.5, (2, 3)), [f(2, 3, 6, 7), REGIONS]) for mode in ("average", "max")),
    Row(roi.ROIPooling("max", 1.0, (2, 2)), [f(2, 3, 6, 7).astype("float64"), REGIONS]),
    Row(roi.FirstMax((0, 2)), [f(3, 4, 5)]),
    Row(correlation.Correlation(1, 2, 1, 2, 2, True), [f(1, 2, 5, 6), f(1, 2, 5, 6, seed=1)], factor=4),
    Row(correlation.Correlation(3, 1, 2, 1, 1, False), [f(1, 2, 5, 6), f(1, 2, 5, 6, seed=1)], factor=4),
    *(Row(color.CvtColor(mode), [i(1, 2, 2, 3, high=256, dtype="uint8")]) for mode in ("RGB2GRAY", "YUV2RGB", "BGR2RGB")),
    Row(color.CvtColor("RGB2YUV"), [f(1, 2, 2, 3)], factor=2),
    *(Row(color.CvtColor(f"{kind}_{layout}"), [i(1, 6, 4, 1, high=256, dtype="uint8")])
      for kind, layout in (("YUV2RGB", "NV12"), ("BT601_YUV2BGR", "YV12"), ("YUV2GRAY", "YU12"))),
    Row(Within((1,), 2.0), [f(3, 4), np.arange(4).reshape(1, 4), np.int64([[0], [2], [9]])]),
    Row(Within((0, 1), 0.0), [f(3, 4), np.arange(3).reshape(3, 1), np.arange(4).reshape(1, 4), np.int64([[2]]), np.int64([[3]])]),
    Row(sample.WeightedTaps(index.take_op(2, (1,), 1), (2,)), [f(3, 4), i(5), i(5, seed=1), f(5), f(5, seed=1)]),
]  # fmt: skip

ROWS = [
    *VIEWS,
    *REDUCTIONS,
    *LOOPS,
    *INDICES,
    *PRODUCTS,
    *LOCAL,
    *IMAGES,
    *SAMPLED,
    *NORMALIZATION,
    *ACTIVATIONS,
    *LAYOUT,
    *LOSSES,
    *PROCESSES,
    *MIXED_PRECISION,
]
