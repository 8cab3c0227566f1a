"""Quantised dtypes, of integers, which they have exactly: what is in the middle between two numbers would else be rounded to either."""

from __future__ import annotations

from typing import Any

import numpy as np

from .row import Draw, Row

BYTE, SHIFTED = "qint8(1.0)", "quint8(1.0,100)"


def _whole(steps: Any) -> Any:
    """Rounded and saturated to 8 bits."""
    return np.clip(np.copysign(np.floor(np.abs(steps) + 0.5), steps), -128, 127)


def _faked(x: Any) -> Any:
    """With a step of 0.5."""
    return np.clip(x * 2.0, -128, 127) * 0.5


#: code of two tensors of int8 → meaning
QUANTIZED = {
    "{0}.astype('qint8(0.5)').astype('float32')": lambda a, b: _faked(a),
    f"({{0}}.astype('{BYTE}') + {{1}}.astype('{BYTE}')).astype('float32')": lambda a, b: _whole(a * 1.0 + b),
    f"F.where({{0}}.astype('{BYTE}') > {{1}}.astype('{BYTE}'), {{0}}, {{1}})": lambda a, b: np.where(a > b, a, b),
    f"F.max({{0}}.astype('{SHIFTED}'), 0).astype('float32')": lambda a, b: np.clip(a * 1.0, -100, 155).max(0),
    f"F.concat([{{0}}.astype('{BYTE}'), {{1}}.astype('{BYTE}')])[::-1].astype('float32')": lambda a, b: (
        np.concatenate([a, b])[::-1] * 1.0
    ),
    "F.sum({0}.astype('qint32(1.0)'), 0).astype('float32')": lambda a, b: a.sum(0) * 1.0,
    f"F.full({{0}}.shape, 2.0, dtype='{SHIFTED}').astype('float32') + {{1}}": lambda a, b: 2.0 + b,
    f"apply(quantized.Rounded(Elemwise('MUL'), '{BYTE}'), {{0}}.astype('{BYTE}'), {{1}}.astype('{BYTE}')).astype('float32')": (
        lambda a, b: _whole(a * 1.0 * b)
    ),
    "apply(fake_quant.FakeQuant(-128, 127), {0}.astype('float32'), 0.5)": lambda a, b: _faked(a),
    "apply(fake_quant.TQT(-128, 127), {0}.astype('float32'), -1.0)": lambda a, b: _faked(a),
    "apply(fake_quant.LSQ(-128, 127), {0}.astype('float32'), 0.5, 0.0, 1.0)": lambda a, b: _faked(a),
}
OF_CHANNELS = (
    f"apply(quantized.OfChannels(Linear(False)), {{0}}.astype('{BYTE}'), F.transpose({{1}}, (1, 0)).astype('{BYTE}'), "
    "F.arange({1}.shape[1]) + 0.5)"
)
PRODUCT = f"F.matmul({{0}}.astype('{BYTE}'), {{1}}.astype('{BYTE}')).astype('float32')"


def _row(code: str, meaning: Any, rank: int | None = None) -> Row:
    def draw(d: Draw) -> Any:
        x = d.tensor(("int8",), ranks=(rank,) if rank else (1, 2, 3), empty=False, most=500)
        shape = d.shape_of(x)
        return [x, d.like(shape[::-1] if rank == 2 else shape, ("int8",))], {}

    dtype = "promoted" if code.startswith("F.where") else "float32"
    return Row(f"quantised {code}", code, draw, lambda p, a, b: meaning(a, b), dtype, "exact", weight=0.3)


ROWS = [
    *(_row(code, meaning) for code, meaning in QUANTIZED.items()),
    _row(OF_CHANNELS, lambda a, b: a.astype(np.float64) @ b.astype(np.float64) * (np.arange(b.shape[1]) + 0.5), rank=2),
    _row(PRODUCT, lambda a, b: a.astype(np.float64) @ b.astype(np.float64), rank=2),
]
