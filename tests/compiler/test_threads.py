"""Kernels of nests for GPUs, run from their PTX: what is particular to many threads. `test_nest*.py` run there too."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from double.library import double
from gpu import GPU, device, launch, uploaded
from llvmlite import ir
from nest_harness import Code, Memory, Problem, array, check, copies, unary

from tengen.base.errors import NoKernelError
from tengen.compiler.cache import compile_device_kernels
from tengen.compiler.kernels import nest_threads
from tengen.compiler.kernels.device import from_memory
from tengen.compiler.kernels.functions import FUNCTIONS, Function
from tengen.compiler.kernels.nest import BINARY, UNARY, Access, AccessNumbers, Instr, Nest
from tengen.compiler.kernels.nest_structure import Structure
from tengen.compiler.kernels.nest_threads import MOST, group, magic, neighbours
from tengen.compiler.kernels.nest_tiling import TILING_NAMES, NestSource
from tengen.compiler.kernels.target import DeviceTarget
from tengen.compiler.schedule.nests.refine import crosses
from tengen.compiler.targets import emit
from tengen.compiler.targets.host import host_target
from tengen.compiler.targets.simt import to_ptx
from tengen.compiler.targets.vector import Vec

random = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def results(problem: Problem, target: object) -> list[bytes]:
    moved = copies(problem)
    moved.run(target)
    return [o.flat.tobytes() for o in moved.operands]


FUNCTIONS_OF_CPU_AND_GPU = {
    "float32": [list(FUNCTIONS)],
    "float64": [
        [name for name in FUNCTIONS if name[0] in letters] for letters in ("a", "bcd", "e", "fglmnopr", "s", "t")
    ],
}
"""Every function, some of them in one kernel."""


@pytest.mark.parametrize(
    "dtype, part", [(d, n) for d, parts in FUNCTIONS_OF_CPU_AND_GPU.items() for n in range(len(parts))]
)
def test_element_wise_results_have_the_bits_of_the_cpu(dtype: str, part: int) -> None:
    ops = FUNCTIONS_OF_CPU_AND_GPU[dtype][part]
    c = Code()
    x, y = c.load(0, dtype), c.load(1, dtype)
    made = [c(op, *[x, y, x][: FUNCTIONS[op].arity], dtype=dtype) for op in ops]
    if part == 0:
        made += [c(op, x, dtype=dtype) for op in UNARY if op not in ("not", "isnan", "isinf")]
        made += [c(op, x, y, dtype=dtype) for op in ("add", "sub", "mul", "div", "max", "min") if op in BINARY]
    for number, value in enumerate(made):
        c.store(value, 2 + number)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 3e38, 1.0, -1.0, 88.0, -104.0]
    values = np.concatenate([special, 10 * floats(60), floats(20), 1e6 * floats(11)])
    if dtype == "float64":
        values = np.concatenate(
            [values, [5e-324, -1e-310, 1e308, 709.7, -745.0, 711.0], 10.0 ** random.uniform(-300, 300, 40)]
        )
    operands = [array(dtype, values), array(dtype, values[::-1].copy())]
    problem = Problem((values.size,), 1, 0, [*operands, *(array(dtype, np.zeros(values.size)) for _ in made)], c)
    cpu, gpu = copies(problem), copies(problem)
    cpu.run(host_target())
    gpu.run(GPU)
    for value, a, b in zip(made, cpu.operands[2:], gpu.operands[2:], strict=True):
        both_nan = np.isnan(a.flat) & np.isnan(b.flat)
        same = (a.flat.view(np.uint8).reshape(values.size, -1) == b.flat.view(np.uint8).reshape(values.size, -1)).all(
            1
        ) | both_nan
        assert same.all(), (c.instrs[value].op, values[~same], a.flat[~same], b.flat[~same])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "float64"])
def test_a_map_of_several_blocks_wherever_it_lies(dtype: str) -> None:
    """Vectors where they are whole, and single elements where a view begins in between."""
    compute = {"bfloat16": "float32", "uint8": "int32"}.get(dtype, dtype)
    c = Code()
    c.store(c("add", c.load(0, compute), c.load(1, compute), dtype=compute), 2)
    values = random.integers(0, 99, 5003)
    for shift in (0, 1, 3):
        operands = [
            Memory(dtype, array(dtype, values).flat, (1,), shift),
            Memory(dtype, array(dtype, values).flat, (1,), 0),
            array(dtype, np.zeros(5000)),
        ]
        check(Problem((5000,), 1, 0, operands, c), GPU)


def summed(rows: int, length: int, lane: int, shift: int = 0) -> Problem:
    c = Code()
    c.store(c.reduce("sum", c.load(0)), 1)
    x = np.random.default_rng(1).standard_normal(rows * length).astype(np.float32)
    flat = np.concatenate([np.zeros(shift, np.float32), x])
    strides = (length, 1) if lane == 1 else (1, rows)
    return Problem(
        (rows, length), 1, lane, [Memory("float32", flat, strides, shift), array("float32", np.zeros(rows), (1, 0))], c
    )


@pytest.mark.parametrize("lane", [0, 1])
def test_the_order_of_sums_follows_from_extents_alone(lane: int) -> None:
    for rows, length in ((3, 5000), (40, 70)):
        found = {results(summed(rows, length, lane, shift), GPU)[1] for shift in (0, 1, 4)}
        assert len(found) == 1


@pytest.mark.parametrize("length", [1, 3, 4, 31, 33, 130, 1025, 9000])
@pytest.mark.parametrize("how", ["sum", "argmax", "all"])
def test_groups_of_every_size(how: str, length: int) -> None:
    c, shape = Code(), (5, length)
    if how == "all":
        c.store(c.reduce("all", c.load(0, "bool")), 1)
        operands = [array("bool", random.random(shape) < 1 - 0.5 / length), array("bool", np.zeros(5), (1, 0))]
    elif how == "argmax":
        c.store(c.reduce("argmax", c.load(0), c.index(1)), 1)
        operands = [array("float32", random.integers(0, 4, shape)), array("int64", np.zeros(5), (1, 0))]
    else:
        c.store(c.reduce("sum", c.load(0)), 1)
        operands = [array("float32", floats(*shape)), array("float32", np.zeros(5), (1, 0))]
    check(Problem(shape, 1, 1, operands, c), GPU)


@pytest.mark.parametrize("shape", [(3, 3, 5), (2, 300, 7), (70, 40, 33)])
@pytest.mark.parametrize("lane", [0, 2])
def test_several_reduced_dims_and_passes(shape: tuple[int, int, int], lane: int) -> None:
    """The outermost other dim is shared by rows of threads; later passes see the sums in each of them."""
    c = Code()
    x = c.load(0)
    centred = c("sub", x, c("mul", c.reduce("sum", x), c.const(1 / prod(shape[1:]))))
    c.store(c("add", centred, c.reduce("max", centred)), 1)
    kept, n, m = shape
    strides = (1, kept * m, kept) if lane == 0 else (m, kept * m, 1)
    x, out = (Memory("float32", floats(prod(shape)).ravel(), strides) for _ in range(2))
    check(Problem((kept, n, m), 1, lane, [x, out], c), GPU, tolerance=1e-4)


@pytest.mark.parametrize("how", ["sum int64", "prod int64", "sum float32", "prod float32"])
@pytest.mark.parametrize("length", [5, 32, 33, 1500])
def test_scans_along_the_threads(how: str, length: int) -> None:
    c = Code()
    how, dtype = how.split()
    c.store(c("scan", c.load(0, dtype), dtype=dtype, attr=how), 1)
    x, out = (array(dtype, random.integers(1, 3, (3, length)) * random.choice([-1, 1], (3, length))) for _ in range(2))
    if how == "prod" and dtype == "float32":
        x.flat[:] = np.where(x.flat > 0, 1.125, -0.875)
    check(Problem((3, length), 1, 1, [x, out], c), GPU)


@pytest.mark.parametrize("shape", [(40, 7), (40, 200), (3, 3000)])
@pytest.mark.parametrize("lane", [0, 1])
def test_a_number_of_each_row_is_replaced_where_it_was(shape: tuple[int, int], lane: int) -> None:
    """All threads of the row read the old one, and the first of them writes the new one."""
    c = Code()
    x, old = c.load(0), c.load(1)
    c.store(c("add", old, c.reduce("max", x)), 2)
    c.store(c("mul", x, old), 3)
    strides = (shape[1], 1) if lane == 1 else (1, shape[0])
    x, out = (Memory("float32", floats(*shape).ravel(), strides) for _ in range(2))
    running = array("float32", floats(shape[0]), (1, 0))
    problem = Problem(shape, 1, lane, [x, running, running, out], c)
    want = problem.expected()
    problem.run(GPU)
    np.testing.assert_allclose(running.flat, want[2], rtol=1e-6)
    np.testing.assert_allclose(out.flat, want[3], rtol=1e-6)


def test_a_number_becomes_indices_without_divisions() -> None:
    for divisor in (1, 2, 3, 7, 641, 65537, 2**20 + 7, 2**31 - 1):
        factor, shift = magic(divisor)
        assert factor < 2**32
        for n in (0, 1, divisor - 1, divisor, divisor + 1, 2**31 - 1, *random.integers(0, 2**31, 50)):
            assert int(n) * factor >> shift == int(n) // divisor


def test_groups_are_whole_blocks() -> None:
    for lane in (0, 1):
        structure = Structure(summed(3, 5, lane).nest)
        for rows in (1, 7, 1 << 20):
            for length in (1, 2, 33, 257, 5000, 1 << 20):
                columns, side = group(structure, (rows, length), rows)
                assert columns * side <= MOST and columns & (columns - 1) == side & (side - 1) == 0
    wide = [
        neighbours(Structure(unary("neg", floats(8), dtype, dtype).nest))
        for dtype in ("float32", "bfloat16", "float64")
    ]
    assert wide == [4, 8, 2]


# -- squares -----------------------------------------------------------------------------------------------------------


def turned(shape: tuple[int, int], dtype: str = "float32", back: bool = False) -> Problem:
    """out = x.T + 1, with threads along `out`; back: along x."""
    compute = {"int8": "int32", "float64": "float64"}.get(dtype, "float32")
    c = Code()
    c.store(c("add", c.load(0, compute), c.const(1, compute), dtype=compute), 1)
    strides = [(shape[1], 1), (1, shape[0])]
    x, out = (Memory(dtype, array(dtype, random.integers(0, 99, shape)).flat, s) for s in strides[:: 1 if back else -1])
    return Problem(shape, 2, 1, [x, out], c, cross=0)


@pytest.mark.parametrize("threads", range(4))
@pytest.mark.parametrize("back", [False, True])
def test_neighbours_read_and_write_neighbours(threads: int, back: bool) -> None:
    """Also where squares stick out."""
    with double().order(threads):
        for dtype, shape in (("float32", (70, 45)), ("int8", (32, 64)), ("float64", (16, 33))):
            problem = turned(shape, dtype, back)
            source = NestSource(problem.nest)
            text = emit(source, GPU)
            assert text.count("addrspace(3) global") == 1 and "[1056 x" in text
            assert source.blocks(shape, shape).block == (32, 8, 1)
            check(problem, GPU)


def test_a_square_without_a_barrier_is_a_race() -> None:
    problem = turned((40, 50))
    source = NestSource(problem.nest)
    (kernel,) = compile_device_kernels([source], GPU)
    barrier = next(line for line in kernel.ptx.splitlines() if "bar.sync" in line or "barrier.sync" in line)
    params, _ = problem.launch()
    grid = source.blocks((40, 50), params[: len(params) - len(TILING_NAMES)])
    with (
        pytest.raises(AssertionError, match=r"race on byte .* of shared memory"),
        uploaded([o.flat for o in problem.operands]) as held,
    ):
        launch(kernel._replace(ptx=kernel.ptx.replace(barrier, "")), grid, held)
        device().wait()


def test_what_has_too_many_squares_for_a_block_is_not_turned() -> None:
    access = [Access("float64", ("1", "n"))] * 6
    code = [Instr("load", (), "float64", a) for a in range(6)]
    nest = Nest(2, 2, 1, (*access, Access("float64", ("n", "1"))), (*code, Instr("store", (0,), "float64", 6)), cross=0)
    assert not crosses(nest, GPU)
    assert crosses(nest._replace(code=(*code[:5], Instr("store", (0,), "float64", 6))), GPU)


# -- large launches ---------------------------------------------------------------------------------------------------


def test_many_addresses_and_numbers_lie_in_memory() -> None:
    """More than a launch can take along."""
    many = 300
    c = Code()
    total = c.load(0)
    for access in range(1, many):
        total = c("add", total, c.load(access))
    c.store(total, many)
    operands = [Memory("float32", random.integers(-9, 9, 60).astype(np.float32), (13, 1)) for _ in range(many)]
    problem = Problem((4, 9), 2, 1, [*operands, array("float32", np.zeros((4, 9)))], c)
    source = NestSource(problem.nest)
    params, _ = problem.launch()
    assert from_memory(len(problem.operands), len(params)) and not from_memory(many, 200)
    (kernel,) = compile_device_kernels([source], GPU)
    assert ".param .u64" in kernel.ptx or ".param .b64" in kernel.ptx
    assert "ld.global" in kernel.ptx.partition("bra")[0]
    check(problem, GPU)


@pytest.mark.parametrize("lane", [0, 1, 2])
def test_numbers_of_items_of_64_bits(monkeypatch: pytest.MonkeyPatch, lane: int) -> None:
    """As if the launch had 2**31 items."""
    monkeypatch.setattr(nest_threads, "MOST_ITEMS", 1)
    shape = (7, 30, 9)
    c = Code()
    x = c.load(0)
    c.store(c("add", x, c("cast", c.index(1), dtype="float32")) if lane else c.reduce("sum", x), 1)
    kept, dims = (3, lane) if lane else (2, 2)
    strides = (270, 9, 1) if lane == 2 else (9, 63, 1) if lane == 0 else (270, 1, 30)
    out = Memory("float32", floats(1890).ravel(), strides if lane else (30, 1, 0))
    problem = Problem(shape, kept, dims, [Memory("float32", floats(1890).ravel(), strides), out], c)
    assert NestSource(problem.nest).on_device(shape, problem.numbers()).wide
    check(problem, GPU, tolerance=1e-5)


def test_operands_that_reach_far_have_offsets_of_64_bits() -> None:
    c = Code()
    c.store(c.load(0), 1)
    out = array("float32", np.zeros((2, 3)))
    for stride, wide in (((1 << 31) - 3, False), ((1 << 31) - 2, True), (-(1 << 31) + 2, True)):
        problem = Problem((2, 3), 2, 1, [Memory("float32", floats(9), (stride, 1)), out], c)
        source = NestSource(problem.nest).on_device((2, 3), problem.numbers())
        assert source.wide == wide
        assert ("add.s64" in to_ptx(emit(source, GPU), GPU).partition("ld.global")[0]) or not wide


def test_which_launches_count_in_64_bits() -> None:
    source = NestSource(unary("neg", floats(8), "float32", "float32").nest)
    plain = [AccessNumbers()] * 2
    assert source.on_device((1 << 31,), plain) is source
    assert source.on_device(((1 << 31) + 1,), plain).wide  # the last element is too far away
    wide = source.on_device((1 << 33,), plain)
    assert wide.wide and wide.key != source.key
    assert wide.blocks((1 << 33,), (1 << 33,)).grid == (1 << 23, 1, 1)


# -- what cannot be --------------------------------------------------------------------------------------------------


def test_a_function_without_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that calls the C library."""

    def cube_root(x: Vec) -> Vec:
        signature = ir.FunctionType(x.value.type, [x.value.type])
        function = ir.Function(x.builder.module, signature, "cbrt")
        return x.like(x.builder.call(function, [x.value]))

    monkeypatch.setitem(FUNCTIONS, "cube_root", Function(1, cube_root))
    c = Code()
    c.store(c("cube_root", c.load(0, "float64"), dtype="float64"), 1)
    nest = Problem((3,), 1, 0, [array("float64", np.ones(3)), array("float64", np.ones(3))], c).nest
    with pytest.raises(NoKernelError, match="cube_root of float64 has no code for sm_90 yet"):
        emit(NestSource(nest), GPU)


