"""The networks of models.json in tengen."""

from __future__ import annotations

from typing import Any

from tengen import models

SMALL: dict[str, Any] = {
    "resnet": lambda weights: models.ResNet((1, 2, 1, 1), num_classes=5, weights=weights),
    "resnext": lambda weights: models.ResNet((1, 1, 1, 1), True, 5, 8, 4, weights),
    "vit": lambda weights: models.VisionTransformer(32, 8, 2, 2, 16, 32, 5, weights=weights),
    "bert": lambda weights: models.Bert(30, 16, 2, 2, 16, 32, weights=weights),
    "gpt": lambda weights: models.GPT(30, 16, 2, 2, 16, weights=weights),
}
