"""Layers, and Module to build networks of them."""

from . import (
    activation,
    batchnorm,
    conv,
    conv_bn,
    dropout,
    elemwise,
    embedding,
    identity,
    init,
    linear,
    local_conv,
    module,
    multiheadattn,
    normalization,
    pad,
    pooling,
    rnn,
    sequential,
    sliding_window,
)
from .activation import *  # noqa: F403
from .batchnorm import *  # noqa: F403
from .conv import *  # noqa: F403
from .conv_bn import *  # noqa: F403
from .dropout import *  # noqa: F403
from .elemwise import *  # noqa: F403
from .embedding import *  # noqa: F403
from .identity import *  # noqa: F403
from .linear import *  # noqa: F403
from .local_conv import *  # noqa: F403
from .module import *  # noqa: F403
from .multiheadattn import *  # noqa: F403
from .normalization import *  # noqa: F403
from .pad import *  # noqa: F403
from .pooling import *  # noqa: F403
from .rnn import *  # noqa: F403
from .sequential import *  # noqa: F403
from .sliding_window import *  # noqa: F403

__all__ = ["init"]
__all__ += activation.__all__
__all__ += batchnorm.__all__
__all__ += conv.__all__
__all__ += conv_bn.__all__
__all__ += dropout.__all__
__all__ += elemwise.__all__
__all__ += embedding.__all__
__all__ += identity.__all__
__all__ += linear.__all__
__all__ += local_conv.__all__
__all__ += module.__all__
__all__ += multiheadattn.__all__
__all__ += normalization.__all__
__all__ += pad.__all__
__all__ += pooling.__all__
__all__ += rnn.__all__
__all__ += sequential.__all__
__all__ += sliding_window.__all__
