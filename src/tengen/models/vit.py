"""Vision transformers. Dosovitskiy et al., An Image is Worth 16x16 Words, 2021."""

from __future__ import annotations

import math

from .. import functional as F
from .. import module as M
from ..core import Parameter, Tensor
from .layers import SelfAttention, mlp
from .weights import File, load_weights

__all__ = ["VisionTransformer", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"]


class _Block(M.Module):
    """Attention, then two layers, each on normalised input and added to its input. Figure 1, right."""

    def __init__(self, features: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.ln_1, self.ln_2 = M.LayerNorm(features, 1e-6), M.LayerNorm(features, 1e-6)
        self.self_attention = SelfAttention(features, heads)
        self.dropout, self.mlp = M.Dropout(dropout), mlp(features, hidden, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attention(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class _Encoder(M.Module):
    def __init__(self, length: int, depth: int, features: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.pos_embedding = Parameter(F.zeros((1, length, features)))
        M.init.normal_(self.pos_embedding, 0.0, 0.02)
        blocks = {f"encoder_layer_{index}": _Block(features, heads, hidden, dropout) for index in range(depth)}
        self.dropout, self.layers, self.ln = M.Dropout(dropout), M.Sequential(blocks), M.LayerNorm(features, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(M.Module):
    """Images (N, 3, image_size, image_size), normalised, to logits (N, num_classes). Names of parameters are torchvision's.

    Args:
        image_size: side of the images in pixels; a multiple of `patch`.
        patch: side of the squares that images are cut into, in pixels.
        depth: blocks.
        heads: attention heads.
        features, hidden: between blocks, and between the two layers inside one.
        num_classes: the number of classes.
        dropout: the probability with which elements are dropped in training.
        weights: see `ResNet`.

    Raises:
        ValueError: image_size is not a multiple of the patch.
        StateDictError: the weights are those of another network.

    >>> net = tengen.models.VisionTransformer(32, 8, depth=1, heads=2, features=16, hidden=32, num_classes=5)
    >>> net(F.zeros((2, 3, 32, 32))).shape
    (2, 5)
    """

    def __init__(
        self,
        image_size: int,
        patch: int,
        depth: int,
        heads: int,
        features: int,
        hidden: int,
        num_classes: int = 1000,
        dropout: float = 0.0,
        weights: File = None,
    ):
        super().__init__()
        if image_size % patch:
            raise ValueError(f"VisionTransformer: image_size {image_size} is not a multiple of patch {patch}")
        self.image_size = image_size
        self.conv_proj = M.Conv2d(3, features, patch, patch)
        self.class_token = Parameter(F.zeros((1, 1, features)))
        self.encoder = _Encoder((image_size // patch) ** 2 + 1, depth, features, heads, hidden, dropout)
        self.heads = M.Sequential({"head": M.Linear(features, num_classes)})
        M.init.normal_(self.conv_proj.weight, 0.0, math.sqrt(1 / (3 * patch * patch)))
        for layer in self.encoder.modules():
            if isinstance(layer, M.Linear):
                M.init.xavier_uniform_(layer.weight)
        M.init.zeros_(self.heads.head.weight)
        old = {r"\.mlp\.linear_1\.": ".mlp.0.", r"\.mlp\.linear_2\.": ".mlp.3."}
        load_weights(self, weights, old, head=("heads.head.weight", "heads.head.bias"))

    def features(self, x: Tensor) -> Tensor:
        """One row of features for the image, then one for each patch.

        Args:
            x: images (N, 3, image_size, image_size).

        Returns: a tensor (N, 1 + patches, features).

        Raises:
            ValueError: the images have another size.
        """
        if tuple(x.shape[2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f"VisionTransformer: images of {self.image_size}×{self.image_size} pixels are needed, got shape {tuple(x.shape)}"
            )
        patches = F.flatten(self.conv_proj(x), 2).transpose(0, 2, 1)
        token = F.broadcast_to(self.class_token, (x.shape[0], 1, patches.shape[2]))
        return self.encoder(F.concat([token, patches], axis=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.features(x)[:, 0])


def vit_b_16(num_classes: int = 1000, image_size: int = 224, weights: File = None) -> VisionTransformer:
    """ViT-B/16, with 86.6 million parameters.

    Args:
        num_classes, image_size, weights: see `VisionTransformer`.

    Returns: the network.
    """
    return VisionTransformer(image_size, 16, 12, 12, 768, 3072, num_classes, weights=weights)


def vit_b_32(num_classes: int = 1000, image_size: int = 224, weights: File = None) -> VisionTransformer:
    """ViT-B/32, with 88.2 million parameters.

    Args:
        num_classes, image_size, weights: see `VisionTransformer`.

    Returns: the network.
    """
    return VisionTransformer(image_size, 32, 12, 12, 768, 3072, num_classes, weights=weights)


def vit_l_16(num_classes: int = 1000, image_size: int = 224, weights: File = None) -> VisionTransformer:
    """ViT-L/16, with 304.3 million parameters.

    Args:
        num_classes, image_size, weights: see `VisionTransformer`.

    Returns: the network.
    """
    return VisionTransformer(image_size, 16, 24, 16, 1024, 4096, num_classes, weights=weights)


def vit_l_32(num_classes: int = 1000, image_size: int = 224, weights: File = None) -> VisionTransformer:
    """ViT-L/32, with 306.5 million parameters.

    Args:
        num_classes, image_size, weights: see `VisionTransformer`.

    Returns: the network.
    """
    return VisionTransformer(image_size, 32, 24, 16, 1024, 4096, num_classes, weights=weights)


def vit_h_14(num_classes: int = 1000, image_size: int = 224, weights: File = None) -> VisionTransformer:
    """ViT-H/14, with 632.0 million parameters.

    Args:
        num_classes, image_size, weights: see `VisionTransformer`.

    Returns: the network.
    """
    return VisionTransformer(image_size, 14, 32, 16, 1280, 5120, num_classes, weights=weights)
