"""The demo: it learns, it can be interrupted at any batch and resumed, and it says what is wrong in one line."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from event_files import event_values

import tengen
from tengen.examples.digits import cli, data, quantized
from tengen.examples.digits.checkpoint import Settings, load_checkpoint
from tengen.examples.digits.trainer import Trainer

FEW = 192
TINY = ["--epochs", "2", "--batch-size", "48"]


@pytest.fixture(scope="module")
def scans():
    return data.load()


@pytest.fixture(autouse=True)
def few_scans(scans, monkeypatch):
    """Train on a few scans only, four batches of TINY an epoch."""
    train, test = scans
    few = data.Scans(train.images[:FEW], train.labels[:FEW]), data.Scans(test.images[:40], test.labels[:40])
    monkeypatch.setattr(cli, "load", lambda: few)
    return few


def run(folder, *arguments):
    return cli.main([*arguments, "--output", str(folder)])


def test_traced_it_gives_the_same_network(tmp_path):
    for folder, arguments in (("eager", TINY), ("traced", [*TINY, "--trace"])):
        assert run(tmp_path / folder, *arguments) == 0
    eager, traced = (load_checkpoint(tmp_path / folder / "checkpoint.tg") for folder in ("eager", "traced"))
    assert eager["history"].test_accuracy == traced["history"].test_accuracy
    for name, value in eager["model"].items():
        np.testing.assert_allclose(traced["model"][name], value, rtol=1e-4, atol=1e-5)


def interrupt_at(monkeypatch, batch):
    """Press Ctrl-C while the given batch, counted through the run, is computed."""
    step, calls = Trainer.step, []

    def interrupted(self, images, labels):
        calls.append(None)
        if len(calls) - 1 == batch:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "step", interrupted)


def same(a, b):
    """Whether two checkpoints hold the same, to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def error_line(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("digits: error: "), err
    return err


# -- data --------------------------------------------------------------------------------------------------------


def test_scans_are_split_by_digit(scans):
    train, test = scans
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 1, 32, 32) and train.images.dtype == np.float32
    assert train.images.min() == 0 and train.images.max() == 1
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    assert np.all(np.abs(shares - 0.2) < 0.01)


def test_a_shift_moves_the_image():
    images = np.random.default_rng(0).random((2, 1, 32, 32), dtype=np.float32)
    middle = data.MAX_SHIFT
    moved = data.shifted(images, np.array([[middle, middle], [middle + 1, middle - 2]]))
    assert np.array_equal(moved[0], images[0])
    assert np.array_equal(moved[1, :, 1:, :-2], images[1, :, :-1, 2:])
    assert not moved[1, :, 0].any() and not moved[1, :, :, -2:].any()


def test_an_epoch_depends_on_seed_and_number_and_can_start_late(few_scans):
    train, _ = few_scans
    whole = list(data.epoch_batches(train, 48, seed=1, epoch=2))
    late = list(data.epoch_batches(train, 48, seed=1, epoch=2, first=3))
    other = next(data.epoch_batches(train, 48, seed=1, epoch=3))
    assert len(whole) == 4 and len(late) == 1
    assert np.array_equal(late[0][0], whole[3][0]) and np.array_equal(late[0][1], whole[3][1])
    assert not np.array_equal(other[1], whole[0][1])
    assert np.array_equal(np.sort(np.concatenate([labels for _, labels in whole])), np.sort(train.labels))


# -- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_learns_and_draws(tmp_path, capsys, optimizer):
    assert run(tmp_path, "--epochs", "8", "--batch-size", "16", "--optimizer", optimizer) == 0
    history = load_checkpoint(tmp_path / "checkpoint.tg")["history"]
    assert history.test_accuracy[-1] >= 0.8
    assert history.train_loss[-1] < history.train_loss[0] / 2
    assert "Test accuracy" in capsys.readouterr().out
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.tg", "report.png"]


def test_the_same_seed_gives_the_same_run(tmp_path):
    states = []
    for number, seed in enumerate(["3", "3", "4"]):
        assert run(tmp_path / str(number), *TINY, "--seed", seed) == 0
        states.append(load_checkpoint(tmp_path / str(number) / "checkpoint.tg"))
    assert same(states[0]["model"], states[1]["model"]) and states[0]["history"] == states[1]["history"]
    assert not same(states[0]["model"], states[2]["model"])


