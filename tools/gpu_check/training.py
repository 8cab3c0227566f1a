"""Whole programs: a training step of ResNet-50, and the digits demo."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

import tengen
import tengen.functional as F
from tengen import amp
from tengen.autodiff import GradManager
from tengen.jit import trace
from tengen.models import ResNet
from tengen.models import resnet50 as network
from tengen.optimizer import SGD

from .command import environment
from .measure import begin, seconds, torch_on_gpu, wait
from .table import Options, Say

FEW = """
import sys
from tengen.examples.digits import cli, data

train, test = data.load()
few = data.Scans(train.images[:128], train.labels[:128]), data.Scans(test.images[:32], test.labels[:32])
cli.load = lambda: few
sys.exit(cli.main(sys.argv[1:]))
"""  # the demo with a tenth of its scans
LEARNT = 0.99  # the loss at the end, of that at the start
APART = 0.01  # how far the demo's accuracies may lie apart: sums of another order train another network


def resnet50(options: Options, say: Say) -> None:
    """Forward, loss, backward and SGD with momentum, traced, in float32, with tf32 and under autocast to bfloat16."""
    begin()
    torch = torch_on_gpu()
    batch, size, classes = (2, 32, 10) if options.small else (64, 224, 1000)
    numbers = np.random.default_rng(0)
    images = numbers.standard_normal((batch, 3, size, size)).astype(np.float32)
    labels = numbers.integers(0, classes, batch).astype(np.int32)
    for name in ("float32",) if options.small else ("float32", "tf32", "bfloat16"):
        with tengen.config.override(tf32=name == "tf32", autocast="bfloat16" if name == "bfloat16" else "off"):
            step, losses = _step(_slim if options.small else network, images, labels, name == "bfloat16")
            start = perf_counter()
            step()
            wait()
            say(case=f"first step, {name}", value=perf_counter() - start, unit="s")
            spent = {"tengen": seconds(step, wait, options.small)}
        if torch is not None:
            spent["PyTorch"] = _torch_step(torch, images, labels, name, options.small)
        first, last = losses()
        fine = bool(last < LEARNT * first)
        rates = {f"{who} images/s": batch / s for who, s in spent.items()}
        say(
            case=f"step of {batch} images, {name}",
            value=spent["tengen"] * 1e3,
            unit="ms",
            first_loss=first,
            last_loss=last,
            ok=fine,
            **rates,
        )


def _slim() -> ResNet:
    """One block of each stage, with a quarter of the channels inside: 4 of 26 million parameters."""
    return ResNet((1, 1, 1, 1), bottleneck=True, num_classes=10, base=16)


def _step(
    made: Callable[..., Any], images: Any, labels: Any, narrow: bool
) -> tuple[Callable[[], Any], Callable[[], tuple[float, float]]]:
    tengen.random.seed(0)
    net = made()
    gm = GradManager().attach(net.parameters())
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)

    @trace(without_host=True)
    def learn(x: Any, y: Any) -> Any:
        with gm:
            with amp.autocast(enabled=narrow):
                loss = F.nn.cross_entropy(net(x), y)
            gm.backward(loss)
        optimizer.step().clear_grad()
        return loss

    x, y = tengen.tensor(images), tengen.tensor(labels)
    kept: list[Any] = []

    def step() -> None:
        loss = learn(x, y)
        kept[:] = [kept[0] if kept else loss, loss]

    return step, lambda: (kept[0].item(), kept[1].item())


def _torch_step(torch: Any, images: Any, labels: Any, name: str, small: bool) -> float:
    """ResNet-50 of torchvision, eager, channels last; nan where torchvision is not installed."""
    if find_spec("torchvision") is None:
        return float("nan")
    from torchvision.models import resnet50 as peer

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    torch.backends.cudnn.benchmark = True
    net = peer().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = torch.from_numpy(images).cuda().to(memory_format=torch.channels_last)
    y = torch.from_numpy(labels).long().cuda()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=name == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()

    return seconds(step, torch.cuda.synchronize, small)


def digits(options: Options, say: Say) -> None:
    """The demo on both devices, as a user starts it: the accuracies, and how long it took."""
    if find_spec("sklearn") is None or find_spec("matplotlib") is None:
        say(case="digits", value="not run: the demo needs pip install 'tengen[demo]'")
        return
    found = {}
    for device in ("gpu0",) if options.small else ("gpu0", "cpu0"):
        start = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, *(["-c", FEW] if options.small else ["-m", "tengen.examples.digits"])]
            command += ["--device", device, "--output", folder, "--trace"]
            command += ["--epochs", "1"] if options.small else []
            done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        if done.returncode:
            say(case=f"digits on {device}", ok=False, said=done.stderr[-2000:])
            return
        accuracy = re.search(r"Test accuracy ([\d.]+)%", done.stdout)
        assert accuracy is not None, done.stdout
        found[device] = float(accuracy[1]) / 100
        say(case=f"digits on {device}", value=found[device], unit="of the test scans", seconds=perf_counter() - start)
    if len(found) == 2:
        apart = abs(found["gpu0"] - found["cpu0"])
        say(case="accuracies apart", value=apart, **options.judged(apart, most=APART))
