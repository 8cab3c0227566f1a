"""The truth: a program run in NumPy with float64, several times with other roundings, which shows how far its results can be trusted.

Version 0 is exact. In the others every operation that rounds is off by about as much as its dtype rounds (Monte Carlo arithmetic: Parker
1997), so where versions differ, tengen's results may differ as much; a comparison that is near a tie comes out in different ways, and
what depends on it is not compared at all. Numbers that a dtype holds exactly are not touched, so exact programs are compared exactly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import optimizers
from .dtypes import LARGEST, ROUNDING, Array, kind, rounded, settled, wide
from .program import CALLS, Program, Step, data
from .pull import CLOSE, DIFFERENCED, VAGUE, has_rule, pulled, results
from .row import DTYPE_RULES, Row, Unknown
from .table import ROWS

VERSIONS = 4
#: Roundings of one operation, by how exact a row says it is.
ROUNDINGS = {"moves": 0, "exact": 0, "rounded": 1, "function": 4, "sum": 4, "formula": 4}


ADDED = 4.0
"""How many roundings of what goes into a sum its partial sums are good for; those of a reduction alone, one."""
REPEATED = 8.0
"""Of so many numbers that are added up in turn one rounding counts in full, where numbers are equal: these err alike each time that they
are added, while the sum is of one size. Half of all is what such a sum is good for in the worst case."""
REDUCTIONS = ("reduce", "norm", "soft", "loss")
"""What adds sums of sums: they are as good as a few roundings, however many numbers there are."""
CANCELLED = 100.0
"""How many roundings of what a formula adds up its gradient may be off."""
STRANGERS = (np.nan, 0.25, -1.5, 3.0)
"""What stands in each version for a number that nobody knows."""
CONTRACTIONS = ("conv", "product")


class Known(NamedTuple):
    """What a tensor holds: in each version one array of the wide dtype."""

    dtype: str
    versions: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.versions[0].shape


class Outcome(NamedTuple):
    """Of one call: results, all tensors that were there before it, and the class of the error that it raises."""

    results: dict[str, Known | None]
    state: dict[str, Known | None]
    error: str | None = None


class Machine:
    """Runs steps on an environment of names."""

    def __init__(self, seed: int, versions: int = VERSIONS):
        self.random = np.random.default_rng(seed)
        self.versions = versions
        self.names: dict[str, Known | None] = {}
        self.tape: list[tuple[Step, Sequence[Known | None], Sequence[Known | None]]] = []
        self.sign, self.drawn = 1.0, self.random.bit_generator.state
        self.inexact = False  # a sum was rounded, so that its order matters

    def put(self, name: str, array: Array, dtype: str) -> None:
        self.names[name] = Known(dtype, (array,) * self.versions)

    def _turn(self, version: int) -> None:
        """The second version is off the other way than the first: of two that are tied, another one is larger then."""
        self.sign = -1.0 if version == 2 else 1.0
        if version == 1:
            self.drawn = self.random.bit_generator.state
        if version == 2:
            self.random.bit_generator.state = self.drawn

    def shaken(self, array: Array, amount: float, around: bool) -> Array:
        """Off by a relative error of about `amount`; where sums are made of it, of its neighbours too."""
        if array.dtype.kind != "f":
            return array
        noise = (
            self.random.choice([-1.0, 1.0], array.shape)
            * self.random.uniform(0.5, 1.0, array.shape)
            * amount
            * self.sign
        )
        finite = array[np.isfinite(array)]
        level = 0.3 * float(np.sqrt(np.mean(finite**2))) if around and finite.size else 0.0
        return np.asarray(array + noise * (np.abs(np.where(np.isfinite(array), array, 0.0)) + level))

    def _alike(self, array: Array, amount: float) -> Array:
        """Off by a relative error of about `amount`, equal numbers by the same."""
        if array.dtype.kind != "f":
            return array
        values, places = np.unique(array, return_inverse=True)
        noise = self.random.choice([-1.0, 1.0], values.shape) * self.random.uniform(0.5, 1.0, values.shape)
        return np.asarray(array * (1 + amount * self.sign * noise[places].reshape(array.shape)))

    def _strange(self, shape: Sequence[int], version: int) -> Array:
        """Numbers that nobody knows. What is in order in the second version is in reverse in the third, so that no two are tied."""
        return np.asarray(STRANGERS[version] + self.sign * self.random.uniform(0.0, 0.5, shape))

    def run(self, step: Step) -> None:
        """Raises what the step must raise."""
        row = ROWS[step.row]
        inputs = [self.names[n] for n in step.inputs]
        if any(i is None for i in inputs) or row.truth is None:
            outputs: list[Known | None] = [None] * len(step.outs)
        else:
            try:
                outputs = list(self._computed(row, step, [i for i in inputs if i is not None]))
            except Unknown:
                outputs = [None] * len(step.outs)
        self.tape.append((step, inputs, outputs))
        for name, value in zip(step.outs, outputs, strict=True):
            self.names[name] = value

    def _computed(self, row: Row, step: Step, inputs: Sequence[Known]) -> list[Known]:
        params = dict(step.params)
        dtypes = DTYPE_RULES[row.dtype](params, *(i.dtype for i in inputs)) if row.dtype in DTYPE_RULES else row.dtype
        assert row.truth is not None
        made = []
        exact = None
        for version in range(self.versions):
            self._turn(version)
            arrays = [i.versions[version] for i in inputs]
            if row.dtype == "float" and dtypes == "float32":
                # Integers become float32 first, which holds those beyond 2²⁴ by their first digits only.
                arrays = [a if a.dtype.kind == "f" else a.astype(np.float32).astype(np.float64) for a in arrays]
            if version and (row.exact == "formula" or (row.exact == "sum" and not (exact and on_grid(arrays)))):
                amount = max(
                    [
                        ROUNDING.get(i.dtype, 0.0) if i.dtype == "float64" else 2.0**-24
                        for i in inputs
                        if kind(i.dtype) == "float"
                    ]
                    or [0.0]
                )
                added = 1.0 if row.theme == "reduce" and row.exact == "sum" else ADDED
                repeated = 0.0 if row.theme in REDUCTIONS else _added(arrays, made[0]) / REPEATED
                arrays = [self.shaken(a, added * amount, True) for a in arrays]
                arrays = [self._alike(a, amount * (added + repeated)) for a in arrays]
            found = results(row.truth(params, *arrays))
            if row.theme in CONTRACTIONS and not all(np.isfinite(a).all() for a in arrays):
                # How often 0 · inf is met differs from way to way.
                found = [self._strange(np.shape(f), version) for f in found]
            each = [dtypes] * len(found) if isinstance(dtypes, str) else list(dtypes)
            kept = [settled(f, d) for f, d in zip(found, each, strict=True)]
            if version == 0:
                exact = all(_holds(k, d).all() for k, d in zip(kept, each, strict=True)) and (
                    row.exact != "sum" or on_grid(kept)
                )
                self.inexact |= row.exact == "formula" or (row.exact == "sum" and not (exact and on_grid(arrays)))
            elif count := ROUNDINGS[row.exact]:
                moved = [self._rounded(k, d, count, row) for k, d in zip(kept, each, strict=True)]
                kept = [self._apart(k, d, f, count, row) for k, d, f in zip(moved, each, made[0], strict=True)]
            made.append(kept)
        if self.versions > 1:
            if row.elementwise:
                _judge(inputs, made, each)
                _tie(lambda arrays: results(row.truth(params, *arrays)), inputs, params.get("number", 0.0), made, each)
            else:
                _mix(inputs, made, each)
            _doubt(inputs, made, each)
        return [Known(each[i], tuple(np.asarray(m[i], wide(each[i])) for m in made)) for i in range(len(each))]

    def _rounded(self, array: Array, dtype: str, count: int, row: Row) -> Array:
        if kind(dtype) != "float":
            return array
        off = self.shaken(array, count * ROUNDING[dtype], False)
        if row.level:
            off = off + row.level * (
                self.shaken(
                    np.ones(array.shape),
                    max(ROUNDING[dtype] / 8, ROUNDING["float32"] if dtype != "float64" else 0.0),
                    False,
                )
                - 1.0
            )
        return settled(np.where(_holds(array, dtype), array, off) if row.exact in ("rounded", "sum") else off, dtype)

    def _apart(self, array: Array, dtype: str, first: Array, count: int, row: Row) -> Array:
        """What a version holds, where it must not be what the first one, the exact one, holds.

        A rounded number of float64 has so few neighbours that all versions may be the same by chance, which would make it exact. And
        whether a sum begins with 0 decides the sign of its zero: no formula says it, libraries differ, and atan2 and 1 / x tell."""
        if kind(dtype) != "float":
            return array
        if dtype == "float64" and count > 1 and row.exact != "sum":
            met = (array == first) & ~_holds(array, dtype)
            array = np.where(met, self.shaken(array, count * ROUNDING[dtype], False), array)
        return self._signed(array) if row.exact in ("sum", "formula") else array

    def _signed(self, array: Array) -> Array:
        """With zeros of this version's sign."""
        return np.where(array == 0, np.copysign(0.0, self.sign), array)

    # -- gradients

    def backward(self, y: str, dy: str, names: Sequence[str]) -> dict[str, Known | None]:
        """The gradients of the tensors that had these names when the tape began."""
        first: dict[str, Known | None] = {}
        for step, inputs, _ in self.tape:
            for name, value in zip(step.inputs, inputs, strict=True):
                first.setdefault(name, value)
        tops = {n: first.get(n, self.names[n]) for n in names}
        found: dict[str, list[Array]] = {n: [] for n in names}
        for version in range(self.versions):
            self._turn(version)
            try:
                got = self._swept(y, dy, list(tops.values()), version)
            except Unknown:
                return dict.fromkeys(names)
            for name, top in tops.items():
                assert top is not None
                gradient = got.get(id(top))
                found[name].append(np.zeros(top.shape) if gradient is None else np.broadcast_to(gradient, top.shape))
        # From here on what nobody knows is another number in each version.
        lost = {name: np.any(np.abs(whole) > VAGUE * 1e-9, axis=0) for name, whole in found.items()}
        for version in range(self.versions):
            self._turn(version)
            for name, whole in found.items():
                whole[version] = np.where(lost[name], self._strange(whole[version].shape, version), whole[version])
                if version:
                    whole[version] = self._signed(whole[version])
        return {
            n: Known(t.dtype, tuple(settled(v, t.dtype) for v in found[n])) for n, t in tops.items() if t is not None
        }

    def _swept(self, y: str, dy: str, wanted: Sequence[Known | None], version: int) -> dict[int, Array]:
        top, weights = self.names[y], self.names[dy]
        if top is None or weights is None or any(w is None for w in wanted):
            raise Unknown("a value is not known")
        grads: dict[int, Array] = {id(top): weights.versions[version].copy()}
        for step, inputs, outputs in reversed(self.tape):
            here = [None if o is None else _fits(grads.get(id(o)), o, version) for o in outputs]
            if not inputs or all(g is None for g in here):
                continue
            if any(v is None for v in (*inputs, *outputs)):
                raise Unknown("a step is not known")
            known = [i for i in inputs if i is not None]
            for value in outputs:
                if value is not None and not any(value is i for i in known):
                    grads.pop(id(value), None)
            here = [
                np.zeros(o.shape) if g is None and kind(o.dtype) == "float" else g
                for g, o in zip(here, outputs, strict=True)
                if o is not None
            ]
            row = ROWS[step.row]
            made = self._pulled(row, step, known, here, version)
            for value, gradient in zip(known, made, strict=True):
                if gradient is not None:
                    self._accumulate(grads, value, gradient, version, row)
        return grads

    def _pulled(self, row: Row, step: Step, inputs: Sequence[Known], grads: Sequence[Any], version: int) -> list[Any]:
        """Rules take sums of what comes back, so it is off too; where a rule is a difference, what goes in as well."""
        arrays = [i.versions[version] for i in inputs]
        if version and row.exact != "moves":
            grads = [
                None if g is None else self.shaken(g, 2.0**-24 if inputs[0].dtype != "float64" else 2.0**-53, False)
                for g in grads
            ]
            if not has_rule(row) and not row.elementwise:
                arrays = [
                    self.shaken(a, ROUNDING["float64" if i.dtype == "float64" else "float32"], True)
                    for a, i in zip(arrays, inputs, strict=True)
                ]
        if row.theme == "conv" and not all(np.isfinite(a).all() for a in (*arrays, *grads) if a is not None):
            # As forwards: how often 0 · inf is met differs from way to way.
            floats = [kind(i.dtype) == "float" for i in inputs]
            return [np.full(a.shape, VAGUE) if f else None for a, f in zip(arrays, floats, strict=True)]
        made = _traced(lambda dys: pulled(row, step, [i.dtype for i in inputs], dys, arrays), grads)
        if version and not has_rule(row):
            known = [g[np.abs(g) < VAGUE * 1e-9] for g in grads if g is not None]
            size = CLOSE * max(
                1.0, *(float((np.max if row.elementwise else np.sum)(np.abs(k), initial=0)) for k in known)
            )
            made = [
                None if g is None else np.where(g == 0, g, g + self.shaken(np.full(g.shape, size), 1, False) - size)
                for g in made
            ]
        if version and row.slope_level and grads[0] is not None and kind(inputs[0].dtype) == "float":
            off = self.shaken(np.ones(grads[0].shape), row.slope_level * ROUNDING[inputs[0].dtype], False) - 1.0
            made = [None if g is None else g + grads[0] * off for g in made]
        if version and row.exact == "formula" and grads[0] is not None:
            # Formulae add up numbers of the size of what comes back, of which little may be left.
            level = float(np.sqrt(np.mean(grads[0] ** 2))) if grads[0].size else 0.0
            size = CANCELLED * (2.0**-53 if inputs[0].dtype == "float64" else 2.0**-24)
            if row.theme == "soft":
                size = max(size, ROUNDING[inputs[0].dtype])  # they read their own result, as it is stored
            terms: list[Any] = [0.0] * len(made)
            if row.theme == "norm":  # what little is left of has been divided by a deviation, which may be small
                for _ in range(2):
                    other = [None if g is None else g * self.random.uniform(-1, 1, g.shape) for g in grads]
                    found = pulled(row, step, [i.dtype for i in inputs], other, arrays)
                    terms = [np.maximum(t, 0.0 if f is None else np.abs(f)) for t, f in zip(terms, found, strict=True)]
            made = [
                None if g is None else g + (level + t) * (self.shaken(np.ones(g.shape), size, False) - 1)
                for g, t in zip(made, terms, strict=True)
            ]
        return made

    def _accumulate(self, grads: dict[int, Array], value: Known, gradient: Array, version: int, row: Row) -> None:
        off = np.where(np.abs(gradient) > VAGUE * 1e-9, gradient * (version + 1) * (-1) ** version, gradient)
        if version:
            amount = (
                1 * ROUNDING[value.dtype]
                if row.exact == "moves"
                else 8 * ROUNDING[value.dtype] + (0 if has_rule(row) else DIFFERENCED)
            )
            off = self.shaken(off, amount, row.exact != "moves" and bool(np.abs(off).max(initial=0) < VAGUE * 1e-9))
        old = grads.get(id(value))
        grads[id(value)] = off if old is None else old + off


