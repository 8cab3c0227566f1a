"""Rows of a table: a small network next to boosted trees, on the breast cancer data of scikit-learn, by five-fold cross-validation.

python -m tengen.examples.tabular        (--help for the options)
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M

from ..optimizer import AdamW
from .common import Options, epochs, learner, run, train
from .pictures import BLUE, ORANGE, curve, figure, save


def network(columns: int, hidden: int) -> M.Module:
    """Rows (N, columns), standardised, to logits (N, 1)."""
    return M.Sequential(
        M.Linear(columns, hidden), M.BatchNorm1d(hidden), M.SiLU(), M.Dropout(0.3),
        M.Linear(hidden, hidden), M.BatchNorm1d(hidden), M.SiLU(), M.Dropout(0.3), M.Linear(hidden, 1),
    )  # fmt: skip


def by_network(
    rows: np.ndarray, labels: np.ndarray, unseen: np.ndarray, options: Namespace, fold: int
) -> tuple[np.ndarray, list[float]]:
    """The probability that each unseen row is of class 1, and the training losses."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(rows)
    ready, wanted = scaler.transform(rows).astype(np.float32), labels.astype(np.float32).reshape(-1, 1)
    net = network(rows.shape[1], options.hidden)
    optimizer = AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    step = learner(net, optimizer, lambda x, y: F.loss.binary_cross_entropy(net(x), y))
    batches = epochs([ready, wanted], 64, np.random.default_rng([options.seed, fold]))
    folder = options.tensorboard and options.tensorboard / f"fold{fold}"
    losses = train(step, batches, options.steps, optimizer, folder)
    net.eval()
    logits = net(tengen.tensor(scaler.transform(unseen).astype(np.float32)))
    return F.sigmoid(logits).numpy()[:, 0], losses


def by_trees(rows: np.ndarray, labels: np.ndarray, unseen: np.ndarray, seed: int) -> np.ndarray:
    """The probability that each unseen row is of class 1."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed).fit(rows, labels).predict_proba(unseen)[:, 1]


def work(options: Namespace) -> None:
    """Classify each row by a network, and by trees, that have not seen it."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.metrics import roc_auc_score, roc_curve
    from sklearn.model_selection import StratifiedKFold

    rows, labels = load_breast_cancer(return_X_y=True)
    chances, losses = {"network": np.zeros(len(rows)), "boosted trees": np.zeros(len(rows))}, []
    for fold, (seen, rest) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(rows, labels)):
        chances["network"][rest], found = by_network(rows[seen], labels[seen], rows[rest], options, fold)
        chances["boosted trees"][rest] = by_trees(rows[seen], labels[seen], rows[rest], options.seed)
        losses.append(found)

    said = {}
    for name, chance in chances.items():
        right = np.mean((chance > 0.5) == labels)
        said[name] = f"{right:.1%} right, area under the curve {roc_auc_score(labels, chance):.4f}"
        print(f"{name:14} {said[name]}")

    picture = figure("Benign or not: a network and boosted trees on 569 rows of 30 columns")
    left, right_axes = picture.subplots(1, 2)
    curve(
        left, np.mean([found[: min(map(len, losses))] for found in losses], axis=0).tolist(), "loss, mean of five folds"
    )
    for (name, chance), colour in zip(chances.items(), (BLUE, ORANGE), strict=True):
        right_axes.plot(*roc_curve(labels, chance)[:2], color=colour, label=f"{name}: {said[name]}")
    right_axes.set(
        xlim=(-0.005, 0.2), ylim=(0.8, 1.005), xlabel="malignant ones called benign", ylabel="benign ones found"
    )
    right_axes.legend(frameon=False, loc="lower right", fontsize=9)
    save(picture, options.output / "tabular.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the exit code."""
    options = Options("tabular", "A network next to boosted trees, on rows of a table.", steps=300)
    options.add_argument("--hidden", type=int, default=64, help="units of each layer (64)")
    return run(options, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
