"""minGPT on the characters of a text: causal attention, weights with and without decay, sampling greedily."""

import math

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import array, fixed, train
from megengine.optimizer import AdamW

TEXT = "the quick brown fox jumps over the lazy dog and runs away from the dog that woke up"
CHARACTERS = sorted(set(TEXT))
LENGTH, SIZE, HEADS = 8, 16, 2


class CausalSelfAttention(M.Module):
    def __init__(self):
        super().__init__()
        self.key, self.query, self.value = M.Linear(SIZE, SIZE), M.Linear(SIZE, SIZE), M.Linear(SIZE, SIZE)
        self.proj = M.Linear(SIZE, SIZE)
        self.mask = mge.tensor(np.tril(np.ones((LENGTH, LENGTH), dtype="float32")).reshape(1, 1, LENGTH, LENGTH))

    def forward(self, x):
        b, t, c = x.shape
        k = self.key(x).reshape(b, t, HEADS, c // HEADS).transpose(0, 2, 1, 3)
        q = self.query(x).reshape(b, t, HEADS, c // HEADS).transpose(0, 2, 1, 3)
        v = self.value(x).reshape(b, t, HEADS, c // HEADS).transpose(0, 2, 1, 3)
        att = F.matmul(q, k.transpose(0, 1, 3, 2)) * (1.0 / math.sqrt(c // HEADS))
        att = F.where(self.mask[:, :, :t, :t] == 0, F.full_like(att, -1e9), att)
        y = F.matmul(F.softmax(att, axis=-1), v)
        return self.proj(y.transpose(0, 2, 1, 3).reshape(b, t, c))


class Block(M.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = M.LayerNorm(SIZE), M.LayerNorm(SIZE)
        self.attn = CausalSelfAttention()
        self.mlp = M.Sequential(M.Linear(SIZE, 4 * SIZE), M.GELU(), M.Linear(4 * SIZE, SIZE), M.Dropout(0.0))

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(M.Module):
    def __init__(self):
        super().__init__()
        self.tok_emb = M.Embedding(len(CHARACTERS), SIZE)
        self.pos_emb = mge.Parameter(array(1, LENGTH, SIZE) * 0.1)
        self.blocks = M.Sequential(Block(), Block())
        self.ln_f = M.LayerNorm(SIZE)
        self.head = M.Linear(SIZE, len(CHARACTERS), bias=False)

    def forward(self, idx):
        x = self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1], :]
        return self.head(self.ln_f(self.blocks(x)))


def run(traced):
    net = fixed(GPT())
    decay = [p for name, p in net.named_parameters() if p.ndim == 2 and "emb" not in name]
    rest = [p for name, p in net.named_parameters() if not (p.ndim == 2 and "emb" not in name)]
    optimizer = AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=0.02,
        betas=(0.9, 0.95),
        eps=1e-3,
    )
    codes = np.array([CHARACTERS.index(c) for c in TEXT], dtype="int32")
    batches = []
    for i in range(4):
        starts = np.random.RandomState(i).randint(0, len(TEXT) - LENGTH - 1, 4)
        batches.append([np.stack([codes[s + shift : s + shift + LENGTH] for s in starts]) for shift in (0, 1)])
    found = train(
        net,
        optimizer,
        lambda x, y: F.nn.cross_entropy(net(x).reshape(-1, len(CHARACTERS)), y.reshape(-1)),
        batches,
        traced,
    )
    net.eval()
    text = codes[:4].tolist()
    for _ in range(4):
        logits = net(mge.tensor([text[-LENGTH:]], dtype="int32"))[0, -1]
        text.append(int(F.argmax(logits)))
    return found + text
