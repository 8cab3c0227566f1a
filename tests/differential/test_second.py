"""Second derivatives of the rows whose gradient has a rule: tengen's next to differences of the rule, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tengen.functional as F
from tengen import Tensor
from tengen.autodiff import GradManager

from .code import IMPORTS
from .dtypes import Array
from .generate import Drawing
from .program import Step
from .pull import has_rule, pulled, results
from .row import Row, Unknown
from .table import ROWS

TRIED, SEEDS, MOST = 2, 60, 40
RULED = [
    r
    for r in ROWS.values()
    if r.truth and has_rule(r) and not r.changes and not r.reads and r.theme not in ("random", "host", "make", "move")
]


class Case(NamedTuple):
    """A row with its operands, what comes back to its result, and the direction in which the gradients are added up."""

    row: Row
    step: Step
    arrays: list[Array]
    dtypes: list[str]
    dy: Array
    along: list[Array]

    def slope(self, arrays: list[Array]) -> Any:
        """The sum of the gradients at these operands, along the direction."""
        grads = [self.dy, *[None] * (self.row.results - 1)]
        made = pulled(self.row, self.step, self.dtypes, grads, arrays)
        return sum((m * a).sum() for m, a in zip(made, self.along, strict=True) if m is not None)


def drawn(row: Row, seed: int) -> Case | None:
    draw = Drawing(seed)
    draw.settings = draw.settings._replace(dtypes=("float64",), values=("fine",), layouts=0.0, views=0.0, large=0.0)
    made = row.draw(draw)
    if made is None or draw.steps or len(set(made[0])) < len(made[0]):
        return None
    known = [draw.machine.names[n] for n in made[0]]
    arrays, dtypes = [k.versions[0] for k in known if k], [k.dtype for k in known if k]
    odd = any("float" in d and d != "float64" for d in dtypes)
    if odd or "float64" not in dtypes or sum(a.size for a in arrays) > MOST:
        return None
    random = np.random.default_rng(seed)
    assert row.truth is not None
    try:
        y = results(row.truth(made[1], *arrays))[0]
    except (IndexError, Unknown):
        return None
    step = Step(row.name, tuple(made[0]), tuple(made[1].items()), tuple(f"y{i}" for i in range(row.results)))
    along = [random.uniform(-1, 1, a.shape) for a in arrays]
    return Case(row, step, arrays, dtypes, random.uniform(0.5, 1.5, np.shape(y)), along)


def differences(case: Case) -> list[Array] | None:
    """nan where there is no derivative; None if there is no first one everywhere."""
    if not abs(case.slope(case.arrays)) < 1e9:
        return None
    found = []
    for i, (array, dtype) in enumerate(zip(case.arrays, case.dtypes, strict=True)):
        if dtype != "float64":
            continue
        made = np.zeros(array.shape)
        for place in np.ndindex(*array.shape):
            near = []
            for h in (1e-5, 5e-6):
                ends = []
                for offset in (h, -h):
                    moved = array.copy()
                    moved[place] += offset
                    ends.append(case.slope([*case.arrays[:i], moved, *case.arrays[i + 1 :]]))
                near.append((ends[0] - ends[1]) / (2 * h))
            made[place] = near[0] if abs(near[0] - near[1]) < 1e-4 * (1 + abs(near[0])) else np.nan
        found.append(made)
    return found


def second(case: Case) -> list[Array]:
    tensors = [Tensor(a, dtype=d) for a, d in zip(case.arrays, case.dtypes, strict=True)]
    floats = [i for i, d in enumerate(case.dtypes) if d == "float64"]
    attached = [tensors[i] for i in floats]
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    names.update(zip(case.step.inputs, tensors, strict=True))
    outer, inner = GradManager().attach(attached), GradManager().attach(attached)
    with outer:
        with inner:
            exec(case.row.statement(case.step), names)
            inner.backward(names[case.step.outs[0]], Tensor(case.dy, dtype="float64"))
        slopes = [(t.grad, Tensor(case.along[i], dtype="float64")) for t, i in zip(attached, floats, strict=True)]
        for tensor in attached:
            tensor.grad = None
        outer.backward(sum((F.sum(g * a) for g, a in slopes if g is not None), Tensor(0.0, dtype="float64")))
    return [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in attached]


@pytest.mark.filterwarnings("ignore:backward")  # of a linear function the gradient hangs on nothing
@pytest.mark.parametrize("theme", sorted({row.theme for row in RULED}))
def test_second_derivatives(theme: str) -> None:
    tried = 0
    with np.errstate(all="ignore"):
        for row in (r for r in RULED if r.theme == theme):
            cases = (c for c in (drawn(row, seed) for seed in range(SEEDS)) if c is not None)
            for case, _ in zip(cases, range(TRIED), strict=False):
                wanted = differences(case)
                if wanted is None:
                    continue
                for got, want in zip(second(case), wanted, strict=True):
                    known = np.isfinite(want)
                    message = f"{case.step} of {[a.tolist() for a in case.arrays]}"
                    np.testing.assert_allclose(got[known], want[known], 2e-3, 2e-3, err_msg=message)
                tried += 1
    assert tried
