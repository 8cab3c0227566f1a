"""The ops under the names that MegEngine's `core.ops.builtin` gives them, for `apply(builtin.SomeOp(…), *tensors)`."""

from types import SimpleNamespace
from typing import Any

from ...base.missing import explain_module
from .attention import MultiHeadAttn
from .conv import Convolution, ConvolutionBackwardData
from .conv import Convolution as Convolution3D
from .conv import ConvolutionBackwardData as Convolution3DBackwardData
from .create import Arange, Diag, Eye, Linspace
from .create import Meshgrid as MeshGrid
from .elemwise import TypeCvt
from .formula import Softmax, elementwise, modes
from .host import SVD, MatrixInverse
from .index import IndexingOneHot
from .linalg import MatMul as BatchedMatrixMul
from .linalg import MatMul as MatrixMul
from .pool import Pooling
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
    """`Elemwise(mode)`: the op of an element-wise mode, given by its name or as `Elemwise.Mode.ADD`."""

    Mode = SimpleNamespace(**{mode.upper(): mode.upper() for mode in modes()})

    def __new__(cls, mode: str) -> Any:
        return elementwise(mode)


__all__ = [
    "LSTM",
    "RNN",
    "SVD",
    "Arange",
    "BatchedMatrixMul",
    "Broadcast",
    "Concat",
    "Convolution",
    "Convolution3D",
    "Convolution3DBackwardData",
    "ConvolutionBackwardData",
    "Copy",
    "Cumsum",
    "Diag",
    "Dimshuffle",
    "Dropout",
    "Elemwise",
    "Eye",
    "Fill",
    "GaussianRNG",
    "IndexingOneHot",
    "LSTMCell",
    "Linspace",
    "MatrixInverse",
    "MatrixMul",
    "MeshGrid",
    "MultiHeadAttn",
    "Pooling",
    "RNNCell",
    "Reduce",
    "Reshape",
    "Softmax",
    "TopK",
    "TypeCvt",
    "UniformRNG",
]

explain_module(__name__)
