"""What is special about tiles in AMX: strips of rows, sums that come back from the stack, and the permission for its registers.

Machines without AMX emulate its registers, if they have the other instructions. Results of all forms are in `test_contraction_bfloat16`.
"""

from __future__ import annotations

import numpy as np
import pytest
from contraction_harness import forward, from_bits, plan_matmul, run, to_bits, unit_of
from emulated_amx import amx_machine

from tengen.base import config
from tengen.compiler.geometry import ConvShape
from tengen.compiler.kernels.epilogue import CHANNEL, ELEMENT, ColumnSum, Epilogue, Source
from tengen.compiler.kernels.nest import Instr
from tengen.compiler.schedule.contractions import matmul
from tengen.compiler.schedule.contractions.problem import Storage
from tengen.compiler.schedule.convolutions.forms import conv_by_weight, conv_forward
from tengen.compiler.targets import emit, host
from tengen.compiler.targets.host import assembly, available, host_target

AMX = host._AMX
WIDE = Storage("bfloat16", "bfloat16", "float32")
RESIDUAL = Epilogue(
    (Source("float32", ELEMENT), Source("float32", ELEMENT, "operand1")),
    (Instr("load", attr=0), Instr("load", attr=1), Instr("add", (0, 1))),
    result=2,
    dtype="float32",
)
RNG = np.random.default_rng(0)


def bits(*shape: int) -> np.ndarray:
    return to_bits(RNG.standard_normal(shape, np.float32))


def exact(array: np.ndarray) -> np.ndarray:
    return from_bits(array).astype(np.float64)


# -- code, on any machine ----------------------------------------------------------------------------------------------


def kernels(epilogue: Epilogue | None = None):
    """Of a product, and of convolutions whose k has a rest and whose k is cut."""
    storage = WIDE._replace(epilogue=epilogue)
    yield plan_matmul(bits(64, 96), bits(96, 80), AMX, storage=storage)[0].launches[0].kernel
    yield plan_matmul(bits(64, 96), bits(96, 16), AMX, storage=storage)[0].launches[0].kernel
    yield conv_forward(ConvShape(2, 6, (9, 9), 40, (3, 3)), unit_of(AMX), storage).launches[0].kernel
    yield conv_by_weight(ConvShape(8, 16, (60, 60), 40, (3, 3)), unit_of(AMX), WIDE).launches[0].kernel


def test_code_can_be_made_on_any_x86_machine():
    if not set(available()) & {"x86-64"}:
        pytest.skip("LLVM is told of x86 only on such a machine")
    for epilogue in (None, RESIDUAL):
        for kernel in kernels(epilogue):
            code = assembly(emit(kernel, AMX), AMX)
            assert kernel.amx
            for instruction in ("ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease"):
                assert instruction in code, instruction


@pytest.mark.parametrize("dtype, instruction", [("int8", "tdpbssd"), ("uint8", "tdpbusd")])
def test_integers_of_8_bits_are_multiplied_as_they_are(dtype, instruction):
    if not set(available()) & {"x86-64"}:
        pytest.skip("LLVM is told of x86 only on such a machine")
    a, b = RNG.integers(0, 100, (64, 96)).astype(dtype), RNG.integers(-100, 100, (96, 80)).astype("int8")
    problem = plan_matmul(a, b, AMX, storage=Storage(dtype, "int8", "int32"))[0]
    code = assembly(emit(problem.launches[0].kernel, AMX), AMX)
    assert instruction in code and "vpdpbusd" not in code


def test_a_cut_k_is_among_them():
    assert [kernel.blocked for kernel in kernels()] == [False, False, False, True]


# -- the permission ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_targets():
    host._target.cache_clear()
    yield
    host._target.cache_clear()


