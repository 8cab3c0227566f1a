"""Programs of arrays, run through the whole compiler: what tests of contractions with their epilogues share."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import host_targets
from plans import run_plan

from tengen.compiler import compile_program, pipeline
from tengen.compiler.kernels.contraction import ContractionKernel, SumKernel
from tengen.compiler.program import Builder, Type
from tengen.compiler.view import View
from tengen.core.ops.conv import Convolution
from tengen.core.ops.elemwise import Elemwise

TARGETS = host_targets()
EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
WIDEST = TARGETS[0]
RELU = Elemwise("RELU")
CHANNELS_LAST = (0, 2, 3, 1)
random = np.random.default_rng(0)


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def last(*shape):
    """Channels-last in memory."""
    n, c, h, w = shape
    return floats(n, h, w, c).transpose(0, 3, 1, 2)


class Made:
    """A Program of arrays: `function` gets their values, and gives the results."""

    def __init__(self, function, *arrays, target=WIDEST, dtypes=None):
        builder = Builder()
        names = [(dtypes or {}).get(i, a.dtype.name) for i, a in enumerate(arrays)]
        values = [builder.input(Type(name, a.shape)) for name, a in zip(names, arrays, strict=True)]
        outputs = function(*values)
        program = builder.finish(outputs if isinstance(outputs, tuple) else (outputs,))
        views = [View(a.shape, tuple(s // a.itemsize for s in a.strides)) for a in arrays]
        self.sources = self._sources(program, views, target)
        self.plan, self.arrays = compile_program(program, views, target), arrays

    @staticmethod
    def _sources(program, views, target):
        scheduler = pipeline.compiled(program, views, target).scheduler
        return scheduler.sources

    @property
    def kernels(self):
        """What runs: "fused" and "plain" contractions, "sum" of splits, "nest"; parts of one result count once."""
        found = []
        for source, step in zip(self.sources, self.plan.steps, strict=True):
            if isinstance(source, ContractionKernel):
                name = "fused" if source.epilogue else "plain"
                if not (step.joined and found and found[-1] == name):
                    found.append(name)
            elif "layout of" not in step.name:
                found.append("sum" if isinstance(source, SumKernel) else "nest")
        return found

    def check(self, *wanted, tolerance=2e-6):
        for got, want in zip(run_plan(self.plan, self.arrays), wanted, strict=True):
            assert got.shape == want.shape
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=tolerance * scale)
        return self


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def convolved(x, w, stride=1, padding=0, groups=1):
    """The convolution in float64."""
    x, w = wide(x, w)
    x = np.pad(x, [(0, 0), (0, 0), (padding,) * 2, (padding,) * 2])
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    seen = seen.reshape(x.shape[0], groups, -1, *seen.shape[2:])
    parts = w.reshape(groups, -1, *w.shape[1:])
    return np.einsum("ngchwrs,gocrs->ngohw", seen, parts).reshape(x.shape[0], w.shape[0], *seen.shape[3:5])


def conv(stride=1, padding=0, groups=1):
    return Convolution((stride,) * 2, (padding,) * 2, (1, 1), groups)
