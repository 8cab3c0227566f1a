"""Tensors: how they are made, indexed, moved about and read."""

from __future__ import annotations

from .row import Row, row

MAP = "100|64x1000|1000x1000"
PLANE = "10x10|64x1000|1000x1000"
IMAGE = "1x3x8x8|8x16x32x32|8x64x56x56"
N = "n = x.shape[0]"


def filled(name: str, more: str = "") -> list[Row]:
    sizes = "100|64x1000|1000x1000"
    return [
        row(f"functional.{name}", f"F.{name}(x.shape{more})", f"torch.{name}(x.shape{more})", x=sizes),
        row(f"functional.{name}_like", f"F.{name}_like(x{more})", f"torch.{name}_like(x{more})", x=sizes),
    ]


ROWS = [
    *filled("zeros"), *filled("ones"), *filled("full", ", 2.5"),
    row("functional.arange", "F.arange(n)", "torch.arange(n, dtype=torch.float32)", x="100|10000|1000000", setup=N, their_setup=N),
    row("functional.linspace", "F.linspace(0, 1, n)", "torch.linspace(0, 1, n)", x="100|10000|1000000", setup=N, their_setup=N),
    row("functional.eye", "F.eye(n)", "torch.eye(n)", x="10|100|1000", setup=N, their_setup=N),
    row("functional.diag", "F.diag(x)", "torch.diag(x)", "x", x="10|100|1000"),
    row("functional.diag", "F.diag(x)", "torch.diag(x)", "x", tag="of a matrix", x="10x10|100x100|1000x1000"),
    row("functional.copy", "F.copy(x)", "torch.clone(x)", "x", x=MAP),
    row("functional.meshgrid", "F.meshgrid(x, y)[0] + 0", "torch.meshgrid(x, y, indexing='xy')[0] + 0", x="10|100|1000", y="10|100|1000"),
    row("tensor Tensor", "tensor(a)", "torch.tensor(a)", tag="of an array", x=MAP, setup="a = x.numpy().copy()", their_setup="a = x.numpy().copy()"),
    row("tensor", "tensor([1.0, 2.0, 3.0])", "torch.tensor([1.0, 2.0, 3.0])", tag="of a list"),
    row("tensor", "tensor(1.5)", "torch.tensor(1.5)", tag="of a number"),
    row("Tensor.item", "x.item()", "x.item()", x="()"),
    row("Tensor.item", "float(x[3])", "float(x[3])", tag="of an element", x="100"),
    row("Tensor.numpy", "x.numpy()", "x.numpy()", x=MAP),
    row("Tensor.tolist", "x.tolist()", "x.tolist()", x="10|1000|100000"),
    row("Tensor.astype", "x.astype('int32')", "x.to(torch.int32)", x=MAP),
    row("Tensor.astype", "x.astype('bfloat16')", "x.to(torch.bfloat16)", "x", tag="to bfloat16", x=MAP),
    row("Tensor.detach", "x.detach()", "x.detach()", x=MAP),
    row("Tensor.reset_zero", "put(x)", "x.zero_()", x=MAP, setup="def put(x): x.reset_zero(); return x"),
    row("Tensor.set_value", "put(x, y)", "x.copy_(y)", x=MAP, y=MAP, setup="def put(x, y): x.set_value(y); return x"),
    # -- shapes
    row("functional.reshape Tensor.reshape", "F.reshape(x, (-1,))", "torch.reshape(x, (-1,))", "x", x=PLANE),
    row("functional.flatten", "F.flatten(x, 1)", "torch.flatten(x, 1)", "x", x=IMAGE),
    row("functional.expand_dims", "F.expand_dims(x, 0)", "torch.unsqueeze(x, 0)", "x", x=MAP),
    row("functional.squeeze", "F.squeeze(x, 0)", "torch.squeeze(x, 0)", "x", x="1x100|1x64x1000|1x1000x1000"),
    row("functional.broadcast_to", "F.broadcast_to(x, (8, *x.shape))", "torch.broadcast_to(x, (8, *x.shape))", "x", x="100|10000|100000"),
    row("functional.transpose", "F.transpose(x, (0, 2, 3, 1)).reshape(-1)", "torch.permute(x, (0, 2, 3, 1)).reshape(-1)", "x", x=IMAGE),
    row("functional.transpose", "F.transpose(x, (1, 0)) + 1", "torch.permute(x, (1, 0)) + 1", "x", tag="and add", x=PLANE),
    row("functional.swapaxes", "F.swapaxes(x, 0, 1).reshape(-1)", "torch.swapaxes(x, 0, 1).reshape(-1)", "x", x=PLANE, low=True),
    row("functional.concat", "F.concat([x, y], 1)", "torch.cat([x, y], 1)", "x y", x=IMAGE, y=IMAGE),
    row("functional.concat", "F.concat([x, y], 0)", "torch.cat([x, y], 0)", "x y", tag="axis 0", x=PLANE, y=PLANE, low=True),
    row("functional.stack", "F.stack([x, y], 1)", "torch.stack([x, y], 1)", "x y", x=PLANE, y=PLANE),
    row("functional.split", "[part + 1 for part in F.split(x, 2, axis=1)]", "[part + 1 for part in torch.chunk(x, 2, 1)]", x=PLANE),
    row("functional.tile", "F.tile(x, (2, 3))", "torch.tile(x, (2, 3))", "x", x="10x10|64x100|300x1000"),
    row("functional.repeat", "F.repeat(x, 3, axis=1)", "torch.repeat_interleave(x, 3, 1)", "x", x="10x10|64x100|300x1000"),
    row("functional.roll", "F.roll(x, 3, 1)", "torch.roll(x, 3, 1)", "x", x=PLANE),
    # -- choosing
    row("functional.where", "F.where(m, x, y)", "torch.where(m, x, y)", "x y", m="100 bool|64x1000 bool|1000x1000 bool", x=MAP, y=MAP, low=True),
    row("functional.cond_take", "F.cond_take(m, x)[0]", "torch.masked_select(x, m)", "x", m="100 bool|64x1000 bool|1000x1000 bool", x=MAP),
    row("Tensor.index", "x[x > 0]", "x[x > 0]", "x", tag="by a mask", x=MAP),
    row("functional.gather", "F.gather(x, 1, i)", "torch.gather(x, 1, i)", "x", x=PLANE, i="10x5 long 10|64x500 long 1000|1000x500 long 1000"),
    row("functional.gather", "F.gather(x, 0, i)", "torch.gather(x, 0, i)", "x", tag="axis 0", x=PLANE, i="5x10 long 10|32x1000 long 64|500x1000 long 1000"),
    row("functional.scatter", "F.scatter(x, 1, i, s)", "torch.scatter(x, 1, i, s)", x=PLANE, i="10x5 places 10|64x500 places 1000|1000x500 places 1000", s="10x5|64x500|1000x500"),
    row("Tensor.index", "x[i]", "x[i]", "x", tag="by rows", x="10x10|1000x64|30000x64", i="5 long 10|500 long 1000|10000 long 30000"),
    row("Tensor.index", "x[:, i]", "x[:, i]", "x", tag="by columns", x=PLANE, i="5 long 10|500 long 1000|500 long 1000"),
    row("Tensor.index", "x[i, j]", "x[i, j]", "x", tag="by points", x=PLANE, i="5 long 10|5000 long 64|100000 long 1000", j="5 long 10|5000 long 1000|100000 long 1000"),
    row("Tensor.index", "x[1:-1, ::2] + 1", "x[1:-1, ::2] + 1", "x", tag="by slices", x=PLANE),
    row("Tensor.index", "x[3]", "x[3]", tag="by a number", x=PLANE),
    row("Tensor.index", "x[2:5]", "x[2:5]", tag="by a slice", x=PLANE),
    row("Tensor.index", "put(x)", tag="set slice", x=PLANE, setup="def put(x): x[2:5] = 1.5; return x", their_setup="def put(x): x[2:5] = 1.5; return x"),
    row("Tensor.index", "put(x, v)", tag="set rows", x=PLANE, v="3x10|3x1000|3x1000", setup="def put(x, v): x[2:5] = v; return x", their_setup="def put(x, v): x[2:5] = v; return x"),
    row("Tensor.index", "put(x)", tag="set mask", x=MAP, setup="def put(x): x[x > 2] = 1.5; return x", their_setup="def put(x): x[x > 2] = 1.5; return x"),
    row("functional.nn.one_hot functional.one_hot", "F.one_hot(i, 100)", "nnf.one_hot(i, 100)", i="10 long 100|1000 long 100|20000 long 100"),
    row("functional.indexing_one_hot", "F.indexing_one_hot(x, i, 1)", "torch.gather(x, 1, i[:, None].long())[:, 0]", "x", x=PLANE, i="10 int 0 10|64 int 0 1000|1000 int 0 1000"),
    # -- complex numbers
    row("functional.complex", "F.real(F.complex(x, y))", "torch.real(torch.complex(x, y)).clone()", x=MAP, y=MAP),
    row("functional.polar functional.imag functional.real", "F.imag(F.polar(x, y))", "torch.imag(torch.polar(x, y)).clone()", x="100 positive|64x1000 positive|1000x1000 positive", y=MAP),
]  # fmt: skip