def _fits(gradient: Array | None, value: Known, version: int) -> Array | None:
    """What comes back to a value. If it is too large for its dtype, it is infinite where it is stored, and a number within a kernel; and so is
    what a rule finds in the value itself, where that is."""
    if gradient is None or value.dtype not in LARGEST:
        return gradient
    beyond = np.abs(gradient) > LARGEST[value.dtype]
    if value.dtype == "float16":
        beyond |= np.isinf(value.versions[version]) & (gradient != 0)
    return np.where(beyond, VAGUE, gradient)


def _traced(rule: Callable[[Sequence[Any]], list[Any]], grads: Sequence[Any]) -> list[Any]:
    """The gradients that a rule makes of these: what hangs on one that nobody knows, nobody knows, though its slope may be 0."""
    vague = [None if g is None else np.abs(g) > VAGUE * 1e-9 for g in grads]
    made = rule(grads)
    if not any(v is not None and v.any() for v in vague):
        return made
    marked = rule([None if g is None else np.where(v, np.nan, g) for g, v in zip(grads, vague, strict=True)])
    return [
        None if m is None else np.where(~(np.abs(lost) < VAGUE * 1e-9) & ~np.isnan(m), VAGUE, m)
        for m, lost in zip(made, marked, strict=True)
    ]


