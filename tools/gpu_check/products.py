"""Matrix products and ResNet-50's convolutions, next to PyTorch where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from benchmarks.cases import LAYERS

import tengen
import tengen.functional as F
from tengen.autodiff import GradManager

from .measure import begin, relative_error, seconds, torch_on_gpu, values, wait
from .table import Options, Say

KINDS = {
    "float32": ("float32", False),
    "tf32": ("float32", True),
    "bfloat16": ("bfloat16", False),
    "float16": ("float16", False),
}
"""What is measured: its dtype, and whether float32 may be multiplied with fewer bits."""
WITHIN = {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 2e-2, "float16": 5e-3}
ROWS = 4  # of a product, which NumPy computes too


@contextmanager
def kind_of(name: str, torch: Any) -> Iterator[str]:
    """The dtype of a kind, while both frameworks multiply as it says."""
    dtype, narrow = KINDS[name]
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = narrow
    with tengen.config.override(tf32=narrow):
        yield dtype


def _say(case: str, flops: float, spent: dict[str, float], options: Options, say: Say, **more: Any) -> None:
    rates = {f"{name} TFLOP/s": flops / s / 1e12 for name, s in spent.items()}
    ratio = {"ratio": spent["tengen"] / spent["PyTorch"]} if "PyTorch" in spent else {}
    say(case=case, value=spent["tengen"] * 1e6, unit="us", **rates, **ratio, **more)


def matmul(options: Options, say: Say) -> None:
    """Square products. Some rows of each are compared with float64."""
    begin()
    torch = torch_on_gpu()
    for size in (64,) if options.small else (4096, 8192):
        for name in KINDS:
            with kind_of(name, torch) as dtype:
                a, b = values((size, size), dtype), values((size, size), dtype)
                exact = a[:ROWS].numpy().astype(np.float64) @ b.numpy().astype(np.float64)
                error = relative_error(F.matmul(a, b)[:ROWS].numpy(), exact)
                spent = {"tengen": seconds(lambda a=a, b=b: F.matmul(a, b), wait, options.small)}
                if torch is not None:
                    spent["PyTorch"] = _torch_matmul(torch, size, dtype, options.small)
            more = {"error": error, "ok": error <= WITHIN[name]}
            _say(f"{size}x{size}x{size} {name}", 2.0 * size**3, spent, options, say, **more)


def _torch_matmul(torch: Any, size: int, dtype: str, small: bool) -> float:
    a, b = (torch.rand(size, size, device="cuda", dtype=getattr(torch, dtype)) for _ in range(2))
    return seconds(lambda: a @ b, torch.cuda.synchronize, small)


def convolutions(options: Options, say: Say) -> None:
    """Each form of each layer: forward, by data, by weight. float32 is compared with the CPU."""
    begin()
    torch, layers = torch_on_gpu(), LAYERS["resnet50"]
    for name in ("float32", "bfloat16"):
        for layer in layers[1:3] if options.small else layers:
            channels, size, out, window, stride, *_ = layer
            batch, size = (1, 8) if options.small else (32, size)
            case = f"{channels} x {size} x {size} to {out}, {window} x {window}, stride {stride}, {name}"
            with kind_of(name, torch) as dtype:
                x, w = values((batch, channels, size, size), dtype), values((out, channels, window, window), dtype)
                forms = _forms(x, w, stride, window // 2)
                peers = {} if torch is None else _torch_forms(torch, x, w, stride, window // 2, dtype)
                for form, call in forms.items():
                    spent = {"tengen": seconds(call, wait, options.small)}
                    if peers:
                        spent["PyTorch"] = seconds(peers[form], torch.cuda.synchronize, options.small)
                    flops = (
                        2.0
                        * batch
                        * (-(-size // stride)) ** 2
                        * out
                        * channels
                        * window**2
                        * (1 if form == "forward" else 2)
                    )
                    _say(
                        f"{form} {case}",
                        flops,
                        spent,
                        options,
                        say,
                        **_checked(form, call, x, w, stride, window // 2, name),
                    )


def _forms(x: Any, w: Any, stride: int, padding: int) -> dict[str, Callable[[], Any]]:
    def forward() -> Any:
        return F.conv2d(x, w, stride=stride, padding=padding)

    g = F.ones_like(forward())

    def by(operand: Any) -> Callable[[], Any]:
        gm = GradManager().attach([operand])

        def backward() -> Any:
            with gm:
                gm.backward(forward(), g)
            made, operand.grad = operand.grad, None
            return made

        return backward

    return {"forward": forward, "forward and by data": by(x), "forward and by weight": by(w)}


def _checked(
    form: str, call: Callable[[], Any], x: Any, w: Any, stride: int, padding: int, name: str
) -> dict[str, Any]:
    """The error of the first image of the forward form, next to the CPU in float32."""
    if form != "forward":
        return {}
    got = call()[:1].numpy()
    here = [t.to("cpu0").astype("float32") for t in (x[:1], w)]
    error = relative_error(got, F.conv2d(*here, stride=stride, padding=padding).numpy().astype(np.float64))
    return {"error": error, "ok": error <= WITHIN[name]}


def _torch_forms(torch: Any, x: Any, w: Any, stride: int, padding: int, dtype: str) -> dict[str, Callable[[], Any]]:
    torch.backends.cudnn.benchmark = True
    place = {"device": "cuda", "dtype": getattr(torch, dtype), "memory_format": torch.channels_last}
    u, v = (torch.rand(tuple(t.shape)).to(**place) for t in (x, w))

    def forward() -> Any:
        return torch.nn.functional.conv2d(u, v, stride=stride, padding=padding)

    g = torch.ones_like(forward())

    def by(operand: Any) -> Callable[[], Any]:
        def backward() -> Any:
            operand.requires_grad_(True)
            made = torch.autograd.grad(forward(), operand, g)
            operand.requires_grad_(False)
            return made

        return backward

    return {"forward": forward, "forward and by data": by(u), "forward and by weight": by(v)}
