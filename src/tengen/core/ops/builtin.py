"""The ops under the names that MegEngine's `core.ops.builtin` gives them, for `apply(builtin.SomeOp(…), *tensors)`."""

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ...base.missing import explain_module
from . import color, correlation, resample, roi, sample, warp
from .attention import MultiHeadAttn
from .base import sizes
from .conv import Convolution, ConvolutionBackwardData
from .conv import Convolution as Convolution3D
from .conv import ConvolutionBackwardData as Convolution3DBackwardData
from .create import Arange, Diag, Eye, Linspace
from .create import Meshgrid as MeshGrid
from .deformable import DeformableConv2d as DeformableConv
from .deformable import DeformablePSROIPooling
from .elemwise import TypeCvt
from .formula import Softmax, elementwise, modes
from .host import SVD, MatrixInverse
from .index import IndexingOneHot
from .layout import SlidingWindow as Images2Neibs
from .layout import SlidingWindowTranspose
from .linalg import MatMul as BatchedMatrixMul
from .linalg import MatMul as MatrixMul
from .local_conv import BatchConv2d as BatchConvBias
from .local_conv import LocalConv2d as GroupLocal
from .local_conv import RegionRestrictedConv as RegionRestrictedConvolution
from .pool import AdaptivePooling, Pooling
from .random import Dropout
from .random import Normal as GaussianRNG
from .random import Uniform as UniformRNG
from .recurrent import LSTM, RNN, LSTMCell, RNNCell
from .reduce import Reduce
from .scan import CumSum as Cumsum
from .shape import Broadcast, Copy, Fill, Reshape
from .shape import Concatenate as Concat
from .shape import Transpose as Dimshuffle
from .sort import TopK


class Elemwise:
    """`Elemwise(mode)`: the op of an element-wise mode, given by name or as `Elemwise.Mode.ADD`."""

    Mode = SimpleNamespace(**{mode.upper(): mode.upper() for mode in modes()})

    def __new__(cls, mode: str) -> Any:
        return elementwise(mode)


def _members(names: Iterable[str]) -> SimpleNamespace:
    return SimpleNamespace(**{name.upper(): name.upper() for name in names})


def _chosen(op: str, parameter: str, value: str, choices: Mapping[str, Any]) -> Any:
    """The value that a name stands for, in upper or lower case."""
    if str(value).upper() not in choices:
        raise ValueError(f"{op}: {parameter} must be one of {', '.join(choices)}, got {value!r}")
    return choices[str(value).upper()]


_FILTERS = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic", "LANCZOS4": "lanczos4"}
_BORDERS = {border.upper(): border for border in sample.BORDERS}
_FORMATS = {format: format for format in warp.CHANNELS}
_BINS = {"AVERAGE": "average", "MAX": "max"}
_COLORS = {name.upper(): color.SAME.get(name, name) for name in (*color.MODES, *color.SAMPLED, *color.SAME)}
_Size = Sequence[int]


class _Reads:
    """What ops that read images elsewhere have in common. `size`, the height and width of the result, is an input in
    MegEngine; in a Program it is a parameter."""

    InterpolationMode, BorderMode, Format = _members(_FILTERS), _members(_BORDERS), _members(_FORMATS)

    @classmethod
    def _how(cls, imode: str, border: str, fill: float, format: str) -> tuple[str, str, float, str]:
        name = cls.__name__
        chosen = _chosen(name, "imode", imode, _FILTERS), _chosen(name, "the border", border, _BORDERS)
        return *chosen, float(fill), _chosen(name, "format", format, _FORMATS)


class Remap(_Reads):
    """The op of `functional.vision.remap`."""

    def __new__(
        cls, imode: str = "LINEAR", border_type: str = "REPLICATE", format: str = "NHWC", scalar: float = 0.0
    ) -> Any:
        return warp.Remap(*cls._how(imode, border_type, scalar, format))


class WarpAffine(_Reads):
    """The op of `functional.vision.warp_affine`."""

    def __new__(
        cls,
        imode: str = "LINEAR",
        border_mode: str = "REPLICATE",
        border_val: float = 0.0,
        format: str = "NHWC",
        *,
        size: _Size,
    ) -> Any:
        return warp.WarpAffine(*cls._how(imode, border_mode, border_val, format), sizes("WarpAffine", "size", size))


class WarpPerspective(_Reads):
    """The op of `functional.vision.warp_perspective`."""

    def __new__(
        cls,
        imode: str = "LINEAR",
        bmode: str = "REPLICATE",
        format: str = "NCHW",
        border_val: float = 0.0,
        *,
        size: _Size,
    ) -> Any:
        how = cls._how(imode, bmode, border_val, format)
        return warp.WarpPerspective(*how, sizes("WarpPerspective", "size", size))


