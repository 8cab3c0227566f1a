"""How real numbers become quantised ones: a scale, a zero point, and the kind of the integers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..base.quantized import KINDS, QuantDtypeMeta


class QuantMode(Enum):
    """Whether 0 is the integer 0 (spelled as in MegEngine) or a zero point that is another parameter.

    Args:
        module: a network.

    >>> from tengen.quantization import QuantMode
    >>> QuantMode.SYMMERTIC.name
    'SYMMERTIC'
    """

    SYMMERTIC = 1
    ASYMMERTIC = 2


class QParams:
    """Scale, zero point and kind of quantised numbers.

    Args:
        mode: symmetric or not.
        dtype_meta: the kind of the integers.
        scale, zero_point: tensors of float32; None for what there is not.

    >>> from tengen.quantization import create_qparams
    >>> create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5)).dtype_meta.qmax
    127
    """

    __slots__ = ("dtype_meta", "mode", "scale", "zero_point")

    def __init__(
        self, mode: QuantMode | None, dtype_meta: QuantDtypeMeta | None, scale: Any = None, zero_point: Any = None
    ):
        self.mode, self.dtype_meta, self.scale, self.zero_point = mode, dtype_meta, scale, zero_point

    def update(self, qparams: QParams) -> None:
        """Take over the values of another one."""
        for name in self._fields():
            setattr(self, name, getattr(qparams, name))

    @classmethod
    def _fields(cls) -> tuple[str, ...]:
        return ("mode", "dtype_meta", "scale", "zero_point")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self._fields())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "QParams(" + ", ".join(f"{name}={getattr(self, name)}" for name in self._fields()) + ")"


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "numpy") and hasattr(b, "numpy"):
        return bool((a.numpy() == b.numpy()).all())
    return bool(a == b)


class LSQParams(QParams):
    """`QParams` of a learned step size.

    Args:
        mode: symmetric or not.
        dtype_meta: the kind of the integers.
        scale, zero_point: tensors of float32; None for what there is not.
        grad_scale: what the gradient of the step is multiplied by.

    >>> from tengen.quantization import create_qparams
    >>> type(create_qparams(scale=tengen.tensor(0.5), grad_scale=0.1)).__name__
    'LSQParams'
    """

    __slots__ = ("grad_scale",)

    def __init__(self, mode: Any, dtype_meta: Any, scale: Any, zero_point: Any, grad_scale: Any):
        super().__init__(mode, dtype_meta, scale, zero_point)
        self.grad_scale = grad_scale

    def update(self, qparams: QParams) -> None:
        """Take over the values of another one, and its `grad_scale` if it has one."""
        for name in self._fields():
            setattr(self, name, getattr(qparams, name, getattr(self, name)))

    @classmethod
    def _fields(cls) -> tuple[str, ...]:
        return (*super()._fields(), "grad_scale")


def create_qparams(
    mode: QuantMode | None = QuantMode.SYMMERTIC,
    dtype_meta: str | QuantDtypeMeta | None = None,
    scale: Any = None,
    zero_point: Any = None,
    grad_scale: Any = None,
) -> QParams:
    """`QParams`, or `LSQParams` if there is a `grad_scale`.

    Args:
        mode: symmetric or not.
        dtype_meta: the kind of the integers, or its name such as "qint8".
        scale, zero_point: tensors of float32; None for what there is not.
        grad_scale: what the gradient of a learned step is multiplied by.

    Returns: a QParams.

    Raises:
        ValueError: the name is unknown.

    >>> from tengen.quantization import create_qparams
    >>> create_qparams(dtype_meta="qint8", scale=tengen.tensor(0.5)).scale.item()
    0.5
    """
    kind = meta_of(dtype_meta) if dtype_meta is not None else None
    if grad_scale is None:
        return QParams(mode, kind, scale, zero_point)
    return LSQParams(mode, kind, scale, zero_point, grad_scale)


class UnknownKind(ValueError, KeyError):
    """The name is not that of a kind of quantised dtype."""

    __str__ = ValueError.__str__


def meta_of(kind: str | QuantDtypeMeta) -> QuantDtypeMeta:
    """The kind of a quantised dtype, given by name or as itself. ValueError for an unknown name, TypeError for anything
    else."""
    if isinstance(kind, QuantDtypeMeta):
        return kind
    if not isinstance(kind, str):
        raise TypeError(f"a kind of quantised dtype must be a name or a QuantDtypeMeta, got {kind!r}")
    if kind not in KINDS:
        raise UnknownKind(f"{kind!r} is not a kind of quantised dtype; those are {', '.join(KINDS)}")
    return KINDS[kind]
