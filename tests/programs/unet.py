"""A U-Net for masks: pooling down, transposed convolutions up, skips between, Dice and cross-entropy."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
from common import array, fixed, train
from megengine.optimizer import SGD


class DoubleConv(M.Module):
    def __init__(self, i, o):
        super().__init__()
        self.net = M.Sequential(
            M.Conv2d(i, o, 3, padding=1, bias=False),
            M.BatchNorm2d(o),
            M.ReLU(),
            M.ConvBnRelu2d(o, o, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return self.net(x)


class UNet(M.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.bottom = DoubleConv(1, 4), DoubleConv(4, 8), DoubleConv(8, 8)
        self.pool = M.MaxPool2d(2, 2)
        self.up2, self.up1 = M.ConvTranspose2d(8, 8, 2, 2), M.ConvTranspose2d(8, 4, 2, 2)
        self.merge2, self.merge1 = DoubleConv(16, 8), DoubleConv(8, 4)
        self.out = M.Conv2d(4, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        x = self.bottom(self.pool(b))
        x = self.merge2(F.concat([self.up2(x), b], axis=1))
        x = self.merge1(F.concat([self.up1(x), a], axis=1))
        return self.out(x)


def dice(pred, mask):
    pred = F.flatten(F.sigmoid(pred), 1)
    mask = F.flatten(mask, 1)
    return 1 - F.mean((2 * F.sum(pred * mask, axis=1) + 1) / (F.sum(pred, axis=1) + F.sum(mask, axis=1) + 1))


def run(traced):
    net = fixed(UNet())
    batches = [(array(2, 1, 16, 16, seed=i), (array(2, 1, 16, 16, seed=i + 7) > 0).astype("float32")) for i in range(3)]

    def loss_of(x, mask):
        pred = net(x)
        return F.nn.binary_cross_entropy(pred, mask) + dice(pred, mask)

    found = train(net, SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True), loss_of, batches, traced)
    net.eval()
    return found + [float(dice(net(mge.tensor(x)), mge.tensor(m)).numpy()) for x, m in batches]
