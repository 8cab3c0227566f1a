"""A Swin block: windows that are shifted by a roll, a table of relative positions, patches that are merged."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, labels, train
from megengine.optimizer import AdamW

DIM, HEADS, WINDOW = 8, 2, 2


def window_partition(x):
    b, h, w, c = x.shape
    x = x.reshape(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, c)


def window_reverse(windows, h, w):
    x = windows.reshape(-1, h // WINDOW, w // WINDOW, WINDOW, WINDOW, windows.shape[2])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, windows.shape[2])


def relative_index():
    coords = np.stack(np.meshgrid(np.arange(WINDOW), np.arange(WINDOW), indexing="ij")).reshape(2, -1)
    relative = (coords[:, :, None] - coords[:, None, :]).transpose(1, 2, 0) + WINDOW - 1
    return (relative[..., 0] * (2 * WINDOW - 1) + relative[..., 1]).astype("int32")


def shift_mask(h, w, shift):
    image = np.zeros((1, h, w, 1), dtype="float32")
    parts = (slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in parts for c in parts):
        image[:, rows, columns] = number
    windows = window_partition(mge.tensor(image)).numpy()[..., 0]
    return np.where(windows[:, None] != windows[:, :, None], -100.0, 0.0).astype("float32")


class WindowAttention(M.Module):
    def __init__(self):
        super().__init__()
        self.table = mge.Parameter(array((2 * WINDOW - 1) ** 2, HEADS) * 0.02)
        self.index = relative_index().reshape(-1)
        self.qkv, self.proj = M.Linear(DIM, DIM * 3), M.Linear(DIM, DIM)

    def forward(self, x, mask=None):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).transpose(2, 0, 3, 1, 4)
        attn = F.matmul(qkv[0] * (c // HEADS) ** -0.5, qkv[1].transpose(0, 1, 3, 2))
        bias = self.table[mge.tensor(self.index)].reshape(n, n, HEADS).transpose(2, 0, 1)
        attn = attn + F.expand_dims(bias, 0)
        if mask is not None:
            count = mask.shape[0]
            attn = attn.reshape(b // count, count, HEADS, n, n) + F.expand_dims(F.expand_dims(mge.tensor(mask), 1), 0)
            attn = attn.reshape(-1, HEADS, n, n)
        y = F.matmul(F.softmax(attn, axis=-1), qkv[2])
        return self.proj(y.transpose(0, 2, 1, 3).reshape(b, n, c))


class SwinBlock(M.Module):
    def __init__(self, size, shift):
        super().__init__()
        self.size, self.shift = size, shift
        self.mask = shift_mask(size, size, shift) if shift else None
        self.norm1, self.norm2 = M.LayerNorm(DIM), M.LayerNorm(DIM)
        self.attn = WindowAttention()
        self.mlp = M.Sequential(M.Linear(DIM, 2 * DIM), M.GELU(), M.Linear(2 * DIM, DIM))

    def forward(self, x):
        b, length, c = x.shape
        y = self.norm1(x).reshape(b, self.size, self.size, c)
        if self.shift:
            y = F.roll(y, shift=(-self.shift, -self.shift), axis=(1, 2))
        y = window_reverse(self.attn(window_partition(y), self.mask), self.size, self.size)
        if self.shift:
            y = F.roll(y, shift=(self.shift, self.shift), axis=(1, 2))
        x = x + y.reshape(b, length, c)
        return x + self.mlp(self.norm2(x))


class Swin(M.Module):
    def __init__(self, size=4):
        super().__init__()
        self.size = size
        self.embed = M.Conv2d(3, DIM, 2, 2)
        self.blocks = M.Sequential(SwinBlock(size, 0), SwinBlock(size, 1))
        self.norm, self.reduction = M.LayerNorm(4 * DIM), M.Linear(4 * DIM, 2 * DIM, bias=False)
        self.head = M.Linear(2 * DIM, 4)

    def forward(self, x):
        x = self.blocks(F.flatten(self.embed(x), 2).transpose(0, 2, 1))
        x = x.reshape(-1, self.size, self.size, DIM)
        x = F.concat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = self.reduction(self.norm(x.reshape(x.shape[0], -1, 4 * DIM)))
        return self.head(F.mean(x, axis=1))


def run(traced):
    net = fixed(Swin())
    batches = [(array(2, 3, 8, 8, seed=i), labels(4, 2, seed=i)) for i in range(3)]
    return train(
        net, AdamW(net.parameters(), lr=0.01, eps=1e-3), lambda x, y: F.nn.cross_entropy(net(x), y), batches, traced
    )
