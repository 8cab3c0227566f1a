"""A language model of LSTM cells whose state goes from one stretch of the text to the next, and a layer of them that reads all at once.

The gradient of the layer is not compared: the reference gives another one each time, and fails for LSTMCell over several steps.
"""

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


class Cell(M.Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.hidden = M.Linear(SIZE, 4 * SIZE), M.Linear(SIZE, 4 * SIZE, bias=False)

    def forward(self, x, state):
        h, c = state
        gates = self.inputs(x) + self.hidden(h)
        i, f, g, o = (gates[:, k * SIZE : (k + 1) * SIZE] for k in range(4))
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
        return F.sigmoid(o) * F.tanh(c), c


class Model(M.Module):
    def __init__(self):
        super().__init__()
        self.embedding = M.Embedding(len(CHARACTERS), SIZE)
        self.cells = [Cell(), Cell()]
        self.decoder = M.Linear(SIZE, len(CHARACTERS))

    def forward(self, ids, state):
        (h, c), outputs = state, []
        states = [(h[i], c[i]) for i in range(len(self.cells))]
        embedded = self.embedding(ids)
        for t in range(LENGTH):
            x = embedded[t]
            for i, cell in enumerate(self.cells):
                states[i] = cell(x, states[i])
                x = states[i][0]
            outputs.append(x)
        return self.decoder(F.stack(outputs)), [F.stack([state[k] for state in states]) for k in (0, 1)]


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
    layer = fixed(M.LSTM(SIZE, SIZE, num_layers=2))
    layer.eval()
    read, (last, _) = layer(net.embedding(mge.tensor(columns[:5])))
    losses += [*read.numpy().ravel()[::9].tolist(), *last.numpy().ravel()[::9].tolist()]
    return losses + squares(net) + h.numpy()[1].ravel().tolist()