def _judge(inputs: Sequence[Known], made: list[list[Array]], dtypes: Sequence[str]) -> None:
    """What an integer or a bool says about a number that nobody knows, nobody knows."""
    for number, dtype in enumerate(dtypes):
        if kind(dtype) != "float":
            for known in inputs:
                exact = made[0][number]
                other = ~exact if dtype == "bool" else exact + 1
                made[1][number] = np.where(_is_strange(known), other, made[1][number])


def _mix(inputs: Sequence[Known], made: list[list[Array]], dtypes: Sequence[str]) -> None:
    """What integers or bools say about several numbers, one of which nobody knows, such as their order, nobody knows. Integers stay in the
    range that they have: they may be places."""
    if not any(_is_strange(known).any() for known in inputs):
        return
    for number, dtype in enumerate(dtypes):
        exact = made[0][number]
        if dtype == "bool":
            made[1][number] = ~exact
        elif kind(dtype) != "float" and exact.size:
            made[1][number] = np.where(exact == exact.max(), 0, exact + 1)


def _is_strange(known: Known) -> Array:
    """Where nobody knows a number."""
    first, other = known.versions[:2]
    return np.asarray(np.isnan(first) & ~np.isnan(other) if first.dtype.kind == "f" else np.zeros(first.shape, bool))


