"""The programs of the page "Basic concepts": tensors, devices, operators, gradients; they print what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tengen as mge
import tengen.functional as F
from tengen.autodiff import GradManager


def test_make_a_tensor(printed, capsys):
    np.random.seed(0)  # NumPy prints small numbers among large ones with an exponent, which the page does not show
    a = mge.tensor(np.random.random((2, 5)).astype("float32"))
    print(a)
    row = r"\[\s*0?\.\d+(\s+0?\.\d+){4}\s*\]"
    assert re.fullmatch(rf"Tensor\(\[{row}\n {row}\], device=xpux:0\)\n", capsys.readouterr().out)

    b = mge.tensor([1.0, 2.0, 3.0])
    print(b)
    assert printed("Tensor([1. 2. 3.], device=xpux:0)")


def test_dtype_and_astype(printed):
    a = mge.tensor(np.random.random((2, 5)).astype("float32"))
    print(a.dtype)
    d = a.astype("float16")
    print(d.dtype)
    assert printed("<class 'numpy.float32'>", "<class 'numpy.float16'>")
    assert a.dtype == np.float32


def test_shape(printed):
    a = mge.tensor(np.random.random((2, 5)).astype("float32"))
    print(a.shape)
    assert printed("(2, 5)")
    assert isinstance(a.shape, tuple)


def test_numpy(printed):
    a = mge.tensor(np.arange(12)).reshape(2, 6).astype("float32")
    print(a)
    b = a.numpy()
    print(b)
    assert printed(
        "Tensor([[ 0. 1. 2. 3. 4. 5.]",
        "[ 6. 7. 8. 9. 10. 11.]], device=xpux:0)",
        "[[ 0. 1. 2. 3. 4. 5.]",
        "[ 6. 7. 8. 9. 10. 11.]]",
    )
    assert isinstance(b, np.ndarray)


def test_device(printed):
    a = mge.tensor([1.0, 2.0])
    print(a.device)
    assert printed("xpux:0")
    b = a.to("cpu0")
    print(b.device)
    assert printed("cpu0:0")
    assert b.numpy().tolist() == [1.0, 2.0]


def test_to_a_gpu(printed):
    """With a GPU the page's program prints `gpu0:0`; without one the call says so."""
    b = mge.tensor([1.0, 2.0]).to("cpu0")
    if mge.is_cuda_available():
        c = b.to("gpu0")
        print(c.device)
        assert printed("gpu0:0")
    else:
        with pytest.raises(RuntimeError):
            b.to("gpu0")


def test_set_default_device(printed):
    before = mge.get_default_device()
    try:
        mge.set_default_device("cpux")
        print(mge.tensor([1.0]).device)
        assert printed("cpux:0")
    finally:
        mge.set_default_device(before)


def test_default_device_from_the_environment():
    program = "import tengen as mge; print(mge.tensor([1.0]).device, mge.get_default_device())"
    environment = {**os.environ, "MGE_DEFAULT_DEVICE": "cpux"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpux:0", "cpux"]


def test_operators(printed):
    a = mge.tensor([[1.0, 2.0, 2.0], [5.0, 1.0, 8.0]])
    print(a)
    b = mge.tensor([[1.0, 9.0, 1.0], [1.0, 7.0, 9.0]])
    print(b)
    print(a + b)
    assert printed(
        "Tensor([[1. 2. 2.]",
        "[5. 1. 8.]], device=xpux:0)",
        "Tensor([[1. 9. 1.]",
        "[1. 7. 9.]], device=xpux:0)",
        "Tensor([[ 2. 11. 3.]",
        "[ 6. 8. 17.]], device=xpux:0)",
    )
    print(a[1, :])
    assert printed("Tensor([5. 1. 8.], device=xpux:0)")
    print(a.reshape(3, 2))
    assert printed("Tensor([[1. 2.]", "[2. 5.]", "[1. 8.]], device=xpux:0)")
    a = a.reshape(1, -1)
    print(a.shape)
    assert printed("(1, 6)")


def test_matmul(printed):
    a = mge.tensor(np.arange(6).reshape(2, 3)).astype("float32")
    print(a)
    b = mge.tensor(np.arange(6, 12).reshape(3, 2)).astype("float32")
    print(b)
    c = F.matmul(a, b)
    print(c)
    assert printed(
        "Tensor([[0. 1. 2.]",
        "[3. 4. 5.]], device=xpux:0)",
        "Tensor([[ 6. 7.]",
        "[ 8. 9.]",
        "[10. 11.]], device=xpux:0)",
        "Tensor([[ 28. 31.]",
        "[100. 112.]], device=xpux:0)",
    )


@pytest.fixture
def line():
    """The tensors of the page's y = x·w + b."""
    x = mge.tensor([1.0, 3.0, 5.0]).reshape(1, 3)
    w = mge.tensor([2.0, 4.0, 6.0]).reshape(3, 1)
    b = mge.tensor(-1.0)
    return x, w, b


def test_gradients(printed, line):
    """The page prints the gradient of the scalar as `Tensor([1.], …)`; since 1.0 it has the scalar's shape, ()."""
    x, w, b = line
    gm = GradManager().attach([w, b])
    with gm:
        p = F.matmul(x, w)
        y = p + b
        gm.backward(y)
    print(w.grad)
    print(b.grad)
    assert printed("Tensor([[1.]", "[3.]", "[5.]], device=xpux:0)", "Tensor(1.0, device=xpux:0)")


def test_record_and_release(printed, line):
    x, w, b = line
    gm = GradManager().attach([w, b])
    gm.record()
    p = F.matmul(x, w)
    y = p + b
    gm.backward(y)
    gm.release()
    print(w.grad)
    assert printed("Tensor([[1.]", "[3.]", "[5.]], device=xpux:0)")


def test_detach(printed, line):
    x, w, b = line
    gm = GradManager().attach([w, b])
    with gm:
        p = F.matmul(x, w)
        y = p + b.detach()
        gm.backward(y)
    print(b.grad)
    assert printed("None")
    assert w.grad.shape == (3, 1)
