"""LeNet in 8 bits: trained with floats, then briefly with rounded numbers, converted, written to a file and read again.

python -m tengen.examples.digits.quantized
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tengen
import tengen.functional as F
import tengen.module as M

from ... import Tensor
from ...autodiff import GradManager
from ...jit import load as load_function
from ...jit import trace
from ...optimizer import SGD
from ...quantization import ema_fakequant_qconfig, quantize, quantize_qat
from .data import Scans, epoch_batches, load

BATCH = 64


class QuantLeNet(M.Module):
    """LeNet from layers that can be quantised: images of shape (N, 1, 32, 32) to logits of shape (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = M.QuantStub(), M.DequantStub()
        self.conv1, self.conv2 = M.ConvRelu2d(1, 6, 5), M.ConvRelu2d(6, 16, 5)
        self.pool = M.MaxPool2d(2, 2)
        self.fc1, self.fc2 = M.LinearRelu(16 * 5 * 5, 120), M.LinearRelu(120, 84)
        self.classifier = M.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(self.quant(x)))
        x = self.pool(self.conv2(x))
        x = self.fc2(self.fc1(F.flatten(x, 1)))
        return self.dequant(self.classifier(x))


def train(net: M.Module, scans: Scans, epochs: range, lr: float, seed: int = 0) -> None:
    """Train `net` by cross entropy, each step as one Program."""
    manager, sgd = GradManager().attach(net.parameters()), SGD(net.parameters(), lr=lr, momentum=0.9)

    @trace(without_host=True)
    def step(images: Tensor, labels: Tensor) -> Tensor:
        with manager:
            loss = F.nn.cross_entropy(net(images), labels)
            manager.backward(loss)
        sgd.step().clear_grad()
        return loss

    net.train()
    for epoch in epochs:
        for images, labels in epoch_batches(scans, BATCH, seed, epoch):
            step(tengen.tensor(images), tengen.tensor(labels))
    net.eval()


def accuracy(net: Callable[[Tensor], Tensor], scans: Scans) -> float:
    """The percentage of scans that a network reads right."""
    logits = net(tengen.tensor(scans.images)).numpy()
    return 100 * float(np.mean(logits.argmax(1) == scans.labels))


def write_and_read(net: M.Module, scans: Scans, file: Path) -> Callable[[Tensor], Tensor]:
    """The network as one function, written to a file and read again."""

    @trace(capture_as_const=True)
    def function(images: Tensor) -> Tensor:
        logits: Tensor = net(images)
        return logits

    function(tengen.tensor(scans.images))
    function.dump(str(file))
    made: Callable[[Tensor], Tensor] = load_function(str(file))
    return made


def run(scans: tuple[Scans, Scans], epochs: int, fine: int, folder: Path) -> dict[str, float]:
    """The accuracy with floats, with rounded numbers, and with 8 bits read from a file, in percent."""
    tengen.random.seed(0)
    learned, test = scans
    net, found = QuantLeNet(), {}
    train(net, learned, range(epochs), 0.03)
    train(net, learned, range(epochs, epochs + fine), 0.003)
    found["float32"] = accuracy(net, test)
    quantize_qat(net, qconfig=ema_fakequant_qconfig)
    train(net, learned, range(epochs + fine, epochs + 2 * fine), 0.003)
    found["rounded, in training"] = accuracy(net, test)
    quantize(net)
    found["8 bits, from a file"] = accuracy(write_and_read(net, test, folder / "digits.tg"), test)
    return found


def main() -> None:
    """Print a table of accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        for name, percent in run(load(), 6, 4, Path(folder)).items():
            print(f"{name:24} {percent:6.2f} %")


if __name__ == "__main__":
    main()
