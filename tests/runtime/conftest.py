"""Installs the toy compiler in place of the real one while a test runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from toy_compiler import ADD, OPERATORS, SLOTS, Tensor, Toy, compile_kernels

from tengen import _rt as rt


@pytest.fixture(scope="session")
def kernels() -> Iterator[dict[str, int]]:
    engine, addresses = compile_kernels()
    yield addresses
    del engine


@pytest.fixture
def toy(kernels: dict[str, int]) -> Iterator[Toy]:
    """The toy compiler, installed."""
    made = Toy(kernels)
    hooks = rt.set_hooks(
        compile=made.compile, gradient=made.gradient, backward=made.backward, accumulate=ADD, foreign=None, memory=None
    )
    cls = rt.set_tensor_class(Tensor)
    operators = {slot: rt.set_operator(slot, OPERATORS.get(slot)) for slot in SLOTS}
    rt.plan_cache_clear()
    limit, threads = rt.plan_cache_info()["limit"], rt.get_num_threads()
    try:
        yield made
    finally:
        rt.set_hooks(**hooks)
        rt.set_tensor_class(cls)
        for slot, op in operators.items():
            rt.set_operator(slot, op)
        rt.plan_cache_clear()
        rt.plan_cache_limit(limit)
        rt.set_num_threads(threads)