class Resize(_Reads):
    """The op of `functional.vision.interpolate` for (N, C, H, W)."""

    def __new__(cls, imode: str = "LINEAR", format: str = "NCHW", *, size: _Size) -> Any:
        _chosen("Resize", "format", format, {"NCHW": "NCHW"})
        known = {name: filter for name, filter in _FILTERS.items() if name != "LANCZOS4"}
        return resample.Interpolate(sizes("Resize", "size", size), _chosen("Resize", "imode", imode, known), False)


class Resize3D:
    """The op of `functional.vision.interpolate` for (N, C, D, H, W)."""

    InterpolationMode, Format = _members(["LINEAR"]), _members(["NCDHW"])

    def __new__(cls, imode: str = "LINEAR", format: str = "NCDHW", align_corners: bool = False, *, size: _Size) -> Any:
        _chosen("Resize3D", "format", format, {"NCDHW": "NCDHW"})
        mode = _chosen("Resize3D", "imode", imode, {"LINEAR": "bilinear"})
        return resample.Interpolate(sizes("Resize3D", "size", size), mode, bool(align_corners))


class ROIAlign:
    """The op of `functional.vision.roi_align`."""

    Mode, Format = _members(_BINS), _members(["NCHW"])

    def __new__(
        cls,
        mode: str = "MAX",
        format: str = "NCHW",
        spatial_scale: float = 1.0,
        offset: float = 0.0,
        pooled_height: int = 1,
        pooled_width: int = 1,
        sample_height: int = 2,
        sample_width: int = 2,
    ) -> Any:
        _chosen("ROIAlign", "format", format, {"NCHW": "NCHW"})
        bins = sizes("ROIAlign", "pooled_height and pooled_width", (pooled_height, pooled_width))
        points = sizes("ROIAlign", "sample_height and sample_width", (sample_height, sample_width), 0)
        known = _chosen("ROIAlign", "mode", mode, _BINS)
        return roi.ROIAlign(known, float(spatial_scale), float(offset), bins, points)


class ROIPooling:
    """The op of `functional.vision.roi_pooling`."""

    Mode = _members(_BINS)

    def __new__(cls, mode: str = "MAX", scale: float = 1.0, *, size: _Size) -> Any:
        return roi.ROIPooling(
            _chosen("ROIPooling", "mode", mode, _BINS), float(scale), sizes("ROIPooling", "size", size)
        )


class Correlation:
    """The op of `functional.vision.correlation`."""

    Format = _members(["NCHW"])

    def __new__(
        cls,
        format: str = "NCHW",
        kernel_size: int = 1,
        max_displacement: int = 1,
        stride1: int = 1,
        stride2: int = 1,
        pad_size: int = 0,
        is_multiply: bool = True,
    ) -> Any:
        _chosen("Correlation", "format", format, {"NCHW": "NCHW"})
        return correlation.Correlation(kernel_size, max_displacement, stride1, stride2, pad_size, is_multiply)


class CvtColor:
    """The op of `functional.vision.cvt_color`."""

    Mode = _members(_COLORS)

    def __new__(cls, mode: str = "RGB2GRAY") -> Any:
        return color.CvtColor(_chosen("CvtColor", "mode", mode, _COLORS))


__all__ = [
    "LSTM",
    "RNN",
    "SVD",
    "AdaptivePooling",
    "Arange",
    "BatchConvBias",
    "BatchedMatrixMul",
    "Broadcast",
    "Concat",
    "Convolution",
    "Convolution3D",
    "Convolution3DBackwardData",
    "ConvolutionBackwardData",
    "Copy",
    "Correlation",
    "Cumsum",
    "CvtColor",
    "DeformableConv",
    "DeformablePSROIPooling",
    "Diag",
    "Dimshuffle",
    "Dropout",
    "Elemwise",
    "Eye",
    "Fill",
    "GaussianRNG",
    "GroupLocal",
    "Images2Neibs",
    "IndexingOneHot",
    "LSTMCell",
    "Linspace",
    "MatrixInverse",
    "MatrixMul",
    "MeshGrid",
    "MultiHeadAttn",
    "Pooling",
    "RNNCell",
    "ROIAlign",
    "ROIPooling",
    "Reduce",
    "RegionRestrictedConvolution",
    "Remap",
    "Reshape",
    "Resize",
    "Resize3D",
    "SlidingWindowTranspose",
    "Softmax",
    "TopK",
    "TypeCvt",
    "UniformRNG",
    "WarpAffine",
    "WarpPerspective",
]

explain_module(__name__)
