"""ShuffleNetV2: branches that are split, shuffled and joined, grouped convolutions, Adam."""

import megengine.functional as F
import megengine.module as M
from common import array, fixed, labels, train
from megengine.optimizer import Adam


class ShuffleBlock(M.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.stride = stride
        inner = out_channels // 2
        main_in = in_channels if stride == 2 else in_channels // 2
        self.branch_main = M.Sequential(
            M.Conv2d(main_in, inner, 1, bias=False),
            M.BatchNorm2d(inner),
            M.ReLU(),
            M.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            M.BatchNorm2d(inner),
            M.Conv2d(inner, inner, 1, bias=False),
            M.BatchNorm2d(inner),
            M.ReLU(),
        )
        self.branch_proj = None
        if stride == 2:
            self.branch_proj = M.Sequential(
                M.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
                M.BatchNorm2d(in_channels),
                M.Conv2d(in_channels, inner, 1, bias=False),
                M.BatchNorm2d(inner),
                M.ReLU(),
            )

    def forward(self, old_x):
        if self.stride == 1:
            x_proj, x = self.channel_shuffle(old_x)
            return F.concat((x_proj, self.branch_main(x)), 1)
        return F.concat((self.branch_proj(old_x), self.branch_main(old_x)), 1)

    @staticmethod
    def channel_shuffle(x):
        batch, channels, height, width = x.shape
        x = F.reshape(x, (batch * channels // 2, 2, height * width))
        x = F.transpose(x, (1, 0, 2))
        x = F.reshape(x, (2, -1, channels // 2, height, width))
        return x[0], x[1]


class ShuffleNetV2(M.Module):
    def __init__(self):
        super().__init__()
        self.first_conv = M.Sequential(M.Conv2d(3, 8, 3, 2, 1, bias=False), M.BatchNorm2d(8), M.ReLU())
        self.features = M.Sequential(ShuffleBlock(8, 16, 2), ShuffleBlock(16, 16, 1))
        self.globalpool = M.AvgPool2d(4)
        self.classifier = M.Sequential(M.Dropout(0.0), M.Linear(16, 4, bias=False))

    def forward(self, x):
        x = self.globalpool(self.features(self.first_conv(x)))
        return self.classifier(x.reshape(-1, 16))


def run(traced):
    net = fixed(ShuffleNetV2())
    decay = [p for name, p in net.named_parameters() if name.endswith("weight") and p.ndim > 1 and p.size > 16]
    plain = [p for p in net.parameters() if all(p is not other for other in decay)]
    optimizer = Adam([{"params": decay, "weight_decay": 1e-3}, {"params": plain}], lr=0.01, eps=1e-3)
    batches = [(array(4, 3, 16, 16, seed=i), labels(4, 4, seed=i)) for i in range(3)]
    return train(net, optimizer, lambda x, y: F.loss.cross_entropy(net(x), y), batches, traced)