@pytest.mark.usefixtures("fresh_targets")
def test_a_machine_that_refuses_the_registers_has_no_amx(monkeypatch):
    monkeypatch.setattr(host, "_permitted", lambda: False)
    features = host._host_features() | set(host._BFLOAT_NEEDS) | {"amx-tile", "amx-bf16", "amx-int8"}
    monkeypatch.setattr(host, "_host_features", lambda: frozenset(features))
    assert "amx" not in available() and "avx512bf16" in available()
    assert (host_target().name, host_target().amx) == ("avx512bf16", False)
    with config.override(isa="amx"), pytest.raises(RuntimeError, match=r"no amx \(permission of the kernel missing\)"):
        host_target()


@pytest.mark.usefixtures("fresh_targets")
def test_a_machine_without_amx_is_not_asked(monkeypatch):
    monkeypatch.setattr(host, "_permitted", lambda: pytest.fail("asked"))
    features = host._host_features() - {"amx-tile"}
    monkeypatch.setattr(host, "_host_features", lambda: frozenset(features))
    assert "amx" not in available()


@pytest.fixture
def machine(tmp_path):
    """A target with AMX."""
    with amx_machine(tmp_path) as target:
        yield target


# -- strips ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 7, 15, 16, 17, 19, 31, 33, 50])
def test_lines_of_any_width_where_the_result_takes_the_place_of_what_is_added(machine, width):
    """The last strip of a line begins early, but takes no row twice."""
    s = ConvShape(2, 8, (5, width), 40, (3, 3), padding=(1, 1))
    x, w, y = (
        bits(s.n, s.ic, *s.size),
        bits(s.oc, s.ic, *s.kernel),
        RNG.standard_normal((s.n, 5, width, s.oc), np.float32),
    )
    for in_place in (True, False):
        problem = conv_forward(s, unit_of(AMX), WIDE._replace(epilogue=RESIDUAL), in_place)
        assert problem.launches[0].kernel.amx and problem.epilogue
        got = run(problem, machine, x, w, (s.n, s.oc, *s.out), out=y, in_place=True)
        want = forward(exact(x), exact(w), s) + y.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.fixture
def copies_cost_nothing(monkeypatch):
    """AMX also for products that are too small for copies to pay."""
    monkeypatch.setattr(matmul, "COPY_START", 0)
    monkeypatch.setattr(matmul, "COPY_WORK", 0)


@pytest.mark.usefixtures("copies_cost_nothing")
@pytest.mark.parametrize("m, n", [(1, 33), (17, 16), (50, 80), (300, 47)])
@pytest.mark.parametrize("shifted", [False, True])
def test_sums_over_rows_count_each_row_once(machine, m, n, shifted):
    a, b, bias = bits(m, 70), bits(70, n), RNG.standard_normal(n, np.float32)
    code = (Instr("load", attr=0), Instr("load", attr=1), Instr("add", (0, 1)))
    sources = Source("float32", ELEMENT), Source("float32", CHANNEL, "operand1")
    epilogue = Epilogue(sources, code, 2, "float32", (ColumnSum(2, shifted),))
    problem, x, y, shape = plan_matmul(a, b, AMX, storage=WIDE._replace(epilogue=epilogue), may_transpose=False)
    (launch,), slots = problem.launches, 4 if shifted else 1
    parts = problem.row_tiles
    assert launch.kernel.amx and parts
    sums = np.full((parts, slots, n), np.nan, np.float32)
    got = run(problem, machine, x, y, shape, bias=bias, sums=sums)
    want = exact(a) @ exact(b) + bias
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    if not shifted:
        np.testing.assert_allclose(sums.sum(0)[0], want.sum(0), rtol=1e-3, atol=1e-3)
        return
    shift, first, second, count = sums.astype(np.float64).transpose(1, 0, 2)
    assert (count.sum(0) == m).all()
    np.testing.assert_allclose((first + count * shift).sum(0), want.sum(0), rtol=1e-3, atol=1e-3)
    squares = second + 2 * shift * first + count * shift**2
    np.testing.assert_allclose(squares.sum(0), (want**2).sum(0), rtol=1e-3, atol=1e-3)
