"""A detector of two stages: proposals of a first network, roi_align of what they cover, a second network that classifies them."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, labels, train
from megengine.optimizer import SGD


class RCNN(M.Module):
    def __init__(self):
        super().__init__()
        self.backbone = M.Sequential(M.Conv2d(3, 8, 3, 2, 1), M.ReLU(), M.Conv2d(8, 8, 3, 2, 1), M.ReLU())
        self.rpn = M.Conv2d(8, 8, 3, padding=1)
        self.objectness, self.offsets = M.Conv2d(8, 1, 1), M.Conv2d(8, 4, 1)
        self.fc = M.Linear(8 * 3 * 3, 16)
        self.cls, self.reg = M.Linear(16, 4), M.Linear(16, 12)

    def forward(self, x):
        x = self.backbone(x)
        y = F.relu(self.rpn(x))
        return x, self.objectness(y), self.offsets(y)

    def head(self, features, rois):
        pooled = F.vision.roi_align(features, rois, (3, 3), spatial_scale=1 / 4, sample_points=2, aligned=True)
        x = F.relu(self.fc(F.flatten(pooled, 1)))
        return self.cls(x), self.reg(x)


def proposals(scores, offsets, keep=4):
    """The best boxes of one image, around the places of its features."""
    size = scores.shape[-1]
    centres = (F.arange(size) + 0.5) * 4
    x = F.flatten(F.broadcast_to(centres, (size, size)))
    y = F.flatten(F.broadcast_to(F.expand_dims(centres, 1), (size, size)))
    d = F.reshape(offsets, (4, -1))
    w, h = 6 * F.exp(F.clip(d[2], -1, 1)), 6 * F.exp(F.clip(d[3], -1, 1))
    x, y = x + d[0] * 6, y + d[1] * 6
    boxes = F.clip(F.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1), 0, 4 * size)
    score, order = F.topk(F.flatten(scores), 10, descending=True)
    boxes = boxes[order]
    return boxes[F.vision.nms(boxes, score, iou_thresh=0.7, max_output=keep)]


def run(traced):
    net = fixed(RCNN())
    rois = np.array([[0, 1, 2, 9, 10], [0, 4, 4, 15, 12], [1, 0, 0, 8, 8], [1, 6, 2, 14, 14]], dtype="float32")
    batches = [
        (
            array(2, 3, 16, 16, seed=i),
            (array(2, 1, 4, 4, seed=i) > 0).astype("float32"),
            labels(4, 4, seed=i),
            array(4, 12, seed=i),
        )
        for i in range(3)
    ]
    regions = mge.tensor(rois)

    def loss_of(x, objects, classes, goals):
        features, objectness, _ = net(x)
        # The reference adds the gradient of roi_align to what the memory held before.
        scores, boxes = net.head(features.detach(), regions)
        return (
            F.nn.binary_cross_entropy(objectness, objects)
            + F.nn.cross_entropy(scores, classes)
            + F.nn.l1_loss(boxes, goals)
        )

    found = train(net, SGD(net.parameters(), lr=0.05, momentum=0.9), loss_of, batches, traced)
    net.eval()
    features, objectness, offsets = net(mge.tensor(batches[0][0][:1]))
    boxes = proposals(objectness[0, 0], offsets[0])
    first = F.zeros((boxes.shape[0], 1))
    scores, _ = net.head(features, F.concat([first, boxes], axis=1))
    return found + boxes.numpy().ravel().tolist() + F.softmax(scores, axis=1).numpy().ravel().tolist()