def test_launches_that_are_too_large_are_refused() -> None:
    source = NestSource(unary("neg", floats(8), "float32", "float32").nest)
    with pytest.raises(NoKernelError, match="has 4294967296 blocks; a launch has 2147483647 at most"):
        source.blocks((1 << 42,), (1 << 42,))


def test_old_gpus_are_refused_and_new_ones_are_not() -> None:
    text = emit(NestSource(unary("neg", floats(8), "float32", "float32").nest), GPU)
    with pytest.raises(ValueError, match="sm_75 and later"):
        to_ptx(text, DeviceTarget("nvidia", (7, 0)))
    assert ".target sm_75" in to_ptx(text, DeviceTarget("nvidia", (7, 5)))
    assert ".target sm_89" in to_ptx(text, DeviceTarget("nvidia", (8, 9)))
    assert ".target sm_100" in to_ptx(text, DeviceTarget("nvidia", (12, 1)))


def test_a_kernel_is_data_that_is_kept() -> None:
    source = NestSource(unary("neg", floats(8), "float32", "float32").nest)
    (kernel,) = compile_device_kernels([source], GPU)
    (again,) = compile_device_kernels([NestSource(source.nest)], GPU)
    assert kernel is again and kernel.name == "kernel" and ".visible .entry kernel(" in kernel.ptx
    assert "ld.global.v4.b32" in kernel.ptx and "ld.global.nc" not in kernel.ptx
    blocks = source.blocks((5000,), (5000,))
    assert (blocks.grid, blocks.block, blocks.shared) == ((5, 1, 1), (256, 1, 1), 0)
