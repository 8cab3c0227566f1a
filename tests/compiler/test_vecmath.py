"""The elementary functions, compiled into loops and compared with wider truth from NumPy and the C library."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from elementwise_rows import ROWS, erf, erfc
from llvmlite import binding as llvm
from llvmlite import ir

from tengen.compiler.kernels.functions import FUNCTIONS
from tengen.compiler.kernels.nest import BINARY, UNARY
from tengen.compiler.targets.arithmetic import SIMPLE
from tengen.compiler.targets.vecmath import emitter, philox
from tengen.compiler.targets.vector import ELEMENT, Vec, llvm_type

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

DTYPE = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}
# what a kernel's instructions do without a function here
INSTRUCTIONS = set("neg abs sqrt square floor ceil trunc isnan isinf power not add sub mul div max min".split())
INSTRUCTIONS |= set("eq ne lt le gt ge and or xor shl shr".split())


# -- harness -------------------------------------------------------------------------------------------------


class Loop:
    """`emit` compiled into a loop over arrays of `kind`; call it with the input arrays."""

    def __init__(
        self, emit: Callable, kind: str, inputs: int, outputs: int = 1, lanes: int = 16, baseline: bool = False
    ) -> None:
        self.dtype, self.inputs, self.outputs, self.lanes = DTYPE[kind], inputs, outputs, lanes
        module = llvm.parse_assembly(str(_loop(emit, kind, inputs, outputs, lanes)))
        module.verify()
        target = llvm.Target.from_triple(llvm.get_process_triple())
        cpu, features = ("", "") if baseline else (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
        machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
        passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
        passes.getModulePassManager().run(module, passes)
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (inputs + outputs), ctypes.c_int64)
        self.call = signature(self.engine.get_function_address("kernel"))

    def __call__(self, *arrays: Sequence | np.ndarray) -> np.ndarray | list[np.ndarray]:
        given = [np.asarray(a, self.dtype).ravel() for a in arrays]
        count = len(given[0])
        padded = [np.resize(a, -(-count // self.lanes) * self.lanes) for a in given]
        results = [np.empty_like(padded[0]) for _ in range(self.outputs)]
        self.call(*[a.ctypes.data for a in padded + results], len(padded[0]))
        cut = [r[:count] for r in results]
        return cut[0] if self.outputs == 1 else cut


def _loop(emit: Callable, kind: str, inputs: int, outputs: int, lanes: int) -> ir.Module:
    module, i64 = ir.Module(), ir.IntType(64)
    module.triple = llvm.get_process_triple()
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType()] * (inputs + outputs) + [i64])
    function = ir.Function(module, signature, "kernel")
    entry, body, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    ir.IRBuilder(entry).branch(body)
    builder = ir.IRBuilder(body)
    index = builder.phi(i64)
    index.add_incoming(ir.Constant(i64, 0), entry)
    pointers = [builder.gep(a, [index], source_etype=ELEMENT[kind]) for a in function.args[:-1]]
    align = np.dtype(DTYPE[kind]).itemsize
    loads = [builder.load(p, align=align, typ=llvm_type(kind, lanes)) for p in pointers[:inputs]]
    results = emit(*[Vec(builder, value, kind, lanes) for value in loads])
    for result, pointer in zip(results if outputs > 1 else [results], pointers[inputs:], strict=True):
        assert (result.kind, result.lanes) == (kind, lanes)
        builder.store(result.value, pointer, align=align)
    following = builder.add(index, ir.Constant(i64, lanes))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, function.args[-1]), body, done)
    ir.IRBuilder(done).ret_void()
    return module


@cache
def compiled(name: str, kind: str, lanes: int = 16, baseline: bool = False) -> Loop:
    return Loop(emitter(name), kind, FUNCTIONS[name].arity, lanes=lanes, baseline=baseline)


def assert_within(got: np.ndarray, truth: np.ndarray, ulps: float, *inputs: np.ndarray) -> None:
    """`got` is within so many units in the last place of `truth` (a wider dtype); nan, infinities and signs agree."""
    with np.errstate(all="ignore"):
        rounded = truth.astype(got.dtype)
        limits = np.finfo(got.dtype)
        unit = np.spacing(np.clip(np.abs(truth), limits.tiny, limits.max).astype(got.dtype)).astype(truth.dtype)
        # a truth just past the largest number may come out as that number, and the other way round
        largest = float(limits.max)
        finite = np.clip(got, -largest, largest).astype(truth.dtype)
        wrong = ~(np.abs(finite - np.clip(truth, -largest, largest)) <= ulps * unit)
    wrong |= np.isinf(truth) & (got != rounded)
    wrong |= np.signbit(got) != np.signbit(rounded)
    wrong = np.where(np.isnan(rounded), ~np.isnan(got), wrong)
    if wrong.any():
        i = int(np.argmax(wrong))
        at = tuple(float(x[i]) for x in inputs)
        raise AssertionError(f"{wrong.sum()} of {len(got)} wrong; at {at}: {got[i]!r}, should be {truth[i]!r}")


def assert_same_bits(got: np.ndarray, wanted: np.ndarray) -> None:
    """Equal numbers with equal signs; any nan equals any nan."""
    np.testing.assert_array_equal(got, wanted)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(wanted[known]))


# -- truth ---------------------------------------------------------------------------------------------------


def _erfinv_error(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How far y >= 0 is from erfinv(x), by Newton's step; erfc keeps the digits where erf is close to 1."""
    gap = np.where(x < 0.5, erf(y) - x, (1.0 - x) - erfc(y))
    return gap * (math.sqrt(math.pi) / 2) * np.exp(y * y)


