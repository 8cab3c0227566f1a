"""The networks of models.json in tengen."""

from __future__ import annotations

from typing import Any

from tengen import models

SMALL: dict[str, Any] = {
    "resnet": lambda weights: models.ResNet((1, 2, 1, 1), num_classes=5, weights=weights),
    "resnext": lambda weights: models.ResNet((1, 1, 1, 1), True, 5, 8, 4, weights),
    "vit": lambda weights: models.VisionTransformer(32, 8, 2, 2, 16, 32, 5, weights=weights),
    "mobilenet_v2": lambda weights: models.MobileNetV2(0.25, 5, weights),
    "mobilenet_v3": lambda weights: models.MobileNetV3(
        [(3, 16, 16, True, False, 2), (5, 40, 24, False, True, 2), (3, 64, 24, True, True, 1)], 32, 5, weights
    ),
    "shufflenet": lambda weights: models.ShuffleNetV2((2, 1, 2), (8, 16, 32, 64, 64), 5, weights),
    "efficientnet": lambda weights: models.EfficientNet(0.25, 0.3, 0.2, 5, weights=weights),
    "convnext": lambda weights: models.ConvNeXt((2, 1), (8, 16), 0.0, 5, weights),
    "swin": lambda weights: models.SwinTransformer(8, (2, 2), (2, 4), 3, 0.0, 5, weights),
    "bert": lambda weights: models.Bert(30, 16, 2, 2, 16, 32, weights=weights),
    "gpt": lambda weights: models.GPT(30, 16, 2, 2, 16, weights=weights),
}
