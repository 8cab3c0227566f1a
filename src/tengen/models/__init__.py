"""Well-known networks, by their usual names.

    from tengen import models

    net = models.resnet18(num_classes=10)
    net = models.vit_b_16(weights="vit_b_16.pth")  # a file of torchvision

Weights come from files of PyTorch or safetensors with the names of torchvision or transformers, or of tengen: see `tengen.save`.
"""

from . import bert, convnext, efficientnet, gpt, mobilenet, resnet, shufflenet, swin, vit
from .bert import *  # noqa: F403
from .convnext import *  # noqa: F403
from .efficientnet import *  # noqa: F403
from .gpt import *  # noqa: F403
from .mobilenet import *  # noqa: F403
from .resnet import *  # noqa: F403
from .shufflenet import *  # noqa: F403
from .swin import *  # noqa: F403
from .vit import *  # noqa: F403

__all__ = []
__all__ += bert.__all__
__all__ += convnext.__all__
__all__ += efficientnet.__all__
__all__ += gpt.__all__
__all__ += mobilenet.__all__
__all__ += resnet.__all__
__all__ += shufflenet.__all__
__all__ += swin.__all__
__all__ += vit.__all__
