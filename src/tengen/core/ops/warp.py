"""Images read at the positions of a map, or of a matrix for each image."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.program import Type, Value
from .base import INTS, Formula
from .elemwise import cast
from .sample import How, as_positions, half_even, half_up, sample, stored
from .shape import Slice, reshape, transpose

Pair = tuple[int, int]
CHANNELS = {"NCHW": 1, "NHWC": 3}  # the places of the two dims of the image


class _Warp(Formula, abstract=True):
    """What ops that read an image elsewhere have in common: `filter`, a row of sample.FILTERS or "nearest"; `border`, a
    row of sample.BORDERS, with the number `fill` if that is "constant"; and `format`, "NCHW" or "NHWC", of the image
    and the result.
    """

    filter: str
    border: str
    fill: float
    format: str

    nearest = staticmethod(half_even)

    def planes(self, x: Value) -> Value:
        """The image as (N, C, H, W)."""
        if x.ndim != 4 or not all(x.shape[2:] if self.format == "NCHW" else x.shape[1:3]):
            raise ValueError(f"{self.name} takes an image ({', '.join(self.format)}), not empty, got shape {x.shape}")
        return x if self.format == "NCHW" else transpose(x, (0, 3, 1, 2))

    def read(self, x: Value, image: Value | None, rows: Value, columns: Value) -> Value:
        how = How(self.filter, self.border, self.fill, self.nearest)
        made = stored(sample(self.planes(x), image, (rows, columns), how), x.dtype)
        return made if self.format == "NCHW" else transpose(made, (0, 2, 3, 1))


class Remap(_Warp):
    """Pixel (i, j) of image n is the image at column map[n, i, j, 0] and row map[n, i, j, 1]. Inputs: image, map (N, OH, OW, 2)."""

    filter: str
    border: str
    fill: float
    format: str

    name = "remap"

    def expand(self, *inputs: Value) -> Value:
        x, places = inputs
        if places.ndim != 4 or places.shape[3] != 2 or places.shape[0] != x.shape[0]:
            raise ValueError(
                f"remap: map_xy of shape {places.shape} does not fit an image of shape {x.shape}; it must be "
                f"({x.shape[0]}, height, width, 2)"
            )
        places = as_positions(places, x)
        columns, rows = (_last(places, (k,), places.shape[:3]) for k in (0, 1))
        return self.read(x, None, rows, columns)


class _ByMatrix(_Warp, abstract=True):
    """Pixel (i, j) of the result, of `size`, is the image at the position that the matrix gives for column j and row i."""

    size: Pair
    rows: int

    def positions(self, x: Value, matrix: Value) -> list[Value]:
        """Each row of the matrices applied to (j, i, 1): (M, OH, OW)."""
        if matrix.ndim != 3 or matrix.shape[1:] != (self.rows, 3):
            raise ValueError(f"{self.name} takes matrices (N, {self.rows}, 3), got shape {matrix.shape}")
        matrix = as_positions(matrix, x)
        dtype, iota = matrix.dtype, matrix.builder.iota
        down, right = cast(iota((self.size[0], 1)), dtype), cast(iota((1, self.size[1])), dtype)
        made = []
        for row in range(self.rows):
            a, b, c = (_last(matrix, (row, k), (matrix.shape[0], 1, 1)) for k in range(3))
            made.append(a * right + b * down + c)
        return made

    def check_count(self, x: Value, matrix: Value) -> None:
        if matrix.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"{self.name}: {x.shape[0]} images and {matrix.shape[0]} matrices, of shapes {x.shape} and {matrix.shape}; there must be "
                f"one for each{', or mat_idx that says for which' if self.rows == 3 else ''}"
            )


class WarpPerspective(_ByMatrix):
    """At (m0 · v / m2 · v, m1 · v / m2 · v) of v = (column, row, 1). Inputs: image, matrices (M, 3, 3), perhaps the image of each."""

    filter: str
    border: str
    fill: float
    format: str
    size: Pair

    name = "warp_perspective"
    rows = 3

    def expand(self, *inputs: Value) -> Value:
        x, matrix, *image = inputs
        column, row, scale = self.positions(x, matrix)
        if image:
            _check_images(self.name, image[0].type, matrix.type)
        else:
            self.check_count(x, matrix)
        return self.read(x, image[0] if image else None, row / scale, column / scale)


class WarpAffine(_ByMatrix):
    """At (m0 · v, m1 · v) of v = (column, row, 1). Inputs: image, matrices (N, 2, 3)."""

    filter: str
    border: str
    fill: float
    format: str
    size: Pair

    name = "warp_affine"
    rows = 2
    nearest = staticmethod(half_up)

    def expand(self, *inputs: Value) -> Value:
        x, matrix = inputs
        column, row = self.positions(x, matrix)
        self.check_count(x, matrix)
        return self.read(x, None, row, column)


def _check_images(op: str, image: Type, matrix: Type) -> None:
    if image.dtype not in INTS:
        raise TypeError(f"{op}: mat_idx must be integers, got {image.dtype}; convert it with .astype('int32')")
    if image.shape != matrix.shape[:1]:
        raise ValueError(f"{op}: mat_idx of shape {image.shape} does not fit {matrix.shape[0]} matrices")


def _last(x: Value, place: Sequence[int], shape: Sequence[int]) -> Value:
    """The elements at this place of the last dims, in another shape."""
    whole = x.ndim - len(place)
    part = Slice((*[0] * whole, *place), (*x.shape[:whole], *[1] * len(place)), (1,) * x.ndim)(x)
    return reshape(part, shape)