def _tie(
    function: Callable[[Sequence[Array]], Sequence[Array]],
    inputs: Sequence[Known],
    number: float,
    made: list[list[Array]],
    dtypes: Sequence[str],
) -> None:
    """What an integer or a bool says of two numbers that are ordered in both ways in different versions, another version says of equal ones.
    number: what an operand is compared with, if there is no other one; 0 if it is asked whether it is true."""
    if all(kind(d) == "float" for d in dtypes):
        return
    first = [i.versions[0] for i in inputs]
    met = [[_where_crossed(i, [np.full(i.shape, number)] * len(i.versions)) for i in inputs]]
    if len(inputs) == 2:
        met.append([_where_crossed(inputs[0], inputs[1].versions), first[1]])
    for arrays in met:
        for place, (found, dtype) in enumerate(zip(function(arrays), dtypes, strict=True)):
            if kind(dtype) != "float":
                other = settled(found, dtype)
                made[1][place] = np.where(other != made[0][place], other, made[1][place])


def _where_crossed(known: Known, others: Sequence[Array]) -> Array:
    """A number in the first version; the other one where it is below that in some versions and above it in others."""
    first = known.versions[0]
    if first.dtype.kind != "f":
        return first
    pairs = list(zip(known.versions, others, strict=True))
    return np.where(np.any([a < b for a, b in pairs], 0) & np.any([a > b for a, b in pairs], 0), others[0], first)


