"""Colours: images (N, H, W, C) converted from one colour space to another.

Coefficients are those of ITU-R BT.601. Bytes are computed in fixed point, like the reference's, so they are equal to
its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.program import Value
from .base import FLOATS, Formula
from .elemwise import Elemwise, cast
from .sample import MAX, MIN
from .shape import Concatenate, Slice, reshape, transpose

SHIFT = Elemwise("SHR")
BITS = 14  # bits of the fraction of fixed-point coefficients


def _weighted(terms: Sequence[tuple[float, Value]], half: bool = False) -> Value:
    """The sum of products, plus the middle of the range if `half`; rounded for integers."""
    integral = terms[0][1].dtype == "int32"
    made = None
    for coefficient, value in terms:
        part = value * (round(coefficient * (1 << BITS)) if integral else coefficient)
        made = part if made is None else made + part
    assert made is not None
    if not integral:
        return made + 0.5 if half else made
    return SHIFT(made + ((128 << BITS if half else 0) + (1 << BITS - 1)), BITS)


def _gray(r: Value, g: Value, b: Value) -> list[Value]:
    return [_weighted([(0.299, r), (0.587, g), (0.114, b)])]


def _to_yuv(b: Value, g: Value, r: Value) -> list[Value]:
    (y,) = _gray(r, g, b)
    return [y, _weighted([(0.492, b - y)], True), _weighted([(0.877, r - y)], True)]


def _from_yuv(y: Value, u: Value, v: Value) -> list[Value]:
    middle = 128 if y.dtype == "int32" else 0.5
    u, v = u - middle, v - middle
    b, g, r = [(2.032, u)], [(-0.395, u), (-0.581, v)], [(1.14, v)]
    return [y + _weighted(terms) for terms in (b, g, r)]


#: mode → the channels of the image, and the function that gives those of the result. In "YUV" blue comes first, despite
#: its name, as in the reference.
MODES: dict[str, tuple[int, Callable[..., list[Value]]]] = {
    "RGB2GRAY": (3, _gray),
    "BGR2GRAY": (3, lambda b, g, r: _gray(r, g, b)),
    "RGBA2GRAY": (4, lambda r, g, b, a: _gray(r, g, b)),
    "RGB2YUV": (3, _to_yuv),
    "YUV2RGB": (3, _from_yuv),
    "GRAY2RGB": (1, lambda y: [y, y, y]),
    "RGB2BGR": (3, lambda r, g, b: [b, g, r]),
    "BGR2RGB": (3, lambda b, g, r: [r, g, b]),
    "RGBA2RGB": (4, lambda r, g, b, a: [r, g, b]),
    "RGBA2BGR": (4, lambda r, g, b, a: [b, g, r]),
}


def _full(y: Value, u: Value, v: Value) -> list[Value]:
    """Red, green, blue from luma and colour differences of full range."""
    return [y + SHIFT(v * 359, 8), y - SHIFT(u * 88 + v * 183, 8), y + SHIFT(u * 454, 8)]


def _video(y: Value, u: Value, v: Value) -> list[Value]:
    """Red, green, blue from luma that runs from 16 to 235."""
    y = y * 149 - 2321  # less 16 · 149, and rounded with halves down, so that the bytes are the reference's
    return [SHIFT(y + v * 204, 7), SHIFT(y - u * 50 - v * 104, 7), SHIFT(y + u * 256, 7)]


#: layout of the colour differences after the luma → whether they alternate, and whether v comes first
LAYOUTS = {"NV12": (True, False), "NV21": (True, True), "YU12": (False, False), "YV12": (False, True)}
SAMPLED = [
    *(f"YUV2{to}_{layout}" for to in ("GRAY", "RGB", "BGR") for layout in LAYOUTS),
    *(f"BT601_YUV2{to}_{layout}" for to in ("RGB", "BGR") for layout in LAYOUTS),
]
#: Other names of modes.
SAME = {"YCrCb2RGB": "YUV2RGB_NV21", "YCrCb2BGR": "YUV2BGR_NV21"}


class CvtColor(Formula):
    """`mode`, a row of MODES for (N, H, W, C), or one of SAMPLED for bytes (N, H · 3 / 2, W, 1): the luma of all
    pixels, then the colour differences of each two by two pixels."""

    mode: str

    name = "cvt_color"

    def expand(self, *inputs: Value) -> Value:
        (x,) = inputs
        if self.mode in MODES:
            channels, formula = MODES[self.mode]
            if x.ndim != 4 or x.shape[3] != channels:
                raise ValueError(f"cvt_color: {self.mode} takes images (N, H, W, {channels}), got shape {x.shape}")
            if x.dtype != "uint8" and x.dtype not in FLOATS:
                raise TypeError(f"cvt_color: {self.mode} takes images of uint8 or floats, got {x.dtype}")
            parts = [Slice((0, 0, 0, c), (*x.shape[:3], 1), (1,) * 4)(x) for c in range(channels)]
            return self._joined(formula(*map(_working, parts)), x.dtype)
        if x.dtype != "uint8":
            raise TypeError(f"cvt_color: {self.mode} takes uint8, got {x.dtype}")
        return self._sampled(x)

    def _sampled(self, x: Value) -> Value:
        if x.ndim != 4 or x.shape[3] != 1 or x.shape[1] % 3 or x.shape[2] % 2:
            raise ValueError(
                f"cvt_color: {self.mode} takes (N, H · 3 / 2, W, 1) with H and W even, got shape {x.shape}"
            )
        n, (high, wide) = x.shape[0], (x.shape[1] // 3, x.shape[2] // 2)
        luma = Slice((0, 0, 0, 0), (n, 2 * high, 2 * wide, 1), (1,) * 4)(x)
        kind, _, layout = self.mode.rpartition("_")
        if kind.endswith("GRAY"):
            return luma
        rest = Slice((0, 2 * high, 0, 0), (n, high, 2 * wide, 1), (1,) * 4)(x)
        alternate, v_first = LAYOUTS[layout]
        planes = reshape(rest, (n, high, wide, 2) if alternate else (n, 2, high, wide))
        planes = planes if alternate else transpose(planes, (0, 2, 3, 1))
        pair = [Slice((0, 0, 0, k), (n, high, wide, 1), (1,) * 4)(planes) for k in (0, 1)]
        v, u = (cast(reshape(p, (n, high, 1, wide, 1, 1)), "int32") - 128 for p in (pair if v_first else pair[::-1]))
        y = cast(reshape(luma, (n, high, 2, wide, 2, 1)), "int32")
        red, green, blue = (_video if kind.startswith("BT601") else _full)(y, u, v)
        made = self._joined([blue, green, red] if kind.endswith("BGR") else [red, green, blue], "uint8")
        return reshape(made, (n, 2 * high, 2 * wide, 3))

    def _joined(self, channels: Sequence[Value], dtype: str) -> Value:
        """Channels side by side along the last axis."""
        if channels[0].dtype == "int32":
            channels = [MIN(MAX(c, 0), 255) for c in channels]
        made = [cast(c, dtype) for c in channels]
        return made[0] if len(made) == 1 else Concatenate(channels[0].ndim - 1)(*made)


def _working(x: Value) -> Value:
    """The dtype that a channel is computed in."""
    return cast(x, "int32" if x.dtype == "uint8" else "float64" if x.dtype == "float64" else "float32")
