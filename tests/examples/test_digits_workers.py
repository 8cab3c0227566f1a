"""The demo in two processes: the network of one, which shows, writes and resumes as one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tengen
import tengen.distributed as dist
from tengen.examples.digits import cli, data
from tengen.examples.digits.checkpoint import Settings, load_checkpoint
from tengen.examples.digits.trainer import Trainer, own_part, smoothed_loss

TINY = ["--epochs", "2", "--batch-size", "48", "--optimizer", "sgd", "--workers", "2"]


@pytest.fixture(scope="module")
def few():
    train, test = data.load()
    return data.Scans(train.images[:190], train.labels[:190]), data.Scans(test.images[:40], test.labels[:40])


@pytest.fixture(autouse=True)
def few_scans(few, monkeypatch):
    """Four batches an epoch, of which the last one is smaller."""
    monkeypatch.setattr(cli, "load", lambda: few)


def run(folder, *arguments):
    return cli.main([*arguments, "--output", str(folder)])


def saved(folder):
    return load_checkpoint(folder / "checkpoint.tg")


def same(a, b):
    """Whether two checkpoints hold the same, to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tengen.Tensor):
        return np.array_equal(a.numpy(), b.numpy())
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


class InHalves(Trainer):
    """One process that computes the parts of two, one after the other."""

    def step(self, images, labels):
        losses, right, half = [], 0, len(labels) // 2
        for part in (slice(0, half), slice(half, None)):
            x, y = tengen.tensor(images[part]), tengen.tensor(labels[part])
            with self.gm:
                logits = self.model(x)
                losses.append(smoothed_loss(logits, y) * tengen.tensor(np.float32(len(y) / len(labels))))
                self.gm.backward(losses[-1])
            right += int((logits.numpy().argmax(1) == labels[part]).sum())
        self.optimizer.step().clear_grad()
        return (losses[0] + losses[1]).item(), right


def test_the_network_is_that_of_one_process(tmp_path, few, capfd):
    assert run(tmp_path / "two", *TINY) == 0
    shown = capfd.readouterr()
    assert shown.out.count("Test accuracy") == 1 and shown.err.count("epoch 1/2:   0%") == 1  # the first one's only
    assert run(tmp_path / "one", *TINY[:-2]) == 0
    halves = InHalves(Settings(2, 48, 0.05, "sgd"), *few, tmp_path / "halves.tg")
    assert halves.run(lambda: False)
    two, one, parts = saved(tmp_path / "two"), saved(tmp_path / "one"), load_checkpoint(tmp_path / "halves.tg")
    assert same({**two, "settings": 0}, {**parts, "settings": 0})  # bit for bit
    assert two["settings"] == one["settings"] and two["history"].test_accuracy == one["history"].test_accuracy
    for name, value in one["model"].items():
        np.testing.assert_allclose(two["model"][name], value, rtol=1e-3, atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["checkpoint.tg", "report.png"]


def interrupt_at(monkeypatch, batch):
    """Press Ctrl-C, which all processes hear of, while the given batch is computed."""
    step, calls = Trainer.step, []

    def interrupted(self, images, labels):
        calls.append(None)
        if len(calls) - 1 == batch and dist.get_rank() == 1:
            os.kill(os.getppid(), signal.SIGINT)  # which passes it on
            time.sleep(0.2)
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "step", interrupted)


def test_ctrl_c_and_what_it_advises(tmp_path, capfd, monkeypatch):
    """Traced, and resumed by one process too, as the network is the same."""
    assert run(tmp_path / "whole", *TINY, "--trace") == 0
    capfd.readouterr()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert run(tmp_path / "parts", *TINY, "--trace") == 130
    err = capfd.readouterr().err
    assert err.count("Interrupted. The run is saved") == 1 and err.rstrip().endswith("--workers 2 --trace")
    assert 3 <= saved(tmp_path / "parts")["progress"].batch <= 4
    assert run(tmp_path / "alone", "--resume", str(tmp_path / "parts")) == 0
    assert run(tmp_path / "parts", "--resume", "--workers", "2", "--trace") == 0
    assert same(saved(tmp_path / "whole"), saved(tmp_path / "parts"))
    for name, value in saved(tmp_path / "alone")["model"].items():
        np.testing.assert_allclose(value, saved(tmp_path / "whole")["model"][name], rtol=1e-3, atol=1e-4)


def test_ctrl_c_at_the_terminal(tmp_path):
    """Which sends it to all processes of the group, here twice."""
    command = [sys.executable, "-m", "tengen.examples.digits", "--workers", "2", "--output", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        shown = ""
        while "loss=" not in shown:
            more = program.stderr.read(1)
            assert more, shown
            shown += more
        os.killpg(program.pid, signal.SIGINT)
        rest = program.communicate(timeout=120)[1]
    assert (program.returncode, rest.count("Interrupted. The run is saved")) == (130, 1), rest
    assert "Traceback" not in rest and saved(tmp_path)["progress"].seen > 0
    with pytest.raises(ProcessLookupError):
        os.killpg(program.pid, 0)


def error_line(capfd):
    err = capfd.readouterr().err
    assert err.count("digits: error: ") == 1 and "Traceback" not in err, err
    return err.splitlines()[-1]


def test_what_is_wrong_is_one_line(tmp_path, capfd, monkeypatch):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", *TINY) == 2
    assert error_line(capfd).endswith("file cannot be a folder: there is a file of that name")
    assert run(tmp_path, *TINY, "--lr", "1e30") == 2
    assert "--lr" in error_line(capfd)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda *_: (1.0, dist.get_rank() and os.kill(os.getpid(), signal.SIGKILL)))
        assert run(tmp_path, *TINY) == 2
    assert "rank 1 was killed by SIGKILL" in error_line(capfd)
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        assert run(tmp_path, *TINY) == 2  # of the first process; the other one waits for it
    assert "disk is full" in error_line(capfd)
    with monkeypatch.context() as patch:
        patch.setattr(cli, "find_spec", lambda _: None)
        assert run(tmp_path, *TINY) == 2
    assert error_line(capfd) == "digits: error: --workers needs the extra 'mpi'; run: pip install 'tengen[mpi]'"


def test_parts_of_a_batch():
    @dist.launcher(n_gpus=2)
    def parts():
        return [own_part(count) for count in (1, 2, 5, 48)]

    first, second = parts()
    assert first == [(slice(0, 1), 0.0), (slice(0, 1), 0.5), (slice(0, 2), np.float32(0.4)), (slice(0, 24), 0.5)]
    assert second == [(slice(0, 1), 1.0), (slice(1, 2), 0.5), (slice(2, 5), np.float32(0.6)), (slice(24, 48), 0.5)]


def test_a_batch_of_one_image(tmp_path, few, monkeypatch):
    """One of the two processes has nothing to learn from."""
    train, test = few
    monkeypatch.setattr(cli, "load", lambda: (data.Scans(train.images[:3], train.labels[:3]), test))
    settings = ["--epochs", "1", "--batch-size", "2", "--optimizer", "sgd"]
    assert run(tmp_path / "one", *settings) == 0 and run(tmp_path / "two", *settings, "--workers", "2") == 0
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    np.testing.assert_allclose(two["history"].train_loss, one["history"].train_loss, rtol=1e-5)
    assert two["history"].train_accuracy == one["history"].train_accuracy
    for name, value in one["model"].items():
        np.testing.assert_allclose(two["model"][name], value, rtol=1e-4, atol=1e-5)
