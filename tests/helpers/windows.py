"""Convolution and pooling in plain NumPy loops, in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np


def padded(x: np.ndarray, padding: tuple[int, int], fill: float = 0.0) -> np.ndarray:
    (top, left) = padding
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=fill)


def counts(size: tuple[int, ...], kernel, stride, dilation) -> tuple[int, ...]:
    zipped = zip(size, kernel, stride, dilation, strict=True)
    return tuple((s - d * (k - 1) - 1) // t + 1 for s, k, t, d in zipped)


def windows(x: np.ndarray, kernel, stride=(1, 1), dilation=(1, 1)) -> np.ndarray:
    """(N, C, H, W) → (N, C, OH, OW, kh, kw)."""
    rows, columns = counts(x.shape[2:], kernel, stride, dilation)
    out = np.empty((*x.shape[:2], rows, columns, *kernel))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride[0], j * stride[1]
            down = slice(top, top + dilation[0] * (kernel[0] - 1) + 1, dilation[0])
            right = slice(left, left + dilation[1] * (kernel[1] - 1) + 1, dilation[1])
            out[:, :, i, j] = x[:, :, down, right]
    return out


def conv2d(x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) -> np.ndarray:
    """w: (out, in / groups, kh, kw)."""
    seen = windows(padded(x, padding), w.shape[2:], stride, dilation)
    parts = zip(np.split(seen, groups, 1), np.split(w, groups, 0), strict=True)
    return np.concatenate([np.einsum("ncijkl,ockl->noij", s, v) for s, v in parts], 1)


def conv_transpose2d(
    x, w, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
) -> np.ndarray:
    """w: (in, out / groups, kh, kw)."""
    zipped = zip(x.shape[2:], w.shape[2:], stride, dilation, output_padding, strict=True)
    full = [(s - 1) * t + d * (k - 1) + 1 + o for s, k, t, d, o in zipped]
    out = np.zeros((x.shape[0], w.shape[1] * groups, *full))
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    for g in range(groups):
        ins, outs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                for k in range(w.shape[2]):
                    for m in range(w.shape[3]):
                        row, column = i * stride[0] + k * dilation[0], j * stride[1] + m * dilation[1]
                        out[:, outs, row, column] += x[:, ins, i, j] @ w[ins, :, k, m]
    (top, left), (rows, columns) = padding, full
    return out[:, :, top : rows - top, left : columns - left]


def seen_by(tap, counts, stride, dilation) -> tuple[slice, ...]:
    """What of (…, size…) one tap of a window sees, for as many results as `counts`."""
    zipped = zip(tap, counts, stride, dilation, strict=True)
    return (..., *[slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in zipped])


def conv(x, w, stride, padding, dilation, groups=1) -> np.ndarray:
    """Over any number of dimensions. w: (out, in / groups, kernel…)."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    size = counts(x.shape[2:], w.shape[2:], stride, dilation)
    out, per_in, per_out = np.zeros((x.shape[0], w.shape[0], *size)), w.shape[1], w.shape[0] // groups
    for g, tap in product(range(groups), np.ndindex(*w.shape[2:])):
        outs = slice(g * per_out, (g + 1) * per_out)
        seen = x[:, g * per_in : (g + 1) * per_in][seen_by(tap, size, stride, dilation)]
        out[:, outs] += np.einsum("nc...,oc->no...", seen, w[outs][(..., *tap)])
    return out


def conv_transpose(x, w, stride, padding, output_padding, dilation, groups=1) -> np.ndarray:
    """Over any number of dimensions. w: (in, out / groups, kernel…)."""
    zipped = zip(x.shape[2:], w.shape[2:], stride, dilation, output_padding, strict=True)
    full = [(s - 1) * t + d * (k - 1) + 1 + o for s, k, t, d, o in zipped]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    out = np.zeros((x.shape[0], per_out * groups, *full))
    for g, tap in product(range(groups), np.ndindex(*w.shape[2:])):
        ins, outs = slice(g * per_in, (g + 1) * per_in), slice(g * per_out, (g + 1) * per_out)
        made = np.einsum("nc...,co->no...", x[:, ins], w[ins][(..., *tap)])
        out[:, outs][seen_by(tap, x.shape[2:], stride, dilation)] += made
    return out[(..., *[slice(p, n - p) for p, n in zip(padding, full, strict=True)])]


def pool2d(x, fold: Callable[..., np.ndarray], kernel, stride, padding=(0, 0), fill: float = 0.0) -> np.ndarray:
    return fold(windows(padded(x, padding, fill), kernel, stride), axis=(4, 5))