def test_the_best_epoch_is_kept_as_it_was(tmp_path, few_scans):
    trainer = Trainer(Settings(epochs=3), *few_scans, tmp_path / "checkpoint.tg")
    kept = {}
    end_epoch = trainer._end_epoch

    def end():
        epoch = trainer.progress.epoch
        end_epoch()
        kept[epoch] = {name: np.array(value) for name, value in trainer.model.state_dict().items()}

    trainer._end_epoch = end
    assert trainer.run(lambda: False)
    trainer.load_best()
    assert trainer.best["epoch"] == int(np.argmin(trainer.history.train_loss))
    assert same(dict(trainer.model.state_dict()), kept[trainer.best["epoch"]])


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_an_interrupted_run_is_saved_and_resumes_to_the_same_result(tmp_path, capsys, monkeypatch, batch):
    """The fourth batch is the last of the first epoch."""
    assert run(tmp_path / "whole", *TINY) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, batch)
        assert run(tmp_path / "parts", *TINY) == 130
    checkpoint = tmp_path / "parts" / "checkpoint.tg"
    assert f"saved in {checkpoint}" in capsys.readouterr().err
    progress = load_checkpoint(checkpoint)["progress"]
    assert progress.epoch * 4 + progress.batch == batch + 1
    assert not (tmp_path / "parts" / "report.png").exists()

    assert run(tmp_path / "parts", "--resume") == 0
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoint.tg") for name in ("whole", "parts"))
    assert same(whole, parts)


def test_a_run_resumes_from_a_file_into_another_folder(tmp_path):
    assert run(tmp_path / "first", *TINY) == 0
    before = (tmp_path / "first" / "checkpoint.tg").read_bytes()
    assert run(tmp_path / "second", "--resume", str(tmp_path / "first" / "checkpoint.tg")) == 0
    assert (tmp_path / "second" / "report.png").exists()
    assert (tmp_path / "first" / "checkpoint.tg").read_bytes() == before