def _added(inputs: Sequence[Array], made: Sequence[Array]) -> float:
    """About how many numbers each result is the sum of."""
    try:
        terms = int(np.prod(np.broadcast_shapes(*(a.shape for a in inputs))))
    except ValueError:
        terms = sum(a.size for a in inputs)
    return terms / max(1, sum(k.size for k in made))


def _doubt(inputs: Sequence[Known], made: list[list[Array]], dtypes: Sequence[str]) -> None:
    """A result that is nan in all versions is not known, if a number that nobody knows may have made it so."""
    if any(_is_strange(known).any() for known in inputs):
        for number, dtype in enumerate(dtypes):
            if kind(dtype) == "float":
                lost = np.isnan([version[number] for version in made]).all(0)
                made[1][number] = np.where(lost, 0.0, made[1][number])


def on_grid(arrays: Sequence[Array]) -> bool:
    """Whether sums of products of such numbers are exact in float32."""
    for array in arrays:
        if array.dtype.kind == "f":
            scaled = array * 64
            if not (
                np.isfinite(array).all() and np.abs(array).max(initial=0) < 64 and (scaled == np.round(scaled)).all()
            ):
                return False
    return sum(a.size for a in arrays) < 20000


def _holds(array: Array, dtype: str) -> Array:
    """Where the numbers are exact in a dtype; in float64 those with few digits, as others have been rounded already."""
    if kind(dtype) != "float":
        return np.ones(array.shape, bool)
    if dtype == "float64":
        scaled = array * 2.0**20
        return ~np.isfinite(array) | ((scaled == np.round(scaled)) & (np.abs(array) < 2.0**30))
    return (rounded(array, dtype) == array) | np.isnan(array)


