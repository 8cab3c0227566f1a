"""A step of a diffusion model: a U-Net that is told the time, group normalisation, the noise as target, an average of the weights."""

import math

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, squares, train
from megengine.optimizer import Adam


def timestep_embedding(t, dim):
    half = dim // 2
    frequencies = F.exp(-math.log(10000.0) * F.arange(0, half) / half)
    angles = F.expand_dims(t.astype("float32"), 1) * F.expand_dims(frequencies, 0)
    return F.concat([F.cos(angles), F.sin(angles)], axis=1)


class ResBlock(M.Module):
    def __init__(self, i, o, emb):
        super().__init__()
        self.norm1, self.conv1 = M.GroupNorm(2, i), M.Conv2d(i, o, 3, padding=1)
        self.emb = M.Linear(emb, 2 * o)
        self.norm2, self.conv2 = M.GroupNorm(2, o), M.Conv2d(o, o, 3, padding=1)
        self.skip = M.Conv2d(i, o, 1) if i != o else M.Identity()

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = F.split(F.expand_dims(self.emb(F.silu(emb)), (2, 3)), 2, axis=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class UNet(M.Module):
    def __init__(self):
        super().__init__()
        self.time = M.Sequential(M.Linear(8, 16), M.SiLU(), M.Linear(16, 16))
        self.inp, self.down = M.Conv2d(1, 4, 3, padding=1), M.Conv2d(4, 8, 3, 2, 1)
        self.block1, self.block2, self.block3 = ResBlock(4, 4, 16), ResBlock(8, 8, 16), ResBlock(12, 4, 16)
        self.out = M.Conv2d(4, 1, 3, padding=1)

    def forward(self, x, t):
        emb = self.time(timestep_embedding(t, 8))
        a = self.block1(self.inp(x), emb)
        b = self.block2(self.down(a), emb)
        b = F.vision.interpolate(b, scale_factor=2, mode="nearest")
        return self.out(self.block3(F.concat([b, a], axis=1), emb))


def run(traced):
    net, average = fixed(UNet()), fixed(UNet())
    betas = np.linspace(1e-4, 0.02, 10).astype("float32")
    kept = np.cumprod(1 - betas).astype("float32")
    root, rest = mge.tensor(np.sqrt(kept)), mge.tensor(np.sqrt(1 - kept))

    def loss_of(x, t, noise):
        shape = (-1, 1, 1, 1)
        noisy = root[t].reshape(shape) * x + rest[t].reshape(shape) * noise
        return F.nn.square_loss(net(noisy, t), noise)

    batches = [
        (
            array(2, 1, 8, 8, seed=i),
            np.random.RandomState(i).randint(0, 10, 2).astype("int32"),
            array(2, 1, 8, 8, seed=i + 50),
        )
        for i in range(3)
    ]
    found = train(net, Adam(net.parameters(), lr=0.005, eps=1e-3), loss_of, batches, traced)
    for p, q in zip(average.parameters(), net.parameters(), strict=True):
        p[...] = 0.9 * p + 0.1 * q
    return found + squares(average)