@pytest.mark.parametrize("named", ["file", "folder"])
def test_a_run_goes_on_where_its_checkpoint_lies(tmp_path, monkeypatch, named):
    """And not in out/digits, where there is another run."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(TINY) == 0
    there = (tmp_path / "out" / "digits" / "checkpoint.tg").read_bytes()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        assert run(tmp_path / "other", *TINY, "--seed", "3") == 130
    checkpoint = tmp_path / "other" / "checkpoint.tg"
    assert cli.main(["--resume", str(checkpoint if named == "file" else checkpoint.parent)]) == 0
    assert load_checkpoint(checkpoint)["progress"].epoch == 2
    assert (tmp_path / "other" / "report.png").exists()
    assert (tmp_path / "out" / "digits" / "checkpoint.tg").read_bytes() == there


def test_the_advice_after_ctrl_c_works_to_the_letter(tmp_path, capsys, monkeypatch):
    before = tengen.get_default_device()
    folder, board = tmp_path / "a run's folder", str(tmp_path / "board")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert run(folder, *TINY, "--device", "cpu1", "--trace", "--tensorboard", board) == 130
    command = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert command[:3] == [sys.executable, "-m", "tengen.examples.digits"]
    assert command[-5:] == ["--device", "cpu1", "--tensorboard", board, "--trace"]
    try:
        assert cli.main(command[3:]) == 0
    finally:
        tengen.set_default_device(before)
    assert load_checkpoint(folder / "checkpoint.tg")["progress"].epoch == 2


def test_figures_for_tensorboard(tmp_path):
    """Those of each epoch."""
    board = tmp_path / "board"
    assert run(tmp_path, *TINY, "--tensorboard", str(board)) == 0
    found, history = event_values(board), asdict(load_checkpoint(tmp_path / "checkpoint.tg")["history"])
    assert set(found) == {(name, epoch) for name in history for epoch in (1, 2)}
    for name, values in history.items():
        np.testing.assert_allclose([found[name, epoch].simple_value for epoch in (1, 2)], values, rtol=1e-6)


def test_tensorboard_needs_its_package(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    assert run(tmp_path, *TINY, "--tensorboard", str(tmp_path)) == 2
    assert "pip install tensorboardX" in error_line(capsys)


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--batch-size", "-3"], "--batch-size"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "0"], "--lr"),
        (["--optimizer", "newton"], "--optimizer"),
        (["--seed", "1.5"], "--seed"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "²"], "--seed"),
        (["--epochs", "9" * 5000], "--epochs"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_bad_option_is_one_line(tmp_path, capsys, arguments, named):
    with pytest.raises(SystemExit) as exit:
        run(tmp_path, *arguments)
    assert exit.value.code == 2
    assert named in error_line(capsys)


@pytest.mark.parametrize("device", ["gpu7", "tpu"])
def test_a_device_that_is_not_there_is_one_line(tmp_path, capsys, device):
    assert run(tmp_path, "--device", device) == 2
    assert device in error_line(capsys)
    assert tengen.get_default_device() == "xpux"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "missing"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, capsys, few_scans, damage):
    path = tmp_path / "checkpoint.tg"
    Trainer(Settings(), *few_scans, path).save()
    whole = path.read_bytes()
    if damage == "other":
        tengen.save({"weight": np.zeros(3)}, path)
    elif damage == "missing":
        path.unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[:-10], "flip": flipped, "empty": b""}[damage])
    assert run(tmp_path, "--resume") == 2
    assert str(path) in error_line(capsys)


def test_a_resumed_run_keeps_its_settings(tmp_path, capsys, few_scans):
    Trainer(Settings(epochs=3), *few_scans, tmp_path / "checkpoint.tg").save()
    assert run(tmp_path, "--resume", "--epochs", "5") == 2
    assert "--epochs" in error_line(capsys)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "folder") == 2
    assert "file" in error_line(capsys)


def test_odd_places_are_one_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").write_bytes(b"")
    cases = [
        (["--output", str(tmp_path / "file")], "file cannot be a folder"),
        (["--output", str(tmp_path / "file" / "sub")], "cannot be a folder"),
        (["--resume", str(tmp_path / "empty")], "checkpoint.tg is not there"),
        (["--resume", str(tmp_path / "none.tg")], "none.tg is not there"),
        (["--resume", str(tmp_path / "file")], "file: not a file that tengen.save has written"),
    ]

    def locked(*_):
        raise PermissionError(13, "Permission denied", "/locked/checkpoint.tg")

    def full(*_):
        raise OSError(28, "No space left on device")

    for arguments, text in cases:
        assert cli.main(arguments) == 2
        assert text in (line := error_line(capsys)) and "Errno" not in line
    for name, replaced, text in (
        ("replace", locked, "cannot be used: permission denied"),
        ("fsync", full, "disk is full"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, replaced)
            assert run(tmp_path / "run", *TINY) == 2
        assert text in (line := capsys.readouterr().err.splitlines()[-1]) and "Errno" not in line


@pytest.mark.parametrize("missing", ["matplotlib", "scipy", "sklearn", "tqdm"])
def test_a_plain_installation_names_the_extra(missing):
    code = (
        "import runpy, sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}: raise ModuleNotFoundError(name, name=name.partition('.')[0])\n"
        "sys.meta_path.insert(0, Missing())\n"
        "runpy.run_module('tengen.examples.digits', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert f"{missing} is not installed" in done.stderr and "pip install 'tengen[demo]'" in done.stderr


def test_divergence_is_told(tmp_path, capsys):
    assert run(tmp_path, "--optimizer", "sgd", "--lr", "1e30") == 2
    assert "--lr" in capsys.readouterr().err.splitlines()[-1]


def test_eight_bits_read_what_floats_read(scans, tmp_path):
    found = quantized.run(scans, 6, 4, tmp_path)
    exact, rounded, whole = found.values()
    assert exact > 95
    assert whole >= exact - 0.3
    assert abs(whole - rounded) <= 0.3  # an image at most