def run(program: Program, versions: int = VERSIONS) -> list[Outcome]:
    """What each call gives, up to the first that raises an error."""
    machine, outcomes = Machine(1, versions), list[Outcome]()
    rules = {p: optimizers.RULES[program.gradient.optimizer]() for p in trained(program)} if program.gradient else {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for source in program.state:
            machine.put(source.name, data(source, 0), source.dtype)
        for call in range(CALLS):
            for source in program.arguments:
                machine.put(source.name, data(source, call), source.dtype)
            if call == 1:
                _touch(machine, program)
            error = None
            try:
                _call(machine, program, rules)
            except IndexError as raised:
                error = type(raised).__name__
            found = {} if error else {n: machine.names[n] for n in program.outputs}
            outcomes.append(Outcome(found, {s.name: machine.names[s.name] for s in program.sources}, error))
            if error:
                break
    run_inexact[0] = machine.inexact
    return outcomes


run_inexact = [False]
"""Whether the order of sums mattered in the last run."""


def trained(program: Program) -> list[str]:
    """The parameters that the optimizer updates."""
    assert program.gradient is not None
    if not program.gradient.optimizer:
        return []
    parameters = {s.name for s in program.sources if s.role == "parameter"}
    return [n for n in program.gradient.wrt if n in parameters]


def _touch(machine: Machine, program: Program) -> None:
    """Between the first and the second call somebody halves these tensors."""
    for name in program.touched:
        value = machine.names[name]
        if value is not None:
            machine.names[name] = Known(value.dtype, tuple(v * 0.5 for v in value.versions))


def _call(machine: Machine, program: Program, rules: dict[str, Any]) -> None:
    gradient, machine.tape = program.gradient, []
    for number, step in enumerate(program.steps):
        if gradient is not None and number == gradient.steps:
            _learn(machine, program, rules)
        machine.run(step)
    if gradient is not None and gradient.steps >= len(program.steps):
        _learn(machine, program, rules)


def _learn(machine: Machine, program: Program, rules: dict[str, Any]) -> None:
    gradient = program.gradient
    assert gradient is not None
    made = machine.backward(gradient.y, gradient.dy, gradient.wrt)
    for name, value in made.items():
        machine.names[f"g_{name}"] = value
    for name, rule in rules.items():
        weights, slope = machine.names[name], made[name]
        if weights is None or slope is None:
            machine.names[name] = None
            continue
        new = rule.step(weights.versions, slope.versions)
        amount = 8 * max(ROUNDING[weights.dtype], 2.0**-24)
        machine.names[name] = Known(weights.dtype, (new[0], *(machine.shaken(v, amount, True) for v in new[1:])))
