"""How a case is measured: the frameworks agree first, then they take turns, so that what else the machine does meets all
alike.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from .cases import NETWORKS, Case
from .networks_tengen import NETWORKS as BUILDERS

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Data:
    """What a case computes with, for every framework the same. weights: of a network, by name."""

    inputs: Arrays
    labels: np.ndarray | None
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """A case in one framework. setting: how the framework does it. run: what is timed. results: what must agree."""

    setting: str
    run: Callable[[], object]
    results: Callable[[], Arrays]


SETTLE = 0.02  # seconds until the threads of the framework before have stopped waiting in busy loops
STEADY = 0.1  # quartiles of a ratio are at most so far apart, of the median, or the frameworks have more turns
MORE = 4  # times the turns asked for, at most
PATIENCE = 10.0  # seconds that a case waits for the whole machine; after that its turns count as they are
PAUSE = 0.1  # seconds between two looks

Trials = Callable[[Case, Data], Iterable[Trial]]


class Disagreement(Exception):
    """Two frameworks computed different numbers."""


RANGES = {"positive": (0.25, 2.0), "above": (1.125, 2.0), "unit": (0.0, 1.0), "inside": (-0.875, 0.875)}
"""Of what inputs hold, by the first word."""

# -- data ----------------------------------------------------------------------------------------------------------


def make_data(case: Case) -> Data:
    """Inputs from U(-1, 1), labels, and the first values of the network if the case is one; always the same."""
    random = np.random.default_rng(0)
    inputs = list(map(partial(values, random), case.shapes, case.holds or len(case.shapes) * ("",)))
    if case.kind != "network":
        return Data(inputs, None, {})
    net = case.arguments["network"]
    classes = NETWORKS[net].classes
    labels = random.integers(0, classes, case.shapes[0][0], dtype=np.int32) if classes else None
    shapes = {name: value.shape for name, value in BUILDERS[net]().state_dict().items()}
    return Data(inputs, labels, {name: _first_value(name, shape, random) for name, shape in sorted(shapes.items())})


def values(random: np.random.Generator, shape: tuple[int, ...], holds: str = "") -> np.ndarray:
    """U(-1, 1), or what the first word says: "int low high", "long limit" and "places limit" (none twice in a row) are integers."""
    word, *numbers = holds.split() or [""]
    if word in ("int", "long"):
        low, high = map(int, ("0", *numbers)[-2:])
        return random.integers(low, high, shape, np.int32 if word == "int" else np.int64)
    if word == "places":
        scores = random.random((*shape[:-1], int(numbers[0])))
        return np.ascontiguousarray(np.argsort(scores, -1)[..., : shape[-1]])
    if word == "bool":
        return random.random(shape, np.float32) > 0.5
    if word == "sign":
        return np.where(random.random(shape) > 0.5, np.float32(1), np.float32(-1))
    if word == "pixels":
        return float(numbers[0]) * random.random(shape, np.float32)
    low, high = RANGES.get(word, (-1.0, 1.0))
    return (high - low) * random.random(shape, np.float32) + np.float32(low)


def _first_value(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Values that keep activations near 1 through many layers, in training and evaluation. He et al. 2015, section 2.2."""
    if "bias" in name:
        return 0.1 * random.standard_normal(shape, np.float32)
    if name.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:  # a running variance, or the weight of a normalisation
        return np.ones(shape, np.float32)
    fan_in = math.prod(shape[-3:]) if len(shape) > 2 else shape[1]
    return math.sqrt(2 / fan_in) * random.standard_normal(shape, np.float32)


def dropout_facts(x: np.ndarray, y: np.ndarray) -> Arrays:
    """What all correct results of dropout have in common: the share of zeros, and the factor of the rest."""
    kept = y != 0
    return [np.mean(kept, keepdims=True), np.unique(np.round(y[kept] / x[kept], 4))]


# -- agreement -----------------------------------------------------------------------------------------------------


def check(case: Case, name: str, found: Arrays, expected: Arrays) -> float:
    """The largest difference, in root mean squares of what is expected. Raises Disagreement above the case's tolerance.

    The gradients of a network are compared as a whole, by the root mean square of their differences: where an
    activation is nearly 0, or two in a window nearly equal, rounding decides which way a gradient goes.
    """
    if len(found) != len(expected):
        raise Disagreement(f"{name} gives {len(found)} results, not {len(expected)}")
    scales = [_root_mean_square(array) for array in expected]
    # A gradient that is 0 but for rounding, such as that of a bias before a normalisation, has no scale of its own.
    least = 0.01 * statistics.median(scales) if len(scales) > 1 else 0.0
    worst = 0.0
    for index, (ours, theirs, scale) in enumerate(zip(found, expected, scales, strict=True)):
        if ours.size != theirs.size:
            raise Disagreement(f"result {index} of {name} has shape {ours.shape}, not {theirs.shape}")
        difference = ours.ravel() - theirs.ravel()
        size = _root_mean_square(difference) if len(expected) > 1 else float(np.abs(difference).max())
        error = size / (max(scale, least) or 1.0)
        if not error <= case.tolerance:
            raise Disagreement(
                f"result {index} of {name}, shape {theirs.shape}, differs by {error:.1e} root mean squares"
            )
        worst = max(worst, error)
    return worst


