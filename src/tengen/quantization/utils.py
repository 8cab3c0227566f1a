"""QParams and fake quantisation as functions."""

from .._rt import apply
from ..autodiff import Function
from ..core import Tensor
from ..module.quantization import utils as _utils
from ..module.quantization.utils import *  # noqa: F403
from ..module.quantization.utils import _builtin_quant_dtypes  # noqa: F401

__all__ = ["Function", "Tensor", "apply", *_utils.__all__]
