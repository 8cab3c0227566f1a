"""What tests of training over several processes train: a network, and parts of one batch."""

from __future__ import annotations

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M


class Net(M.Module):
    """One layer is used twice, and one never."""

    def __init__(self, dtype):
        super().__init__()
        self.first, self.shared, self.last = M.Linear(12, 20), M.Linear(20, 20), M.Linear(20, 5)
        self.unused = M.Linear(20, 20)
        rng = np.random.default_rng(0)
        for p in self.parameters():
            p._reset(tengen.tensor(rng.standard_normal(p.shape) * 0.3, dtype=dtype))

    def forward(self, x):
        x = F.gelu(self.first(x))
        return self.last(F.gelu(self.shared(F.gelu(self.shared(x)))))


def batch(parts, number, dtype):
    """Part `number` of some samples; not all parts are of one size."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((21, 12)), rng.integers(0, 5, 21)
    return tengen.tensor(x[number::parts], dtype=dtype), tengen.tensor(y[number::parts], dtype="int32")
