"""A language model of two LSTM layers whose state goes from one stretch of the text to the next."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
import numpy as np
from common import fixed, maybe_traced, squares
from megengine.autodiff import GradManager
from megengine.optimizer import SGD, clip_grad_norm

TEXT = "a long text about nothing that repeats itself, a long text about nothing that repeats"
CHARACTERS = sorted(set(TEXT))
SIZE, BATCH, LENGTH = 12, 2, 6


class Model(M.Module):
    def __init__(self):
        super().__init__()
        self.embedding = M.Embedding(len(CHARACTERS), SIZE)
        self.lstm = M.LSTM(SIZE, SIZE, num_layers=2)
        self.decoder = M.Linear(SIZE, len(CHARACTERS))

    def forward(self, ids, state):
        x, state = self.lstm(self.embedding(ids), state)
        return self.decoder(x), state


def run(traced):
    net = fixed(Model())
    net.decoder.weight.set_value(net.embedding.weight.numpy())
    optimizer = SGD(net.parameters(), lr=0.5)
    manager = GradManager().attach(net.parameters())
    codes = np.array([CHARACTERS.index(c) for c in TEXT], dtype="int32")
    columns = codes[: len(codes) // BATCH * BATCH].reshape(BATCH, -1).T

    def step(ids, following, h, c):
        with manager:
            scores, (h, c) = net(ids, (h, c))
            loss = F.nn.cross_entropy(scores.reshape(-1, len(CHARACTERS)), following.reshape(-1))
            manager.backward(loss)
        clip_grad_norm(net.parameters(), 1.0)
        optimizer.step().clear_grad()
        return loss, h.detach(), c.detach()

    step = maybe_traced(step, traced)
    h, c = mge.tensor(np.zeros((2, BATCH, SIZE), "float32")), mge.tensor(np.zeros((2, BATCH, SIZE), "float32"))
    losses = []
    for start in range(0, 4 * LENGTH, LENGTH):
        ids, following = (mge.tensor(columns[start + s : start + s + LENGTH]) for s in (0, 1))
        loss, h, c = step(ids, following, h, c)
        losses.append(float(loss.numpy()))
    return losses + squares(net) + h.numpy()[1].ravel().tolist()
