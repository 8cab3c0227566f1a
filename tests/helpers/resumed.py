"""A network that is trained in one go, and again with a checkpoint after two steps from which a new process would go on."""

from __future__ import annotations

import io

import numpy as np

import tengen
import tengen.functional as F
from tengen import module, optimizer
from tengen.autodiff import GradManager
from tengen.jit import trace

data = np.random.default_rng(0)
BATCHES = [
    (data.standard_normal((5, 3, 6, 6)).astype(np.float32), data.integers(0, 33, 5).astype(np.int32)) for _ in range(4)
]


class Network(module.Module):
    """Its weights lie in other orders once they were updated: which ones do depends on the device."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = module.Conv2d(3, 8, 3), module.Conv2d(8, 12, 3)
        self.fc1, self.fc2 = module.Linear(48, 70), module.Linear(70, 33)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc2(F.relu(self.fc1(F.flatten(x, 1))))


class Run:
    """A network with its optimizer. Its loss has sums over whole weights, too."""

    def __init__(self, make, traced=False):
        self.network = Network()
        self.params = list(self.network.parameters())
        self.gm, self.optimizer = GradManager().attach(self.params), make(self.params)
        self.learn = trace(self._learn, without_host=True) if traced else self._learn

    def _learn(self, x, y):
        with self.gm:
            loss = F.loss.cross_entropy(self.network(x), y) + sum(F.sqrt((p * p).sum()) for p in self.params)
            self.gm.backward(loss)
        self.optimizer.step().clear_grad()
        return loss

    def train(self, batches):
        for x, y in batches:
            self.learn(tengen.tensor(x), tengen.tensor(y)).item()

    def kept(self):
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def layouts(self):
        kept = [value for state in self.optimizer._state.values() for value in state.values()]
        return [t.desc.strides for t in [*self.params, *kept] if isinstance(t, tengen.Tensor)]


def resumed(make, through, traced=False):
    """A run that went on from what another one has saved after two steps, and that other run at its end. through: what the saved
    state goes through. traced: each step is one Program."""
    tengen.random.seed(1)
    whole = Run(make, traced)
    rows = whole.layouts()
    whole.train(BATCHES[:2])
    state, there = through(whole.kept()), whole.layouts()
    assert there != rows, "the weights lie as at the start, so nothing is tested"
    tengen.random.seed(2)
    part = Run(make, traced)
    part.network.load_state_dict(state["network"])
    part.optimizer.load_state_dict(state["optimizer"])
    assert part.layouts() == there
    for run in (whole, part):
        run.train(BATCHES[2:])
    return part, whole


def through_a_file(state):
    file = io.BytesIO()
    tengen.save(state, file)
    file.seek(0)
    return tengen.load(file)


OPTIMIZERS = {
    "Adam": lambda params: optimizer.Adam(params, lr=0.01),
    "SGD": lambda params: optimizer.SGD(params, lr=0.01, momentum=0.9),
    "LAMB": lambda params: optimizer.LAMB(params, lr=0.01),
}


def assert_same_bits(part, whole):
    found, want = part.kept(), whole.kept()
    for name, value in want["network"].items():
        np.testing.assert_array_equal(found["network"][name], value, err_msg=name)
    for number, state in want["optimizer"]["state"].items():
        for name, value in state.items():
            np.testing.assert_array_equal(found["optimizer"]["state"][number][name], value, err_msg=f"{number} {name}")
