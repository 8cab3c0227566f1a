"""Functions on tensors. Those of the modules elemwise, math, tensor, nn and metric stand here too, but for losses, which are in
`loss` and `nn`, and what only `nn` and `vision` have.
"""

from . import debug_param, distributed, elemwise, inplace, loss, math, metric, nn, quantized, tensor, vision
from .activation import *  # noqa: F403
from .attention import *  # noqa: F403
from .comparison import *  # noqa: F403
from .complex_numbers import *  # noqa: F403
from .convolution import *  # noqa: F403
from .creation import *  # noqa: F403
from .elemwise import *  # noqa: F403
from .local_convolution import *  # noqa: F403
from .math import *  # noqa: F403
from .metric import *  # noqa: F403
from .nn import *  # noqa: F403
from .normalization import *  # noqa: F403
from .pooling import *  # noqa: F403
from .tensor import *  # noqa: F403
from .trigonometry import *  # noqa: F403

__all__ = [
    "debug_param",
    "distributed",
    "elemwise",
    "inplace",
    "loss",
    "math",
    "metric",
    "nn",
    "quantized",
    "tensor",
    "vision",
]
__all__ += elemwise.__all__
__all__ += math.__all__
__all__ += metric.__all__
__all__ += nn.__all__
__all__ += tensor.__all__
