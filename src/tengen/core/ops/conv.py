"""Convolutions (cross-correlations): three contractions that are each other's gradients."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.geometry import ConvShape
from ...compiler.program import Contraction, Type, Value
from .base import Formula, Grads, promoted_floats
from .elemwise import cast, meeting
from .shape import pad, reshape, zeros

Size = tuple[int, ...]
LINES = {1: "L", 2: "H, W", 3: "D, H, W"}
WINDOWS = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}


class _Convolving(Contraction):
    """The parameters that all three forms share, with one number for each dimension of the images. Weights are (oc, ic
    / groups, kernel…)."""

    stride: Size
    padding: Size
    dilation: Size
    groups: int

    precision = "low"

    @property
    def dims(self) -> int:
        """The number of dimensions of an image."""
        return len(self.stride)

    @property
    def name(self) -> str:
        return f"conv{self.dims}d"

    def sizes(self, x: tuple[int, ...], w: tuple[int, ...]) -> ConvShape:
        n, ic, *size = x
        oc, _, *kernel = w
        return ConvShape(n, ic, tuple(size), oc, tuple(kernel), *self.sliding())

    def output(self, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[int, ...]:
        zipped = zip(x[2:], w[2:], self.stride, self.padding, self.dilation, strict=True)
        return (x[0], w[0], *[(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in zipped])

    def simplify(self, inputs: Sequence[Value]) -> Value | None:
        """Without images or channels there is nothing to sum."""
        if inputs[0].size and inputs[1].size:
            return None
        return zeros(inputs[0].builder, *self.infer(*(v.type for v in inputs)))

    def check(self) -> None:
        """Raises ValueError for numbers that no convolution can have."""
        if min(*self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise ValueError(
                f"{self.name}: stride {self.stride}, dilation {self.dilation} and groups {self.groups} must be positive and padding "
                f"{self.padding} not negative"
            )

    def sliding(self) -> tuple[Size, Size, Size, int]:
        """How the window goes over an image: stride, padding, dilation, groups."""
        return self.stride, self.padding, self.dilation, self.groups


class Convolution(_Convolving):
    """y from x (n, ic, size…) and w (oc, ic / groups, kernel…)."""

    form = "forward"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        return (self.result(self.name, *types),)

    def result(self, name: str, x: Type, w: Type) -> Type:
        """The type of the result. Errors call the op by this name."""
        self.check()
        if {len(x.shape), len(w.shape)} != {self.dims + 2}:
            raise ValueError(
                f"{name} takes an input (N, C, {LINES[self.dims]}) and a weight (out, in / groups, {WINDOWS[self.dims]}), "
                f"got {x.shape} and {w.shape}"
            )
        if x.shape[1] != w.shape[1] * self.groups or w.shape[0] % self.groups:
            raise ValueError(
                f"{name}: an input of {x.shape[1]} channels, shape {x.shape}, does not fit a weight of shape {w.shape} in "
                f"{self.groups} group{'s' * (self.groups != 1)}; the weight takes {w.shape[1] * self.groups} channels"
            )
        shape = self.output(x.shape, w.shape)
        if min(shape[2:]) <= 0:
            raise ValueError(
                f"{name}: a kernel of {w.shape[2:]} with dilation {self.dilation} does not fit into {x.shape} with padding {self.padding}"
            )
        return Type(promoted_floats(name, (x, w)), shape)

    def geometry(self, types: Sequence[Type], out: Type) -> ConvShape:
        x, w = types
        return self.sizes(x.shape, w.shape)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, w), (g,) = inputs, grads
        if g is None:
            return [None, None]
        by_data = ConvolutionBackwardData(*self.sliding(), x.shape[2:])
        return [by_data(w, g), ConvolutionBackwardFilter(*self.sliding(), w.shape[2:])(x, g)]


class ConvolutionBackwardData(_Convolving):
    """The x-gradient of a Convolution from w and dy, which is also the transposed convolution. `size` is that of an
    image of the result."""

    size: Size

    form = "by data"

    @property
    def name(self) -> str:
        return f"conv_transpose{self.dims}d"

    def infer(self, *types: Type) -> tuple[Type, ...]:
        self.check()
        w, dy = types
        if {len(dy.shape), len(w.shape)} != {self.dims + 2} or dy.shape[1] != w.shape[0]:
            raise ValueError(
                f"{self.name}: an input of shape {dy.shape} does not fit a weight of shape {w.shape} (in, out / groups, "
                f"{WINDOWS[self.dims]})"
            )
        x = (dy.shape[0], w.shape[1] * self.groups, *self.size)
        if self.output(x, w.shape) != dy.shape:
            raise ValueError(f"{self.name}: no result of size {self.size} convolves to shape {dy.shape}")
        return (Type(promoted_floats(self.name, types), x),)

    def geometry(self, types: Sequence[Type], out: Type) -> ConvShape:
        return self.sizes(out.shape, types[0].shape)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (w, dy), (g,) = inputs, grads
        if g is None:
            return [None, None]
        by_filter = ConvolutionBackwardFilter(*self.sliding(), w.shape[2:])
        return [by_filter(g, dy), Convolution(*self.sliding())(g, w)]


class ConvolutionBackwardFilter(_Convolving):
    """The w-gradient of a Convolution from x and dy. `size` is that of the kernel."""

    size: Size

    form = "by weight"

    @property
    def name(self) -> str:
        return type(self).__name__

    def infer(self, *types: Type) -> tuple[Type, ...]:
        self.check()
        x, dy = types
        w = (dy.shape[1], x.shape[1] // self.groups, *self.size)
        if x.shape[1] % self.groups or dy.shape[1] % self.groups or self.output(x.shape, w) != dy.shape:
            raise ValueError(
                f"conv{self.dims}d: an input of shape {x.shape} and a weight of {w} do not give shape {dy.shape}"
            )
        return (Type(promoted_floats(self.name, types), w),)

    def geometry(self, types: Sequence[Type], out: Type) -> ConvShape:
        return self.sizes(types[0].shape, out.shape)

    def grad(self, inputs: Sequence[Value], outputs: Sequence[Value], grads: Grads) -> Grads:
        (x, dy), (g,) = inputs, grads
        if g is None:
            return [None, None]
        by_data = ConvolutionBackwardData(*self.sliding(), x.shape[2:])
        return [by_data(g, dy), Convolution(*self.sliding())(x, g)]


class _Conv(Formula):
    """The convolution that users call: inputs x, weight and perhaps a bias of oc numbers.

    A grouped weight may have one more dim: (groups, oc / groups, ic / groups, kernel…).
    """

    stride: Size
    padding: Size
    dilation: Size
    groups: int
    bias: bool

    precision = "low"

    @property
    def name(self) -> str:
        return f"conv{len(self.stride)}d"

    def expand(self, *inputs: Value) -> Value:
        x, w, *bias = inputs
        w = ungrouped(w, len(self.stride))
        x, w = meeting(self.name, x, w)
        y: Value = Convolution(self.stride, self.padding, self.dilation, self.groups)(x, w)
        return _biased(y, bias[0]) if self.bias else y


class Conv2d(_Conv):
    """Over images (N, C, H, W)."""


class Conv3d(_Conv):
    """Over volumes (N, C, D, H, W)."""


def ungrouped(w: Value, dims: int) -> Value:
    """A weight (groups, a, b, kernel…) as (groups * a, b, kernel…); others stay as they are."""
    return reshape(w, (w.shape[0] * w.shape[1], *w.shape[2:])) if w.ndim == dims + 3 else w


def _biased(y: Value, bias: Value) -> Value:
    return y + cast(reshape(bias, (1, y.shape[1], *[1] * (y.ndim - 2))), y.dtype)


class Conv1d(Formula):
    """Conv2d of images of one row: inputs x (N, C, L), weight (oc, ic / groups, k) and perhaps a bias of oc numbers."""

    stride: int
    padding: int
    dilation: int
    groups: int
    bias: bool

    name = "conv1d"
    precision = "low"

    def expand(self, *inputs: Value) -> Value:
        x, w, *bias = inputs
        if x.ndim != 3 or w.ndim not in (3, 4):
            raise ValueError(
                f"conv1d takes an input (N, C, L) and a weight (out, in / groups, k), got {x.shape} and {w.shape}"
            )
        image, kernel = (reshape(v, (*v.shape[:-1], 1, v.shape[-1])) for v in (x, w))
        conv = Conv2d((1, self.stride), (0, self.padding), (1, self.dilation), self.groups, self.bias)
        y = conv.expand(image, kernel, *bias)
        return reshape(y, (*y.shape[:2], y.shape[3]))


class _ConvTranspose(Formula):
    """The transposed convolution that users call: inputs x, weight (ic, oc / groups, kernel…) and perhaps a bias of oc numbers.

    A grouped weight may have one more dim: (groups, ic / groups, oc / groups, kernel…).
    """

    stride: Size
    padding: Size
    output_padding: Size
    dilation: Size
    groups: int
    bias: bool

    precision = "low"

    @property
    def name(self) -> str:
        return f"conv_transpose{len(self.stride)}d"

    def expand(self, *inputs: Value) -> Value:
        x, w, *bias = inputs
        dims = len(self.stride)
        w = ungrouped(w, dims)
        if {x.ndim, w.ndim} != {dims + 2} or x.shape[1] != w.shape[0] or x.shape[1] % self.groups:
            raise ValueError(
                f"{self.name}: an input of shape {x.shape} does not fit a weight of shape {w.shape} in {self.groups} "
                f"group{'s' * (self.groups != 1)}; it takes (N, in, {LINES[dims]}) and (in, out / groups, {WINDOWS[dims]})"
            )
        x, w = meeting(self.name, x, w)
        # No step of an image adds a whole stride to the result's end: that would be another pixel, which is 0.
        pixels = [o // t for o, t in zip(self.output_padding, self.stride, strict=True)]
        x = pad(x, [0] * x.ndim, [0, 0, *pixels])
        extra = [o % t for o, t in zip(self.output_padding, self.stride, strict=True)]
        zipped = zip(x.shape[2:], w.shape[2:], self.stride, self.padding, extra, self.dilation, strict=True)
        size = tuple((s - 1) * t - 2 * p + d * (k - 1) + 1 + o for s, k, t, p, o, d in zipped)
        if min(size) <= 0:
            raise ValueError(
                f"{self.name}: padding {self.padding} leaves nothing of the result, whose size would be {size}, for an input of shape {x.shape} "
                f"and a weight of shape {w.shape} with stride {self.stride}"
            )
        by_data = ConvolutionBackwardData(self.stride, self.padding, self.dilation, self.groups, size)
        y: Value = by_data(w, x)
        return _biased(y, bias[0]) if self.bias else y


class ConvTranspose2d(_ConvTranspose):
    """Over images (N, C, H, W)."""


class ConvTranspose3d(_ConvTranspose):
    """Over volumes (N, C, D, H, W)."""
