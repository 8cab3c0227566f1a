"""A network on clouds of points: shared layers, a learned transform, the nearest neighbours of each point, a global maximum."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, labels, train
from megengine.optimizer import Adam


def nearest(x, k):
    """(b, n, 3) → the indices of the k nearest points of each, (b, n, k)."""
    inner = F.matmul(x, x.transpose(0, 2, 1))
    square = F.sum(x * x, axis=2, keepdims=True)
    distance = square - 2 * inner + square.transpose(0, 2, 1)
    b, n, _ = distance.shape
    return F.topk(distance.reshape(b * n, n), k, descending=False)[1].reshape(b, n, k)


def gathered(x, index):
    """The points (b, n, c) that (b, n, k) indices name: (b, n, k, c)."""
    b, n, _ = index.shape
    first = F.arange(b, dtype="int32").reshape(b, 1, 1) * n
    return x.reshape(b * n, -1)[index + first]


class TNet(M.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = M.Conv1d(3, 16, 1), M.BatchNorm1d(16)
        self.fc = M.Linear(16, 9)
        M.init.zeros_(self.fc.weight)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x)))
        x = self.fc(F.max(x, axis=2))
        return x.reshape(-1, 3, 3) + F.eye(3)


class PointNet(M.Module):
    def __init__(self):
        super().__init__()
        self.transform = TNet()
        self.edge = M.Linear(6, 16)
        self.conv, self.bn = M.Conv1d(16, 32, 1), M.BatchNorm1d(32)
        self.fc = M.Linear(32, 4)

    def forward(self, points):
        points = F.matmul(points, self.transform(points.transpose(0, 2, 1)))
        near = gathered(points, nearest(points.detach(), 3))
        centre = F.broadcast_to(F.expand_dims(points, 2), near.shape)
        edges = F.relu(self.edge(F.concat([centre, near - centre], axis=3)))
        x = F.max(edges, axis=2).transpose(0, 2, 1)
        x = F.relu(self.bn(self.conv(x)))
        return self.fc(F.max(x, axis=2))


def run(traced):
    net = fixed(PointNet())
    batches = [(array(4, 12, 3, seed=i), labels(4, 4, seed=i)) for i in range(3)]
    found = train(
        net, Adam(net.parameters(), lr=0.01, eps=1e-3), lambda x, y: F.nn.cross_entropy(net(x), y), batches, traced
    )
    net.eval()
    accuracy = F.topk_accuracy(net(mge.tensor(batches[0][0])), mge.tensor(batches[0][1]), topk=(1, 2))
    return found + np.ravel([a.numpy() for a in accuracy]).tolist()