#: instruction → its row
UNARY_ROWS = {row.op.instr: row for row in ROWS if row.op and row.op.function and row.arity == 1 and row.ulps}
#: those that have tests of their own
OTHERS = "exp_nonpositive erfc erfcinv erfinv normcdf sign round".split()
BINARY_TRUTH: dict[str, Callable] = {"pow": np.power, "atan2": np.arctan2}
REMAINDERS: dict[str, Callable] = {"fmod": np.fmod, "mod": np.mod, "floor_div": np.floor_divide}

SPECIAL = np.array(
    [
        *(0.0, math.inf, math.nan, 1e-45, 3e-45, 1.1754942e-38, 1.1754944e-38, 1e-30, 1e-8, 0.1, 1 / 3),
        *(0.49999997, 0.5, 0.99999994, 1.0, 1.0000001, 1.5, 2.0, 2.5, 3.0, 7.0, 88.72283, 88.72284, 89.0),
        *(103.97208, 104.0, 8388609.0, 16777215.0, 1e30, 2.5e38, 3.4028235e38),
    ],
    np.float32,
)
SPECIAL = np.concatenate([SPECIAL, -SPECIAL])
PAIRS = [grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL)]


@cache
def all_exponents(count: int = 2_000_000) -> np.ndarray:
    """float32 numbers at equal distances in the order of bit patterns."""
    return np.linspace(0, 2**32 - 1, count).astype(np.uint32).view(np.float32)


