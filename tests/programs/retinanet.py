"""A detector of one stage: anchors on two levels, the focal loss, boxes that are decoded and thinned out by topk and nms."""

import math

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, train
from megengine.optimizer import SGD

CLASSES, ANCHORS, STRIDES = 3, 2, (4, 8)


def make_anchors(size):
    """(n, 4) boxes of all levels."""
    found = []
    for stride in STRIDES:
        centres = (np.arange(size // stride) + 0.5) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        for ratio in (1.0, 2.0):
            w, h = 2 * stride * math.sqrt(ratio), 2 * stride / math.sqrt(ratio)
            found.append((stride, np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).reshape(-1, 4)))
    levels = [np.stack([boxes for s, boxes in found if s == stride], 1).reshape(-1, 4) for stride in STRIDES]
    return np.concatenate(levels).astype("float32")


class RetinaNet(M.Module):
    def __init__(self):
        super().__init__()
        self.stem = M.Sequential(M.Conv2d(3, 8, 3, 2, 1), M.ReLU(), M.Conv2d(8, 8, 3, 2, 1), M.ReLU())
        self.down = M.Sequential(M.Conv2d(8, 8, 3, 2, 1), M.ReLU())
        self.lateral = M.Conv2d(8, 8, 1)
        self.tower = M.Sequential(M.Conv2d(8, 8, 3, padding=1), M.ReLU())
        self.cls, self.box = M.Conv2d(8, ANCHORS * CLASSES, 3, padding=1), M.Conv2d(8, ANCHORS * 4, 3, padding=1)
        M.init.fill_(self.cls.bias, -math.log((1 - 0.1) / 0.1))

    def forward(self, x):
        fine = self.stem(x)
        coarse = self.down(fine)
        fine = self.lateral(fine) + F.vision.interpolate(coarse, scale_factor=2, mode="nearest")
        towers = [self.tower(level) for level in (fine, coarse)]
        batch = x.shape[0]
        scores = [self.cls(t).transpose(0, 2, 3, 1).reshape(batch, -1, CLASSES) for t in towers]
        offsets = [self.box(t).transpose(0, 2, 3, 1).reshape(batch, -1, 4) for t in towers]
        return F.concat(scores, axis=1), F.concat(offsets, axis=1)


def focal_loss(logits, targets, alpha=0.25, gamma=2.0):
    p = F.sigmoid(logits)
    cross = -(targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits))
    weight = F.where(targets > 0, F.full_like(p, alpha), F.full_like(p, 1 - alpha))
    return F.sum(weight * F.abs(targets - p) ** gamma * cross)


def smooth_l1(pred, target, beta=0.1):
    x = F.abs(pred - target)
    return F.where(x < beta, 0.5 * x**2 / beta, x - 0.5 * beta)


def decode(anchors, offsets):
    size = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + 0.5 * size + offsets[:, :2] * size
    size = size * F.exp(F.minimum(offsets[:, 2:], 2.0))
    return F.concat([centre - 0.5 * size, centre + 0.5 * size], axis=1)


def detect(net, image, anchors):
    logits, offsets = net(image)
    scores, index = F.topk(F.flatten(F.sigmoid(logits[0])), 12, descending=True)
    box, label = index // CLASSES, index % CLASSES
    boxes = decode(anchors[box], offsets[0][box])
    shift = F.expand_dims(label.astype("float32"), 1) * 100.0
    keep = F.vision.nms(boxes + shift, scores, iou_thresh=0.5)
    return boxes[keep], scores[keep], label[keep]


def run(traced):
    net = fixed(RetinaNet())
    anchors = make_anchors(16)
    count = len(anchors)
    batches = []
    for i in range(3):
        targets = (np.random.RandomState(i).rand(2, count, CLASSES) > 0.95).astype("float32")
        batches.append((array(2, 3, 16, 16, seed=i), targets, array(2, count, 4, seed=i + 5) * 0.2))

    def loss_of(x, targets, goals):
        logits, offsets = net(x)
        positive = F.max(targets, axis=2)
        number = F.maximum(F.sum(positive), 1.0)
        boxes = F.sum(smooth_l1(offsets, goals) * F.expand_dims(positive, 2))
        return (focal_loss(logits, targets) + boxes) / number

    found = train(net, SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4), loss_of, batches, traced)
    net.eval()
    boxes, scores, label = detect(net, mge.tensor(batches[0][0][:1]), mge.tensor(anchors))
    return [*found, *boxes.numpy().ravel().tolist(), *scores.numpy().tolist(), *label.numpy().tolist()]