def _root_mean_square(array: np.ndarray) -> float:
    return math.sqrt(np.mean(np.square(array, dtype=np.float64)))


# -- time ----------------------------------------------------------------------------------------------------------


def seconds_of(run: Callable[[], object], count: int) -> float:
    """The mean time of `count` calls."""
    start = time.perf_counter()
    for _ in repeat(None, count):
        run()
    return (time.perf_counter() - start) / count


def calls_in(run: Callable[[], object], seconds: float) -> int:
    """How many calls take `seconds`, at least one."""
    run()
    count = 1
    while (taken := count * seconds_of(run, count)) < seconds / 4 and count < 1 << 20:
        count *= 4
    return max(1, round(count * seconds / taken))


def in_turn(
    runs: dict[str, Callable[[], object]],
    rounds: int,
    most: int,
    seconds: float,
    undisturbed: Callable[[], bool],
    patience: float | None = None,
) -> dict[str, list[float]]:
    """Times of a call of each of `runs`, which take turns of about `seconds`: A B A B …

    There are `rounds` turns each, and up to `most` while the first one's ratio to another is not steady. Turns count only if
    the machine was `undisturbed` before and after, as long as there is patience. What decides is how far turns are apart, and
    what the machine does, never which framework is faster.
    """
    counts = {name: calls_in(run, seconds) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    patience, number = PATIENCE if patience is None else patience, 0
    while number < most and not (number >= rounds and all(map(_is_steady, ratios(times).values()))):
        start = time.perf_counter()
        if patience > 0 and not undisturbed():
            time.sleep(PAUSE)
            patience -= time.perf_counter() - start
            continue
        found = {}
        for name, run in runs.items():
            time.sleep(SETTLE)
            run()
            found[name] = seconds_of(run, counts[name])
        if patience > 0 and not undisturbed():
            patience -= time.perf_counter() - start
            continue
        number += 1
        for name, taken in times.items():
            taken.append(found[name])
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """The first framework's times over those of each other one, turn by turn."""
    first, *peers = times
    return {peer: [a / b for a, b in zip(times[first], times[peer], strict=True)] for peer in peers}


def _is_steady(values: Sequence[float]) -> bool:
    spread = _spread(values)
    return spread["upper_quartile"] - spread["lower_quartile"] <= STEADY * spread["median"]


@dataclass(frozen=True)
class Options:
    """rounds: turns that each framework has, at least. seconds: of a turn. undisturbed: whether the machine is all there. patience:
    seconds to wait for that, None for PATIENCE.
    """

    rounds: int
    seconds: float
    undisturbed: Callable[[], bool]
    patience: float | None = None


def measure(case: Case, frameworks: dict[str, Trials], options: Options) -> dict[str, Any]:
    """The row of one case. Of each framework's settings the fastest one takes part; the first framework is compared with
    the others. Raises Disagreement, and what a framework raises.
    """
    data = make_data(case)
    first, *peers = frameworks
    (trial,) = frameworks[first](case, data)
    found = trial.results()
    chosen, errors, settings = {first: trial}, {}, {first: {trial.setting: None}}
    for peer in peers:
        trials = []
        for other in frameworks[peer](case, data):
            errors[f"{peer} {other.setting}"] = check(case, f"{peer}, {other.setting}", other.results(), found)
            trials.append(other)
        if trials:
            quick = (
                in_turn({t.setting: t.run for t in trials}, 3, 3, options.seconds / 2, options.undisturbed)
                if len(trials) > 1
                else {}
            )
            settings[peer] = {t.setting: min(quick[t.setting]) if quick else None for t in trials}
            chosen[peer] = min(trials, key=lambda t: min(quick[t.setting])) if quick else trials[0]
        del trials
        gc.collect()
    runs = {name: t.run for name, t in chosen.items()}
    most = MORE * options.rounds
    times = in_turn(runs, options.rounds, most, options.seconds, options.undisturbed, options.patience)
    used = {name: t.setting for name, t in chosen.items()}
    return row(case.name, times, used) | {
        "flops": case.flops,
        "bytes": case.moved,
        "errors": errors,
        "settings": settings,
    }


def row(name: str, times: dict[str, list[float]], used: dict[str, str]) -> dict[str, Any]:
    """Statistics of the times, and of the ratios: medians and quartiles."""
    return {
        "name": name,
        "frameworks": {
            framework: {"setting": used[framework], **_spread(taken), "times": taken}
            for framework, taken in times.items()
        },
        "ratios": {peer: _spread(values) for peer, values in ratios(times).items()},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [statistics.median(values)]
    )
    return {"fastest": min(values), "median": middle, "lower_quartile": low, "upper_quartile": high}


def add_limits(rows: Iterable[dict[str, Any]], peak: float, bandwidth: float) -> None:
    """Give each row the time that the machine's peak and bandwidth allow, and the share of it that frameworks reach."""
    for reading in rows:
        limit = max(reading.get("flops", 0) / peak, reading.get("bytes", 0) / bandwidth)
        if limit:
            reading["limit"] = limit
            for taken in reading["frameworks"].values():
                taken["share_of_limit"] = limit / taken["median"]
