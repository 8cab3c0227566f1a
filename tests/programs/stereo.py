"""Stereo: what the two images have in common by correlation, the right image remapped to the left by the disparity that it gives."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
from common import array, fixed, train
from megengine.optimizer import Adam


class Stereo(M.Module):
    def __init__(self):
        super().__init__()
        self.features = M.Sequential(M.Conv2d(1, 4, 3, padding=1), M.LeakyReLU(0.1), M.Conv2d(4, 4, 3, padding=1))
        self.refine = M.Sequential(M.Conv2d(9 + 4, 8, 3, padding=1), M.LeakyReLU(0.1), M.Conv2d(8, 1, 3, padding=1))

    def forward(self, left, right):
        # Detached, as the reference's gradient by the first image is not the derivative of what it gives.
        a, b = self.features(left), self.features(right)
        cost = F.vision.correlation(a.detach(), b, kernel_size=1, max_displacement=1, stride1=1, stride2=1, pad_size=1)
        return self.refine(F.concat([F.leaky_relu(cost, 0.1), a], axis=1))


def warp(image, disparity):
    """`image` at the places that lie `disparity` to the left."""
    _, _, h, w = image.shape
    x = F.broadcast_to(F.arange(w), (image.shape[0], h, w))
    y = F.broadcast_to(F.expand_dims(F.arange(h), 1), (image.shape[0], h, w))
    places = F.stack([x - disparity[:, 0], y], axis=3)
    return F.vision.remap(image, places, border_mode="constant")


def run(traced):
    net = fixed(Stereo())
    batches = [(array(2, 1, 8, 8, seed=i), array(2, 1, 8, 8, seed=i + 9)) for i in range(3)]

    def loss_of(left, right):
        disparity = net(left, right)
        smooth = F.mean(F.abs(disparity[:, :, :, 1:] - disparity[:, :, :, :-1]))
        return F.nn.l1_loss(warp(right, disparity), left) + 0.1 * smooth

    found = train(net, Adam(net.parameters(), lr=0.01, eps=1e-3), loss_of, batches, traced)
    net.eval()
    return found + net(*(mge.tensor(x) for x in batches[0])).numpy().ravel()[::8].tolist()
