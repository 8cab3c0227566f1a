"""Each example, shortened: it runs to its picture, and says in one line what is wrong with its options; and the loop that they share."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from event_files import event_values

import tengen
import tengen.functional as F
import tengen.module as M
from tengen.examples import common, detector, unet
from tengen.optimizer import SGD

# So many steps, and what they print.
SHORT = {
    "cartpole": (1, "of 500 moves"),
    "characters": (2, "nats a character on text that it has not seen"),
    "detector": (2, "average precision 0."),
    "distributed": (4, "2 process(es): last loss"),
    "gan": (2, "digits of 10"),
    "tabular": (2, "boosted trees  9"),
    "unet": (2, "mean intersection over union"),
    "vae": (2, "nats a digit on 300 unseen ones"),
}


@pytest.mark.parametrize("name", SHORT)
def test_it_runs_to_its_picture(name, tmp_path, capsys):
    """And what it writes for TensorBoard: a figure for each step."""
    steps, said = SHORT[name]
    arguments = ["--steps", str(steps), "--output", str(tmp_path), "--tensorboard", str(tmp_path / "board")]
    assert import_module(f"tengen.examples.{name}").main(arguments) == 0
    assert said in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    folders = {path.parent for path in (tmp_path / "board").rglob("events*")}
    assert folders
    for folder in folders:
        found = event_values(folder)
        assert {step for _, step in found} == set(range(1, steps + 1))
        assert all(np.isfinite(value.simple_value) for value in found.values())


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--steps", "many"], ["--seed", "-1"], ["--colour"]])
def test_wrong_options_are_told_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        unet.main(arguments)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("unet: error: ") and err.count("\n") == 1


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert unet.main(["--output", str(tmp_path / "file" / "folder")]) == 2
    assert capsys.readouterr().err.startswith("unet: error: ")


def test_none_is_long():
    """200 lines at most, for they are there to be read."""
    lengths = {path.name: path.read_text().count("\n") for path in Path(common.__file__).parent.rglob("*.py")}
    assert len(lengths) >= 18
    assert {name: length for name, length in lengths.items() if length > 200} == {}


# -- the loop that they share ------------------------------------------------------------------------------------


def parabola():
    """A network, its optimizer, a step, and batches, which can be learnt."""
    tengen.random.seed(3)
    net = M.Sequential(M.Linear(1, 16), M.Elemwise("tanh"), M.Linear(16, 1))
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    sgd = SGD(net.parameters(), lr=0.2, momentum=0.9)
    step = common.learner(net, sgd, lambda x, y: F.mean((net(x) - y) ** 2), clip=5.0)
    return net, sgd, step, common.epochs([x, x**2], 16, np.random.default_rng(0))


def test_it_learns_the_same_each_time():
    losses = []
    for _ in range(2):
        _, sgd, step, batches = parabola()
        losses.append(common.train(step, batches, 80, sgd))
    assert losses[0] == losses[1]
    assert np.mean(losses[0][-10:]) < np.mean(losses[0][:10]) / 10
    assert sgd.param_groups[0]["lr"] < 0.2 / 100


def test_what_it_writes_for_tensorboard(tmp_path):
    _, sgd, step, batches = parabola()
    losses = common.train(step, batches, 5, sgd, tmp_path)
    found = event_values(tmp_path)
    np.testing.assert_allclose([found["loss", step].simple_value for step in range(1, 6)], losses, rtol=1e-6)
    assert found["lr", 1].simple_value == pytest.approx(0.2 / 5)
    assert len(found) == 10


def test_ctrl_c_keeps_what_was_learnt():
    _, sgd, step, batches = parabola()
    before, taken = signal.getsignal(signal.SIGINT), []

    def interrupted(*batch):
        taken.append(batch)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*batch)

    assert len(common.train(interrupted, batches, 80, sgd)) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_no_number_ends_it():
    _, _, _, batches = parabola()
    with pytest.raises(ArithmeticError, match="the loss became nan in step 1"):
        common.train(lambda *_: tengen.tensor(float("nan")), batches, 5)


def test_a_pass_has_each_row_once():
    batches = common.epochs([np.arange(10), 2 * np.arange(10)], 5, np.random.default_rng(0))
    parts = [next(batches) for _ in range(2)]
    assert sorted(np.concatenate([x for x, _ in parts])) == list(range(10))
    assert all((2 * x == y).all() for x, y in parts)


# -- detector ----------------------------------------------------------------------------------------------------


def test_average_precision():
    true = [np.array([[0, 0, 10, 10, 0, 1], [20, 20, 30, 30, 1, 1]], float), np.zeros((0, 6))]
    exact = [true[0].copy(), np.zeros((0, 6))]
    assert detector.average_precision(exact, true) == 1
    other_class = [true[0].copy(), np.zeros((0, 6))]
    other_class[0][1, 4] = 2
    assert detector.average_precision(other_class, true) == 0.5
    # The false one is surer than the second: precisions are 1 and 2/3, each for half of the objects.
    false = [np.array([[0, 0, 10, 10, 0, 0.9], [50, 50, 60, 60, 0, 0.8], [20, 20, 30, 30, 1, 0.7]]), np.zeros((0, 6))]
    assert detector.average_precision(false, true) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert detector.average_precision([np.zeros((0, 6))] * 2, true) == 0


def test_what_a_detector_learns_is_what_is_there():
    image, boxes = detector.scene(np.random.default_rng(5))
    kinds, edges = detector.targets(boxes)
    assert image.shape == (3, unet.SIZE, unet.SIZE)
    for row, column in zip(*np.nonzero(kinds), strict=True):
        x, y = (column + 0.5) * detector.STRIDE, (row + 0.5) * detector.STRIDE
        left, up, right, down = edges[:, row, column]
        found = np.array([x - left, y - up, x + right, y + down])
        assert min(np.abs(found - box[:4]).max() for box in boxes if box[4] == kinds[row, column] - 1) < 1e-3
    assert set(boxes[:, 4] + 1) == set(kinds[kinds > 0])
