"""A small GPT learns to write, character by character, from the reference of the Python language that comes with Python.

python -m tengen.examples.characters        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pydoc_data.topics import topics  # what help() shows: 460,000 characters
from textwrap import wrap

import numpy as np

import tengen
import tengen.functional as F

from .. import models
from ..optimizer import AdamW
from .common import Batch, Options, learner, run, train
from .pictures import INK, ORANGE, curve, figure, save

LENGTH, BATCH = 128, 16


def read() -> tuple[str, np.ndarray]:
    """The alphabet, and the text as indices into it. Rare characters are left out."""
    text = "\n\n".join(topics[name].strip() for name in sorted(topics))
    letters = sorted(letter for letter in set(text) if text.count(letter) >= 20)
    number = {letter: index for index, letter in enumerate(letters)}
    return "".join(letters), np.array([number[letter] for letter in text if letter in number], np.int32)


def batches(text: np.ndarray, random: np.random.Generator) -> Iterator[Batch]:
    """Parts of the text, and for each character the next one."""
    while True:
        starts = random.integers(0, len(text) - LENGTH, (BATCH, 1))
        parts = text[starts + np.arange(LENGTH + 1)]
        yield parts[:, :-1], parts[:, 1:]


def loss_of(net: models.GPT) -> object:
    """The cross entropy of the next character, in nats per character."""

    def loss(parts: tengen.Tensor, following: tengen.Tensor) -> tengen.Tensor:
        logits = net(parts)
        return F.nn.cross_entropy(logits.reshape(-1, logits.shape[2]), following.reshape(-1))

    return loss


def surprise(net: models.GPT, text: np.ndarray) -> float:
    """The mean loss over a text, in nats per character."""
    parts = text[: len(text) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    loss, found = loss_of(net), []
    net.eval()
    for start in range(0, len(parts) - BATCH + 1, BATCH):
        chosen = parts[start : start + BATCH]
        found.append(loss(tengen.tensor(chosen[:, :-1]), tengen.tensor(chosen[:, 1:])).item())  # type: ignore[operator]
    return float(np.mean(found))


def write(net: models.GPT, letters: str, options: Namespace) -> str:
    """Write some 600 characters. The network continues from the last ones, because it has learnt from texts of LENGTH characters."""
    made = [letters.index(letter) for letter in options.begin if letter in letters] or [0]
    while len(made) < 600:
        made += net.generate(made[-LENGTH // 2 :], LENGTH // 2, options.temperature, seed=options.seed + len(made))
    return "".join(letters[number] for number in made)


def work(options: Namespace) -> None:
    """Train, measure on the last twentieth of the text, write."""
    letters, text = read()
    learned, rest = np.split(text, [len(text) * 19 // 20])
    net = models.GPT(len(letters), LENGTH, options.depth, 4, options.features, dropout=0.0)
    optimizer = AdamW(net.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.05)
    step = learner(net, optimizer, loss_of(net), clip=1.0)  # type: ignore[arg-type]
    losses = train(
        step, batches(learned, np.random.default_rng(options.seed)), options.steps, optimizer, options.tensorboard
    )
    reached = surprise(net, rest)
    written = write(net, letters, options)
    print(written)
    print(
        f"\n{reached:.3f} nats a character on text that it has not seen; guessing would be {np.log(len(letters)):.3f}"
    )

    picture = figure(
        f"A GPT of {sum(p.size for p in net.parameters()):,} numbers writes: {reached:.2f} nats a character"
    )
    left, right = picture.subplots(1, 2, width_ratios=(2, 3))
    curve(left, losses, "loss, in nats a character")
    left.axhline(reached, color=ORANGE, linestyle=":", label="unseen text")
    left.legend(frameon=False)
    lines = [part for line in written.splitlines() for part in wrap(line, 68) or [""]]
    right.text(0, 1, "\n".join(lines).replace("$", r"\$"), family="monospace", fontsize=9, color=INK, va="top")
    right.axis("off")
    save(picture, options.output / "characters.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    options = Options("characters", "A small GPT learns to write from the reference of Python.", steps=1200)
    options.add_argument("--depth", type=int, default=3, help="blocks (3)")
    options.add_argument("--features", type=int, default=96, help="between them, a multiple of 4 (96)")
    options.add_argument(
        "--temperature", type=float, default=0.7, help="0 always writes the most likely character (0.7)"
    )
    options.add_argument("--begin", default="The ", help="the text to continue")
    return run(options, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
