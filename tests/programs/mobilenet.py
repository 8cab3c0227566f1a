"""MobileNetV2 under autocast, with a GradScaler and an average of the weights."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
from common import array, fixed, labels, maybe_traced
from megengine.amp import GradScaler, autocast
from megengine.autodiff import GradManager
from megengine.optimizer import SGD

TOLERANCES = (0.03, 0.03)  # what is computed in 16 bits differs from one processor to the next


class InvertedResidual(M.Module):
    def __init__(self, i, o, stride, expand):
        super().__init__()
        self.shortcut = stride == 1 and i == o
        inner = i * expand
        self.layers = M.Sequential(
            M.ConvBn2d(i, inner, 1, bias=False),
            M.ReLU(),
            M.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            M.BatchNorm2d(inner),
            M.ReLU(),
            M.ConvBn2d(inner, o, 1, bias=False),
        )

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.shortcut else y


class MobileNetV2(M.Module):
    def __init__(self):
        super().__init__()
        self.stem = M.ConvBnRelu2d(3, 8, 3, 2, 1, bias=False)
        self.blocks = M.Sequential(InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 16, 2, 2))
        self.fc = M.Linear(16, 4)

    def forward(self, x):
        x = F.relu6(self.blocks(self.stem(x)))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def run(traced):
    net = fixed(MobileNetV2())
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    manager, scaler = GradManager().attach(net.parameters()), GradScaler(init_scale=16.0)

    @autocast(enabled=True)
    def forward(x, y):
        return F.nn.cross_entropy(net(x), y)

    def step(x, y):
        with manager:
            loss = forward(x, y)
            scaler.backward(manager, loss)
        optimizer.step().clear_grad()
        return loss

    step = maybe_traced(step, traced)
    batches = [(array(4, 3, 16, 16, seed=i), labels(4, 4, seed=i)) for i in range(3)]
    return [float(step(mge.tensor(x), mge.tensor(y)).numpy()) for x, y in batches]
