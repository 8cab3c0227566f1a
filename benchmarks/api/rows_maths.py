"""Element-wise maths, comparisons, reductions, sorting and linear algebra."""

from __future__ import annotations

from .row import Row, row

MAP = "100|64x1000|1000x1000"
POSITIVE = "100 positive|64x1000 positive|1000x1000 positive"
ABOVE = "100 above one|64x1000 above one|1000x1000 above one"
INSIDE = (
    "100 inside|64x1000 inside|1000x1000 inside"  # at the ends ±1 of the domain, PyTorch's gradients are off by 1e-4
)
WHOLE = "100 int 1 16|64x1000 int 1 16|1000x1000 int 1 16"
TRUTH = "100 bool|64x1000 bool|1000x1000 bool"


def unary(name: str, theirs: str = "", x: str = MAP, grad: bool = True, **more: object) -> Row:
    return row(f"functional.{name}", f"F.{name}(x)", theirs or f"torch.{name}(x)", "x" if grad else "", x=x, **more)


def binary(name: str, theirs: str = "", x: str = MAP, grad: bool = True, y: str = "", **more: object) -> Row:
    ours, theirs = f"F.{name}(x, y)", theirs or f"torch.{name}(x, y)"
    return row(f"functional.{name}", ours, theirs, "x y" if grad else "", x=x, y=y or x, **more)