@cache
def pairs(count: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of float32: special values crossed, any bits, moderate numbers, bases close to 1 with large exponents."""
    rng = np.random.default_rng(3)
    any_bits = rng.integers(0, 2**32, (2, count), np.uint32).view(np.float32)
    x = np.concatenate([np.exp(rng.normal(0, 3, count)), 1 + rng.normal(0, 1e-3, count)]).astype(np.float32)
    y = np.concatenate([rng.normal(0, 10, count), rng.normal(0, 2e4, count)]).astype(np.float32)
    return np.concatenate([PAIRS[0], any_bits[0], x]), np.concatenate([PAIRS[1], any_bits[1], y])


def inside_unit(closest: int, smallest: int, count: int) -> np.ndarray:
    """Numbers in (0, 1): evenly spread, approaching 1 to 2**-closest, and down to 2**-smallest."""
    even = np.linspace(0, 1, count + 1)[1:-1]
    return np.concatenate([even, 1 - 2.0 ** -np.linspace(1, closest, count), 2.0 ** -np.linspace(1, smallest, count)])


# -- float32 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNARY_ROWS)
def test_float32_unary(name: str) -> None:
    x = np.concatenate([SPECIAL, all_exponents()])
    with np.errstate(all="ignore"):
        truth = UNARY_ROWS[name].truth(x.astype(np.float64))
    assert_within(compiled(name, "f32")(x), truth, UNARY_ROWS[name].ulps[0], x)


@pytest.mark.parametrize("name", UNARY_ROWS)
def test_float32_special_values(name: str) -> None:
    x = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 1e-45, -1e-45], np.float32)
    with np.errstate(all="ignore"):
        wanted = UNARY_ROWS[name].truth(x.astype(np.float64)).astype(np.float32)
    got = compiled(name, "f32")(x)
    exact = [0, 1, 2, 3, 4, 7, 8]
    if name == "rsqrt":
        exact = [0, 1, 2, 3, 4]
    assert_same_bits(got[exact], wanted[exact])
    assert_within(got, wanted.astype(np.float64), 1.0, x)


def test_sine_near_multiples_of_pi() -> None:
    """Where the reduction cancels most: the numbers next to k * pi/2, and the largest numbers."""
    k = np.concatenate([np.arange(1, 50_000), 2.0 ** np.linspace(16, 127, 100_000)])
    x = (k * (math.pi / 2)).astype(np.float32)
    for name in ("sin", "cos", "tan"):
        assert_within(compiled(name, "f32")(x), UNARY_ROWS[name].truth(x.astype(np.float64)), 2.0, x)
    k = np.concatenate([np.arange(1, 20_000), 2.0 ** np.linspace(16, 1020, 50_000)])
    hardest = [6381956970095103.0 * 2.0**797, 5.319372648326541e255]  # 61 bits cancel
    x = np.concatenate([hardest, k * (math.pi / 2)])
    for name in ("sin", "cos", "tan"):
        assert_within(compiled(name, "f64", 8)(x), UNARY_ROWS[name].truth(x.astype(np.longdouble)), 1.0, x)


def test_float32_erfinv() -> None:
    x = inside_unit(24, 126, 20_000).astype(np.float32)
    y = compiled("erfinv", "f32")(x)
    error = _erfinv_error(y.astype(np.float64), x.astype(np.float64))
    assert np.all(np.abs(error) <= 1.0 * np.spacing(y)), x[np.argmax(np.abs(error) / np.spacing(y))]
    np.testing.assert_array_equal(compiled("erfinv", "f32")(-x), -y)
    ends = compiled("erfinv", "f32")([0.0, -0.0, 1.0, -1.0, 1.5, -math.inf, math.nan])
    assert_same_bits(ends, np.array([0.0, -0.0, math.inf, -math.inf, math.nan, math.nan, math.nan], np.float32))


def test_float32_exp_of_nothing_above_zero() -> None:
    """As exp down to the smallest normal number; at most that, in place of what is below."""
    x = -np.abs(np.concatenate([SPECIAL, all_exponents(), np.linspace(0, 110, 1_000_001, dtype=np.float32)]))
    with np.errstate(all="ignore"):
        truth, wide = np.exp(x.astype(np.float64)), x.astype(np.float64)
    got = compiled("exp_nonpositive", "f32")(x)
    normal = np.isnan(x) | (truth >= np.finfo(np.float32).tiny)
    assert_within(got[normal], truth[normal], 2.0, x[normal])
    assert np.all((got[~normal] >= 0) & (got[~normal] <= np.finfo(np.float32).tiny))
    exact = compiled("exp_nonpositive", "f32")([0.0, -0.0, -math.inf, -1e30, -88.0])
    assert_same_bits(exact, np.array([1, 1, 0, 0, 0], np.float32))
    assert_within(compiled("exp_nonpositive", "f64", 8)(wide), np.exp(wide.astype(np.longdouble)), 1.0, x)


def test_normal_distribution() -> None:
    x = np.concatenate([SPECIAL, all_exponents(), np.linspace(-9, 9, 1_000_001, dtype=np.float32)])
    with np.errstate(all="ignore"):
        truth = 0.5 * erfc(x.astype(np.float64) * -math.sqrt(0.5))
    got = compiled("normcdf", "f32")(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))
    known = ~np.isnan(x)
    assert np.all(np.abs(got - truth)[known] <= 2.0**-23)
    assert np.all(got[x >= 6] == 1) and np.all(got[x <= -6] == 0)
    wide = np.linspace(-12, 8, 20_001)  # further down, the longdouble argument is not exact enough
    exactly = erfc_exactly(wide.astype(np.longdouble) * -np.sqrt(np.longdouble(0.5))) / 2
    assert_within(compiled("normcdf", "f64", 8)(wide), exactly, 1.0, wide)


@pytest.mark.parametrize("name", BINARY_TRUTH)
def test_float32_binary(name: str) -> None:
    x, y = pairs()
    with np.errstate(all="ignore"):
        truth = BINARY_TRUTH[name](x.astype(np.float64), y.astype(np.float64))
    assert_within(compiled(name, "f32")(x, y), truth, 1.0, x, y)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -0.5])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_powers_that_products_and_roots_give(kind: str, exponent: float) -> None:
    """C99's values; vectors of which some lanes have other exponents give the same."""
    with np.errstate(all="ignore"):
        x = np.concatenate([SPECIAL, all_exponents(20_000)]).astype(np.float32 if kind == "f32" else np.float64)
    y = np.full_like(x, exponent)
    got = compiled("pow", kind)(x, y)
    with np.errstate(all="ignore"):
        truth = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    assert_within(got, truth if kind == "f64" else truth.astype(np.float64), 1.5, x, y)
    y[::3] = 2.7
    np.testing.assert_array_equal(compiled("pow", kind)(x, y)[1::3], got[1::3])


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", REMAINDERS)
def test_float_remainders_are_exact(name: str, kind: str) -> None:
    with np.errstate(invalid="ignore"):  # signalling nans become quiet
        x, y = (a.astype(DTYPE[kind]) for a in pairs())
    with np.errstate(all="ignore"):
        wanted = REMAINDERS[name](x, y)
    assert_same_bits(compiled(name, kind)(x, y), wanted)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_power_is_the_largest_power_of_two_that_is_not_larger(kind: str) -> None:
    x = np.concatenate([all_exponents(20_000), np.float32([1, -1, 1.9999999, 0.5, -3])])
    x = x[np.isfinite(x) & (np.abs(x) >= np.finfo(np.float32).tiny)].astype(DTYPE[kind])
    wanted = np.ldexp(np.ones_like(x), np.frexp(x)[1] - 1)
    assert_same_bits(Loop(SIMPLE["power"], kind, 1)(x), wanted)


@pytest.mark.parametrize("lanes", [8, 1])
def test_float64_remainders_are_exact(lanes: int) -> None:
    """Of numbers of any size, subnormal ones among them, and of quotients just below an integer."""
    random = np.random.default_rng(3)
    bits = random.integers(0, 2**64, (2, 20_000), np.uint64).view(np.float64)
    tiny = random.integers(1, 2**12, (2, 2000)).astype(np.uint64).view(np.float64)
    y = np.concatenate([bits[1], tiny[0], tiny[0], random.random(2000), [math.inf, 0.0, 3.0, math.nan, 5e-324]])
    x = np.concatenate(
        [bits[0], tiny[1], random.random(2000) * 1e-290, y[24_000:26_000] * random.integers(2, 2**40, 2000)]
    )
    with np.errstate(all="ignore"):
        x = np.concatenate([np.nextafter(x, 0), [2.0, 2.0, math.inf, 1.0, 1.7e308]])
        wanted = np.fmod(x, y)
    assert_same_bits(compiled("fmod", "f64", lanes)(x, y), wanted)


# -- every vector width and instruction set ------------------------------------------------------------------


@pytest.mark.parametrize("lanes, baseline", [(4, False), (1, False), (2, True)])
def test_float64_bits_do_not_depend_on_the_target(lanes: int, baseline: bool) -> None:
    bits = np.linspace(0, 2**64 - 2**12, 3_000).astype(np.uint64)
    with np.errstate(invalid="ignore"):
        x = np.concatenate([SPECIAL.astype(np.float64), bits.view(np.float64), np.linspace(-9, 9, 500)])
    for name in [*UNARY_ROWS, *OTHERS]:
        assert_same_bits(compiled(name, "f64", lanes, baseline)(x), compiled(name, "f64", 8)(x))
    for name in [*BINARY_TRUTH, *REMAINDERS]:
        assert_same_bits(compiled(name, "f64", lanes, baseline)(x, x[::-1]), compiled(name, "f64", 8)(x, x[::-1]))


@pytest.mark.parametrize("lanes, baseline", [(8, False), (4, False), (1, False), (16, True), (4, True), (1, True)])
def test_float32_bits_do_not_depend_on_the_target(lanes: int, baseline: bool) -> None:
    x = np.concatenate([SPECIAL, all_exponents()[::997]])
    for name in [*UNARY_ROWS, *OTHERS]:
        assert_same_bits(compiled(name, "f32", lanes, baseline)(x), compiled(name, "f32")(x))
    x, y = (a[::101] for a in pairs())
    for name in [*BINARY_TRUTH, *REMAINDERS]:
        assert_same_bits(compiled(name, "f32", lanes, baseline)(x, y), compiled(name, "f32")(x, y))


# -- float64 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [8, 1])
@pytest.mark.parametrize("name", UNARY_ROWS)
def test_float64_unary(name: str, lanes: int) -> None:
    bits = np.linspace(0, 2**64 - 2**12, 50_000).astype(np.uint64)
    x = np.concatenate([SPECIAL.astype(np.float64), np.linspace(-20, 20, 20_001), bits.view(np.float64)])
    with np.errstate(all="ignore"):
        truth = UNARY_ROWS[name].truth(x.astype(np.longdouble)).astype(np.longdouble)
    assert_within(compiled(name, "f64", lanes)(x), truth, UNARY_ROWS[name].ulps[1], x)


@pytest.mark.parametrize("name", BINARY_TRUTH)
def test_float64_binary(name: str) -> None:
    with np.errstate(invalid="ignore"):  # signalling nans become quiet
        x, y = (a.astype(np.float64) for a in pairs())
    with np.errstate(all="ignore"):
        truth = BINARY_TRUTH[name](x.astype(np.longdouble), y.astype(np.longdouble))
    assert_within(compiled(name, "f64", 8)(x, y), truth, 1.1, x, y)


def test_float64_erfinv() -> None:
    x = inside_unit(53, 1000, 2_000)
    y = compiled("erfinv", "f64", 8)(x)
    assert np.all(np.abs(_erfinv_error(y, x)) <= 4 * np.spacing(y))
    # values to 17 digits from an arbitrary-precision library
    known = {0.001: 0.00088622715746655212, 0.5: 0.47693627620446987, 0.9: 1.1630871536766742}
    known |= {0.999999: 3.4589107372754988, 1 - 2.0**-53: 5.8635847487551679}
    np.testing.assert_allclose(compiled("erfinv", "f64", 8)(list(known)), list(known.values()), rtol=4e-16, atol=0)
    ends = compiled("erfinv", "f64", 8)([0.0, -0.0, 1.0, -1.0, 1.5, -math.inf, math.nan])
    assert_same_bits(ends, np.array([0.0, -0.0, math.inf, -math.inf, math.nan, math.nan, math.nan]))


def erfc_exactly(x: np.ndarray) -> np.ndarray:
    """With the digits of a longdouble: from 1 on by the continued fraction, below by the series of erf, whose terms have one sign."""
    x = x.astype(np.longdouble)
    a, root = np.abs(x), np.sqrt(4 * np.arctan(np.longdouble(1)))
    small, tail = np.minimum(a, 1), np.maximum(a, 1)
    term = total = 2 * small * np.exp(-small * small) / root
    for n in range(1, 40):
        term = term * 2 * small * small / (2 * n + 1)
        total = total + term
    fraction = tail
    for k in range(400, 0, -1):
        fraction = tail + np.longdouble(k) / 2 / fraction
    upper = np.where(a < 1, 1 - total, np.exp(-tail * tail) / fraction / root)
    return np.where(x < 0, np.where(a < 1, 1 + total, 2 - upper), upper)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_erfc_and_its_inverse(kind: str) -> None:
    """Both keep their digits where erf is close to 1; the inverse is judged by Newton's step."""
    dtype, least = DTYPE[kind], -44 if kind == "f32" else -300
    x = np.linspace(-6, 9 if kind == "f32" else 26, 2_000).astype(dtype)
    assert_within(compiled("erfc", kind, 8)(x), erfc_exactly(x), 1.0, x)
    shares = [np.logspace(least, -0.31, 2_000), np.linspace(0.4, 1.6, 1_001), 2 - np.logspace(-7, -0.4, 300)]
    x = np.concatenate(shares).astype(dtype)
    x = x[(x > 0) & (x < 2)]
    found = compiled("erfcinv", kind, 8)(x)
    y = found.astype(np.float64)
    error = (erfc(y) - x.astype(np.float64)) * (math.sqrt(math.pi) / 2) * np.exp(y * y)
    bound = np.maximum(np.spacing(np.abs(found)), np.spacing(np.abs(np.asarray(1 - x, dtype))))
    assert np.all(np.abs(error) <= 4 * bound), x[np.argmax(np.abs(error) / bound)]
    ends = compiled("erfcinv", kind, 8)([0.0, 2.0, 1.0, -0.5, 2.5, math.inf, math.nan])
    np.testing.assert_array_equal(ends, [math.inf, -math.inf, 0.0, math.nan, math.nan, math.nan, math.nan])


# -- rounding and integers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_sign_and_round(kind: str) -> None:
    values = [
        -3.5,
        -2.5,
        -1.5,
        -0.5,
        -0.0,
        0.0,
        0.49999997,
        0.5,
        1.5,
        2.5,
        8388609.0,
        1e30,
        math.inf,
        -math.inf,
        math.nan,
    ]
    x = np.array(values, DTYPE[kind])
    assert_same_bits(compiled("sign", kind)(x), np.sign(x))
    # halves go away from zero
    wanted = [-4.0, -3.0, -2.0, -1.0, -0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 8388609.0, 1e30, math.inf, -math.inf, math.nan]
    assert_same_bits(compiled("round", kind)(x), np.array(wanted, DTYPE[kind]))


@pytest.mark.parametrize("lanes", [16, 1])
@pytest.mark.parametrize("kind", ["i32", "i64"])
def test_integers(kind: str, lanes: int) -> None:
    dtype = DTYPE[kind]
    lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    edges = np.array([lowest, lowest + 1, -1003, -7, -3, -2, -1, 0, 1, 2, 3, 7, 1003, highest - 1, highest], dtype)
    random = np.random.default_rng(5).integers(lowest, highest, (2, 10_000), dtype)
    random[1, ::2] >>= 20
    x = np.concatenate([np.repeat(edges, len(edges)), random[0]])
    y = np.concatenate([np.tile(edges, len(edges)), random[1]])
    for name in ("floor_div", "mod"):
        with np.errstate(all="ignore"):
            wanted = REMAINDERS[name](x, y)
        wanted[y == 0] = 0
        np.testing.assert_array_equal(compiled(name, kind, lanes)(x, y), wanted)
    np.testing.assert_array_equal(compiled("sign", kind, lanes)(x), np.sign(x))
    np.testing.assert_array_equal(compiled("round", kind, lanes)(x), x)


# -- random numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes, baseline", [(8, False), (1, False), (4, True)])
def test_philox_known_answers(lanes: int, baseline: bool) -> None:
    """The vectors that the authors publish with Random123 (kat_vectors, philox2x32 10)."""
    loop = Loop(philox, "i64", 2, 2, lanes, baseline)
    # counter words are (low, high)
    counters = np.array([0, 0xFFFFFFFF_FFFFFFFF, 0x85A308D3_243F6A88], np.uint64).view(np.int64)
    first, second = loop(counters, np.array([0, 0xFFFFFFFF, 0x13198A2E]))
    assert [hex(v) for v in first] == ["0xff1dae59", "0x2c3f628b", "0xdd7ce038"]
    assert [hex(v) for v in second] == ["0x6cd10df2", "0xab4fd7ad", "0xf62a4c12"]


# -- the table -----------------------------------------------------------------------------------------------


def test_every_operation_of_the_loop_ir_has_code() -> None:
    assert set(UNARY) | set(BINARY) == INSTRUCTIONS
    assert not set(FUNCTIONS) & INSTRUCTIONS
    assert all(callable(emitter(name)) for name in FUNCTIONS)


def test_the_accuracy_of_every_function_is_known() -> None:
    """By a row of tests/helpers/elementwise_rows.py, or a test of its own here."""
    assert {*UNARY_ROWS, *OTHERS} == {name for name, function in FUNCTIONS.items() if function.arity == 1}
    assert {*BINARY_TRUTH, *REMAINDERS} == {name for name, function in FUNCTIONS.items() if function.arity == 2}


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match="exp is not defined for i32"):
        Loop(emitter("exp"), "i32", 1)
