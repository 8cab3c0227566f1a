"""LeNet-5 with ReLU and max pooling (LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998)."""

from __future__ import annotations

import tengen.functional as F
import tengen.module as M

from ... import Tensor


class LeNet(M.Module):
    """Images of shape (N, 1, 32, 32) to logits of shape (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = M.Conv2d(1, 6, 5)
        self.pool1 = M.MaxPool2d(2, 2)
        self.conv2 = M.Conv2d(6, 16, 5)
        self.pool2 = M.MaxPool2d(2, 2)
        self.fc1 = M.Linear(16 * 5 * 5, 120)
        self.fc2 = M.Linear(120, 84)
        self.classifier = M.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.conv1(x)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.classifier(x)
