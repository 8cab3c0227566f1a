"""A vision transformer with a class token and positions, AdamW and clipped gradients."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, labels, train
from megengine.optimizer import AdamW, clip_grad_norm


class Attention(M.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = M.Linear(dim, dim * 3)
        self.proj = M.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = F.softmax(F.matmul(q, k.transpose(0, 1, 3, 2)) * self.scale, axis=-1)
        return self.proj(F.matmul(attn, v).transpose(0, 2, 1, 3).reshape(b, n, c))


class Block(M.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.norm1 = M.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = M.LayerNorm(dim)
        self.mlp = M.Sequential(M.Linear(dim, dim * 2), M.GELU(), M.Linear(dim * 2, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(M.Module):
    def __init__(self, image=16, patch=8, dim=16, depth=2, classes=4):
        super().__init__()
        self.patch_embed = M.Conv2d(3, dim, patch, patch)
        self.cls_token = mge.Parameter(np.zeros((1, 1, dim), dtype="float32"))
        self.pos_embed = mge.Parameter(array(1, (image // patch) ** 2 + 1, dim))
        self.blocks = [Block(dim, 4) for _ in range(depth)]
        self.norm = M.LayerNorm(dim)
        self.head = M.Linear(dim, classes)

    def forward(self, x):
        x = F.flatten(self.patch_embed(x), 2).transpose(0, 2, 1)
        cls_token = F.broadcast_to(self.cls_token, (x.shape[0], 1, self.cls_token.shape[2]))
        x = F.concat([cls_token, x], axis=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Clipped:
    """An optimizer behind a limit on the gradient."""

    def __init__(self, net, optimizer):
        self.net, self.optimizer = net, optimizer

    def step(self):
        clip_grad_norm(self.net.parameters(), max_norm=0.5)
        return self.optimizer.step()


def run(traced):
    net = fixed(ViT())
    optimizer = Clipped(net, AdamW(net.parameters(), lr=0.01, eps=1e-3, weight_decay=0.05))
    batches = [(array(4, 3, 16, 16, seed=i), labels(4, 4, seed=i)) for i in range(3)]
    return train(net, optimizer, lambda x, y: F.nn.cross_entropy(net(x), y), batches, traced)
