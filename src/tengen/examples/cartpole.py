"""Reinforcement learning: a network learns to balance a pole, by proximal policy optimisation. Schulman et al. 2017; the task is gymnasium's.

python -m tengen.examples.cartpole        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M

from ..optimizer import Adam
from .common import Batch, Options, learner, run, tensorboard
from .interrupts import stopped_early
from .pictures import BLUE, ORANGE, figure, save

CARTS, MOVES = 8, 128
DISCOUNT, TRACE, CLIP = 0.98, 0.9, 0.2


class Policy(M.Module):
    """From observations (N, 4) to logits of the two pushes (N, 2), and the expected future reward (N,)."""

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.actor = M.Sequential(M.Linear(4, hidden), M.Elemwise("tanh"), M.Linear(hidden, 2))
        self.critic = M.Sequential(M.Linear(4, hidden), M.Elemwise("tanh"), M.Linear(hidden, 1))

    def forward(self, seen: tengen.Tensor) -> tuple[tengen.Tensor, tengen.Tensor]:
        return self.actor(seen), self.critic(seen)[:, 0]


def loss_of(net: Policy) -> Any:
    """Equation 9: the gain of the policy, clipped where it is far from the one that played; the error of the critic; entropy, for exploration."""

    def loss(
        seen: tengen.Tensor, pushes: tengen.Tensor, before: tengen.Tensor, gains: tengen.Tensor, worth: tengen.Tensor
    ) -> tengen.Tensor:
        logits, expected = net(seen)
        chances = F.logsoftmax(logits, axis=1)
        ratio = F.exp(F.indexing_one_hot(chances, pushes) - before)
        gain = F.minimum(ratio * gains, F.clip(ratio, 1 - CLIP, 1 + CLIP) * gains)
        entropy = -F.sum(F.exp(chances) * chances, axis=1)
        return F.mean(-gain + 0.5 * (expected - worth) ** 2 - 0.01 * entropy)

    return loss


def play(net: Policy, carts: Any, seen: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, Batch]:
    """Play some moves with all carts; returns the last observations, and what happened, each (MOVES, CARTS, ...)."""
    rows = []
    for _ in range(MOVES):
        logits, expected = net(tengen.tensor(seen.astype(np.float32)))
        chances = F.logsoftmax(logits, axis=1).numpy()
        pushes = (random.random(CARTS) < np.exp(chances[:, 1])).astype(np.int32)
        after, reward, fallen, late, _ = carts.step(pushes)
        # An episode that was only cut off would have brought more reward: the critic estimates how much.
        if late.any():
            reward = reward + DISCOUNT * late * expected.numpy()
        rows.append((seen, pushes, chances[np.arange(CARTS), pushes], expected.numpy(), reward, fallen | late))
        seen = after
    return seen, tuple(np.stack(column) for column in zip(*rows, strict=True))


def gains_of(expected: np.ndarray, last: np.ndarray, rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How much better each move was than expected, with its later consequences. Schulman et al. 2016, equation 16."""
    gains, gain = np.zeros_like(expected), np.zeros(CARTS)
    for move in reversed(range(MOVES)):
        goes_on = 1.0 - ends[move]
        error = rewards[move] + DISCOUNT * last * goes_on - expected[move]
        gain = error + DISCOUNT * TRACE * goes_on * gain
        gains[move], last = gain, expected[move]
    return gains


def lengths(net: Policy, count: int, seed: int) -> np.ndarray:
    """How long the pole stands, up to 500 moves, if the better push is taken each time."""
    import gymnasium

    carts = gymnasium.make_vec("CartPole-v1", count, vectorization_mode="sync")
    seen, _ = carts.reset(seed=seed)
    stood, up = np.zeros(count, int), np.ones(count, bool)
    while up.any():
        pushes = net(tengen.tensor(seen.astype(np.float32)))[0].numpy().argmax(1)
        seen, _, fallen, late, _ = carts.step(pushes)
        stood += up
        up &= ~(fallen | late)
    return stood


def work(options: Namespace) -> None:
    """Alternate between playing and learning, then measure."""
    import gymnasium
    from tqdm import tqdm

    random = np.random.default_rng(options.seed)
    net, running, stood = Policy(), np.zeros(CARTS), [0.0]
    history: list[float] = []
    step = learner(net, Adam(net.parameters(), lr=1e-3), loss_of(net), clip=0.5)
    carts = gymnasium.make_vec("CartPole-v1", CARTS, vectorization_mode="sync")
    seen, _ = carts.reset(seed=options.seed)
    bar = tqdm(total=options.steps, unit=" rounds", dynamic_ncols=True)
    with stopped_early() as stop, tensorboard(options.tensorboard) as log, bar:
        while len(history) < options.steps and not stop():
            seen, (states, pushes, before, expected, rewards, ends) = play(net, carts, seen, random)
            gains = gains_of(expected, net(tengen.tensor(seen.astype(np.float32)))[1].numpy(), rewards, ends)
            worth = gains + expected
            gains = (gains - gains.mean()) / (gains.std() + 1e-6)
            flat = [x.reshape(MOVES * CARTS, *x.shape[2:]) for x in (states, pushes, before, gains, worth)]
            for _ in range(8):
                for chosen in np.split(random.permutation(MOVES * CARTS), 4):
                    rows = [x[chosen].astype(np.int32 if x.dtype.kind == "i" else np.float32) for x in flat]
                    step(*map(tengen.tensor, rows))
            for end in ends:
                running += 1
                stood += running[end].tolist()
                running[end] = 0
            history.append(float(np.mean(stood[-20:])))
            log(len(history), moves=history[-1])
            bar.set_postfix(moves=f"{history[-1]:.0f}", refresh=False)
            bar.update()

    reached = lengths(net, 20, options.seed + 1)
    print(
        f"the pole stands for {reached.mean():.0f} of 500 moves (mean of {len(reached)} tries; the worst {reached.min()})"
    )
    picture = figure(f"A network balances a pole for {reached.mean():.0f} of 500 moves")
    left, right = picture.subplots(1, 2)
    left.plot(np.arange(1, len(history) + 1) * MOVES * CARTS, history, color=BLUE)
    left.set(xlabel="moves played", ylabel="moves that the pole stood (mean of the last 20)", ylim=(0, 510))
    right.bar(np.arange(1, len(reached) + 1), np.sort(reached), color=ORANGE)
    right.set(xlabel="try after training, sorted", ylabel="moves", ylim=(0, 510))
    save(picture, options.output / "cartpole.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    options = Options(
        "cartpole", f"A network learns to balance a pole; a step is a round of {CARTS * MOVES} moves.", 60
    )
    return run(options, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
