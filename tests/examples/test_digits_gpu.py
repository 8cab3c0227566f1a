"""The demo with `--device gpu0`, on the test double of NVIDIA's driver, and what it says where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from double.library import library
from numpy.lib.stride_tricks import sliding_window_view

from tengen.examples.digits import data
from tengen.examples.digits.checkpoint import load_checkpoint

TESTS = Path(__file__).resolve().parent.parent
FEW, TESTED = 128, 20
PROGRAM = f"""
import sys
import numpy as np
from tengen.examples.digits import cli, data
from tengen.examples.digits.trainer import Trainer

train, test = data.load()
few = data.Scans(train.images[:{FEW}], train.labels[:{FEW}]), data.Scans(test.images[:{TESTED}], test.labels[:{TESTED}])
cli.load = lambda: few
predict = Trainer.predict

def told(self, images):
    logits = predict(self, images)
    places = {{p.device.physical for p in self.model.parameters()}}
    np.savez(sys.argv[-1] + "/told.npz", logits=logits, places=sorted(places))
    return logits

Trainer.predict = told
sys.exit(cli.main(sys.argv[1:]))
"""


def run(folder, *arguments, **environment):
    """The process of a demo that trains on a few scans; the driver is the double."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--epochs", "1", "--batch-size", "8", "--output", str(folder)],
        env=os.environ
        | {"TENGEN_CUDA_LIBRARY": library(), "PYTHONPATH": str(TESTS), "DOUBLE_RACES": "1"}
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def lenet(parameters, images):
    """The logits, in float64, of the network of examples/digits/model.py."""
    w = {name: np.asarray(value, np.float64) for name, value in parameters.items()}

    def convolved(x, name):
        windows = sliding_window_view(x, (5, 5), axis=(2, 3))
        bias = w[f"{name}.bias"].reshape(1, -1, 1, 1)
        y = np.maximum(np.einsum("nchwij,kcij->nkhw", windows, w[f"{name}.weight"]) + bias, 0)
        return y.reshape(*y.shape[:2], y.shape[2] // 2, 2, y.shape[3] // 2, 2).max((3, 5))

    x = convolved(convolved(images.astype(np.float64), "conv1"), "conv2").reshape(len(images), -1)
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ w[f"{name}.weight"].T + w[f"{name}.bias"], 0)
    return x @ w["classifier.weight"].T + w["classifier.bias"]


def smoothed_loss(logits, labels):
    """The mean cross entropy, in float64, to targets that are one tenth even."""
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -np.mean(0.9 * logarithms[np.arange(len(labels)), labels] + 0.1 * logarithms.mean(1))


@pytest.mark.parametrize("how", ["eager", "traced"])
def test_it_learns_on_a_gpu(tmp_path, how):
    done = run(tmp_path, "--device", "gpu0", *(["--trace"] if how == "traced" else []))
    assert done.returncode == 0, done.stderr
    assert "Test accuracy" in done.stdout and "double:" not in done.stderr
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    saved, told = load_checkpoint(tmp_path / "checkpoint.tg"), np.load(tmp_path / "told.npz")
    assert told["places"].tolist() == ["gpu0"]
    test = data.load()[1]
    exact = lenet(saved["best"]["model"], test.images[:TESTED])
    np.testing.assert_allclose(told["logits"], exact, rtol=1e-4, atol=1e-5)
    history, loss = saved["history"], smoothed_loss(exact, test.labels[:TESTED])
    np.testing.assert_allclose(history.test_loss, [loss], rtol=1e-4)
    assert history.test_accuracy == [np.mean(exact.argmax(1) == test.labels[:TESTED])]
    assert loss < np.log(10) - 0.1  # that of a network that knows nothing


def test_without_a_gpu_it_is_one_line(tmp_path):
    done = run(tmp_path, "--device", "gpu0", DOUBLE_DEVICES="0")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "digits: error: device gpu0:0 was asked for, but tengen finds no such GPU (it can use 0 here); use 'xpux', "
        "which is the best device there is, or 'cpu0'\n"
    )
    assert not (tmp_path / "checkpoint.tg").exists()