ROWS = [
    unary("abs", low=True), unary("neg", low=True), unary("square", low=True), unary("exp", low=True), unary("expm1"),
    unary("log", x=POSITIVE, low=True), unary("log1p", x=POSITIVE), unary("sqrt", x=POSITIVE, low=True),
    unary("ceil", grad=False), unary("floor", grad=False), unary("round", grad=False), unary("sign", grad=False),
    unary("sin", low=True), unary("cos"), unary("tan"), unary("asin", x=INSIDE), unary("acos", x=INSIDE), unary("atan"), unary("sinh"), unary("cosh"),
    unary("tanh", low=True), unary("asinh"), unary("acosh", x=ABOVE), unary("atanh", x=INSIDE), unary("erfcx", "torch.special.erfcx(x)"),
    unary("sinc", "torch.special.sinc(x)"), unary("isnan", grad=False), unary("isinf", grad=False),
    row("functional.clip", "F.clip(x, -0.5, 0.5)", "torch.clamp(x, -0.5, 0.5)", "x", x=MAP, low=True),
    unary("abs", x=WHOLE, grad=False, tag="int32"), unary("square", x=WHOLE, grad=False, tag="int32"),
    binary("add", low=True), binary("sub"), binary("mul", low=True), binary("div", y=POSITIVE, low=True),
    binary("maximum", low=True), binary("minimum"), binary("pow", x=POSITIVE, y=MAP), binary("atan2"), binary("logaddexp"),
    binary("floor_div", "torch.floor_divide(x, y)", y=POSITIVE, grad=False),
    binary("mod", "torch.fmod(x, y)", x=POSITIVE, grad=False),
    binary("add", x=WHOLE, grad=False, tag="int32"), binary("mul", x=WHOLE, grad=False, tag="int32"),
    binary("floor_div", "torch.floor_divide(x, y)", x=WHOLE, grad=False, tag="int32"),
    binary("mod", "torch.remainder(x, y)", x=WHOLE, grad=False, tag="int32"),
    binary("maximum", x=WHOLE, grad=False, tag="int32"),
    row("functional.add", "F.add(x, y)", "torch.add(x, y)", "x y", tag="broadcast", x=MAP, y="1|1000|1000"),
    row("functional.mul", "F.mul(x, y)", "torch.mul(x, y)", "x y", tag="broadcast", x=MAP, y="1|64x1|1000x1"),
    row("functional.add", "x + 1.5", "x + 1.5", "x", tag="number", x=MAP, low=True),
    row("functional.mul", "x * 1.5", "x * 1.5", "x", tag="number", x=MAP),
    *[
        row("functional.pow", f"x ** {exponent}", f"x ** {exponent}", "x", tag=f"to {exponent}", x=POSITIVE)
        for exponent in ("2", "3", "0.5", "-1", "-0.5", "1.7")
    ],
    row("functional.pow", "x ** p", "x ** p", "x", tag="to a run-time number", x=POSITIVE, setup="p = float(len('ab'))", their_setup="p = 2.0"),
    *[
        binary(name, theirs, grad=False)
        for name, theirs in (
            ("equal", "torch.eq(x, y)"), ("not_equal", "torch.ne(x, y)"), ("greater", "torch.gt(x, y)"), ("greater_equal", "torch.ge(x, y)"),
            ("less", "torch.lt(x, y)"), ("less_equal", "torch.le(x, y)"),
        )
    ],
    binary("equal", "torch.eq(x, y)", x=WHOLE, grad=False, tag="int32"),
    *[binary(f"logical_{name}", x=TRUTH, grad=False) for name in ("and", "or", "xor")],
    unary("logical_not", x=TRUTH, grad=False),
    binary("left_shift", "torch.bitwise_left_shift(x, y)", x=WHOLE, grad=False),
    binary("right_shift", "torch.bitwise_right_shift(x, y)", x=WHOLE, grad=False),
    # -- reductions
    *[
        row(f"functional.{name}", f"F.{name}(x{axis and f', {axis}'})", f"torch.{name}(x{axis and f', {axis}'})", "x", tag=f"axis {axis or 'all'}", x=MAP if axis != "0" else "10x10|64x1000|1000x1000", low=name in ("sum", "mean"))
        for name in ("sum", "mean", "prod") for axis in ("", "0", "-1")
    ],
    *[
        row(f"functional.{name}", f"F.{name}(x, {axis})", f"torch.a{name}(x, {axis})", "x", tag=f"axis {axis}", x="10x10|64x1000|1000x1000")
        for name in ("max", "min") for axis in ("0", "-1")
    ],
    row("functional.max", "F.max(x)", "torch.max(x)", "x", tag="axis all", x=MAP),
    row("functional.min", "F.min(x)", "torch.min(x)", "x", tag="axis all", x=MAP),
    *[
        row(f"functional.{name}", f"F.{name}(x, {axis})", f"torch.{name}(x, {axis}, correction=0)", "x", tag=f"axis {axis}", x="10x10|64x1000|1000x1000")
        for name in ("var", "std") for axis in ("0", "-1")
    ],
    *[
        row(f"functional.{name}", f"F.{name}(x, {axis})", f"torch.{name}(x, {axis})", tag=f"axis {axis}", x="10x10|64x1000|1000x1000")
        for name in ("argmax", "argmin") for axis in ("0", "-1")
    ],
    row("functional.sum", "F.sum(x, -1)", "torch.sum(x, -1, dtype=torch.int32)", tag="int32", x=WHOLE),
    row("functional.max", "F.max(x, -1)", "torch.amax(x, -1)", tag="int32", x=WHOLE),
    row("functional.norm", "F.norm(x, axis=-1)", "torch.linalg.vector_norm(x, dim=-1)", "x", x=MAP),
    row("functional.norm", "F.norm(x)", "torch.linalg.vector_norm(x)", "x", tag="all", x="100|10000|1000000"),
    row("functional.normalize functional.nn.normalize", "F.normalize(x, axis=1)", "nnf.normalize(x, dim=1)", "x", x="4x25|64x1000|1000x1000"),
    row("functional.cumsum", "F.cumsum(x, -1)", "torch.cumsum(x, -1)", "x", tag="axis -1", x=MAP),
    row("functional.cumsum", "F.cumsum(x, 0)", "torch.cumsum(x, 0)", "x", tag="axis 0", x="10x10|64x1000|1000x1000"),
    row("functional.cumsum", "F.cumsum(x, 0)", "torch.cumsum(x, 0)", "x", tag="one axis", x="100|10000|1000000"),
    row("functional.cumsum", "F.cumsum(x, -1)", "torch.cumsum(x, -1, dtype=torch.int32)", tag="int32", x=WHOLE),
    row("functional.cumsum", "F.cumsum(x, -1)", "torch.cumsum(x, -1)", "x", tag="short rows", x="100x3|1000x7|10000x20"),
    row("functional.cumprod", "F.cumprod(x, -1)", "torch.cumprod(x, -1)", "x", x="100 above one|64x50 above one|10000x20 above one"),
    # -- sorting
    row("functional.sort", "F.sort(x)[0]", "torch.sort(x)[0]", "x", exact=False, x="1x100|64x1000|1000x1000"),
    row("functional.sort", "F.sort(x)[0]", "torch.sort(x)[0]", tag="one row", x="1x1000|1x10000|1x1000000"),
    row("functional.sort", "F.sort(x)[0]", "torch.sort(x)[0]", tag="int32", x="1x100 int 0 9999|64x1000 int 0 9999|1000x1000 int 0 9999"),
    row("functional.argsort", "F.argsort(x)", "torch.argsort(x)", exact=False, x="1x100|64x1000|1000x1000"),
    row("functional.argsort", "F.argsort(x, True)", "torch.argsort(x, descending=True)", exact=False, tag="descending", x="1x100|64x1000|1000x1000"),
    row("functional.topk", "F.topk(x, 5)[0]", "torch.topk(x, 5)[0]", "x", exact=False, x="1x100|64x1000|1000x1000"),
    row("functional.topk", "F.topk(x, 100)[0]", "torch.topk(x, 100)[0]", tag="100", x="1x1000|64x1000|8x100000"),
    row("functional.topk_accuracy", "F.topk_accuracy(x, t, 5)", "(torch.topk(x, 5)[1] == t[:, None]).any(1).float().mean()", x="8x10|64x1000|512x1000", t="8 int 0 10|64 int 0 1000|512 int 0 1000"),
    # -- linear algebra
    row("functional.matmul", "F.matmul(x, y)", "torch.matmul(x, y)", "x y", x="16x16|128x128|512x512", y="16x16|128x128|512x512", low=True),
    row("functional.matmul", "F.matmul(x, y)", "torch.matmul(x, y)", "x y", tag="batches", x="2x8x8|16x64x64|64x128x64", y="2x8x8|16x64x64|64x64x128"),
    row("functional.dot", "F.dot(x, y)", "torch.dot(x, y)", "x y", x="100|10000|1000000", y="100|10000|1000000"),
    row("functional.einsum", "F.einsum('bij,bjk->bik', x, y)", "torch.einsum('bij,bjk->bik', x, y)", "x y", x="2x8x8|16x64x64|64x128x64", y="2x8x8|16x64x64|64x64x128"),
    row("functional.matinv", "F.matinv(x + 8 * e)", "torch.linalg.inv(x + 8 * e)", "x", x="4x4|64x64|256x256", setup="e = F.eye(x.shape[0])", their_setup="e = torch.eye(x.shape[0])"),
    row("functional.svd", "F.svd(x)[1]", "torch.linalg.svd(x, full_matrices=False)[1]", x="4x4|64x64|256x256"),
]  # fmt: skip
