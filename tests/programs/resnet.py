"""A small ResNet on images, with SGD and a schedule of the learning rate."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
from common import array, fixed, labels, train
from megengine.optimizer import SGD


class BasicBlock(M.Module):
    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        self.conv1 = M.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = M.BatchNorm2d(channels)
        self.conv2 = M.Conv2d(channels, channels, 3, 1, padding=1, bias=False)
        self.bn2 = M.BatchNorm2d(channels)
        self.downsample = (
            M.Identity()
            if in_channels == channels and stride == 1
            else M.Sequential(M.Conv2d(in_channels, channels, 1, stride, bias=False), M.BatchNorm2d(channels))
        )

    def forward(self, x):
        identity = self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x + identity)


class ResNet(M.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.stem = M.Sequential(M.Conv2d(3, 8, 3, 2, 1, bias=False), M.BatchNorm2d(8), M.ReLU(), M.MaxPool2d(3, 2, 1))
        self.layer1 = BasicBlock(8, 8)
        self.layer2 = BasicBlock(8, 16, 2)
        self.fc = M.Linear(16, num_classes)
        for m in self.modules():
            if isinstance(m, M.Conv2d):
                M.init.msra_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, M.BatchNorm2d):
                M.init.ones_(m.weight)
                M.init.zeros_(m.bias)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        x = F.flatten(F.avg_pool2d(x, x.shape[-1]), 1)
        return self.fc(x)


def run(traced):
    net = fixed(ResNet())
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    batches = [(array(4, 3, 16, 16, seed=i), labels(4, 4, seed=i)) for i in range(3)]
    found = train(net, optimizer, lambda x, y: F.nn.cross_entropy(net(x), y, label_smooth=0.1), batches, traced)
    net.eval()
    return found + F.softmax(net(mge.tensor(batches[0][0]))).numpy().ravel().tolist()
