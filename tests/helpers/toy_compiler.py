"""A toy compiler for the runtime's tests: a few float32 kernels, ops over them, and hooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from tengen import _rt as rt

TILE = 64

# out[i] = a[i] OP b[i] for the elements of tiles begin..end of TILE each; params: the number of elements.
BINARY = """
define void @NAME(ptr %buffers, ptr %params, i64 %begin, i64 %end) {
  %n = load i64, ptr %params
  %first = mul i64 %begin, 64
  %stop = mul i64 %end, 64
  %less = icmp slt i64 %stop, %n
  %last = select i1 %less, i64 %stop, i64 %n
  %a = load ptr, ptr %buffers
  %bp = getelementptr ptr, ptr %buffers, i64 1
  %b = load ptr, ptr %bp
  %cp = getelementptr ptr, ptr %buffers, i64 2
  %c = load ptr, ptr %cp
  br label %head
head:
  %i = phi i64 [%first, %0], [%next, %body]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %body, label %done
body:
  %ai = getelementptr float, ptr %a, i64 %i
  %x = load float, ptr %ai
  LOAD_B
  %z = OP float %x, %y
  %ci = getelementptr float, ptr %c, i64 %i
  store float %z, ptr %ci
  %next = add i64 %i, 1
  br label %head
done:
  ret void
}
"""
VECTOR = "%bi = getelementptr float, ptr %b, i64 %i\n %y = load float, ptr %bi"
SCALAR = "%w = load double, ptr %b\n %y = fptrunc double %w to float"
# Writes 7 into the status word.
FAIL = """
define void @fail(ptr %buffers, ptr %params, i64 %begin, i64 %end) {
  %p = load ptr, ptr %buffers
  store i64 7, ptr %p
  ret void
}
"""


def compile_kernels() -> tuple[Any, dict[str, int]]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    rows = [
        ("add", "fadd", VECTOR),
        ("mul", "fmul", VECTOR),
        ("add_number", "fadd", SCALAR),
        ("mul_number", "fmul", SCALAR),
    ]
    text = FAIL
    for name, op, load in rows:
        text += BINARY.replace("NAME", name).replace("OP", op).replace("LOAD_B", load)
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    return engine, {name: engine.get_function_address(name) for name in [row[0] for row in rows] + ["fail"]}


@dataclass(frozen=True, eq=False)
class Op:
    name: str


ADD, MUL, PAIR, PAIR_GRAD, VIEW, FLIP = map(Op, ["add", "mul", "pair", "pair_grad", "view", "flip"])
TWICE, BAD, BAD_CUSTOM, BAD_BEFORE = map(Op, ["twice", "bad", "bad_custom", "bad_before"])
COPY_ADD, STEP, COPIES = map(Op, ["copy_add", "step", "copies"])


@dataclass
class Toy:
    """The hooks, and what they were asked."""

    kernels: dict[str, int]
    compiled: list[tuple[Op, tuple[Any, ...]]] = field(default_factory=list)
    gradients: list[tuple[Any, ...]] = field(default_factory=list)
    backwards: list[tuple[Any, ...]] = field(default_factory=list)

    def launch(self, kernel: str, buffers: tuple[int, ...], desc: Any, **options: Any) -> rt.Launch:
        tiles = -(-desc.size // TILE)
        places = tuple((slot, 0) for slot in buffers)
        return rt.Launch(self.kernels[kernel], places, (desc.size,), tiles, 13 * desc.size, **options)

    def compile(self, op: Op, descs: tuple[Any, ...]) -> rt.Plan:
        self.compiled.append((op, descs))
        return getattr(self, f"plan_{op.name}")(*descs)

    def _binary(self, kernel: str, a: Any, b: Any) -> rt.Plan:
        kernel += "_number" if b.dtype == "weak_float" else ""
        work = 13 * a.size
        return rt.Plan(
            2, (a.size * 4,), (self.launch(kernel, (0, 1, 2), a),), ((2, 0, a),), donations=((2, 0),), work=work
        )

    def plan_add(self, a: Any, b: Any) -> rt.Plan:
        return self._binary("add", a, b)

    def plan_mul(self, a: Any, b: Any) -> rt.Plan:
        return self._binary("mul", a, b)

    def plan_pair(self, a: Any, b: Any, g: Any) -> rt.Plan:
        """Both gradients of a * b."""
        steps = (self.launch("mul", (2, 1, 3), a), self.launch("mul", (2, 0, 4), a))
        return rt.Plan(3, (a.size * 4,) * 2, steps, ((3, 0, a), (4, 0, a)))

    def plan_pair_grad(self, a: Any, b: Any, g: Any, p: Any, q: Any) -> rt.Plan:
        def compute(inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
            a, b, g, p, q = inputs
            outputs[0][...], outputs[1][...], outputs[2][...] = q * g, p * g, p * b + q * a

        places = tuple((5 + i, 0, a) for i in range(3))
        step = rt.Host(compute, tuple((i, 0, a) for i in range(5)), places)
        return rt.Plan(5, (a.size * 4,) * 3, (step,), places)

    def plan_view(self, a: Any) -> rt.Plan:
        """The transpose of a matrix."""
        shape, strides = a.shape[::-1], a.strides[::-1]
        return rt.Plan(1, (), (), ((0, 0, rt.Descriptor(a.dtype, shape, strides)),))

    def plan_flip(self, a: Any) -> rt.Plan:
        """A vector read backwards."""
        desc = rt.Descriptor(a.dtype, a.shape, (-a.strides[0],))
        return rt.Plan(1, (), (), ((0, (a.size - 1) * a.strides[0] * a.itemsize, desc),))

    def plan_twice(self, a: Any) -> rt.Plan:
        """4 * x, through a temporary slot."""
        steps = (self.launch("add", (0, 0, 1), a), self.launch("add", (1, 1, 2), a))
        return rt.Plan(1, (a.size * 4,) * 2, steps, ((2, 0, a),))

    def plan_bad(self, a: Any) -> rt.Plan:
        return rt.Plan(1, (), (rt.Launch(self.kernels["fail"], ((1, 0),), (), 1, 1),), ((0, 0, a),))

    def plan_bad_custom(self, a: Any) -> rt.Plan:
        def error(status: int, inputs: object) -> None:
            raise IndexError(f"status {status}")

        steps = (self.launch("add", (0, 0, 1), a), rt.Launch(self.kernels["fail"], ((2, 0),), (), 1, 1))
        return rt.Plan(1, (a.size * 4,), steps, ((1, 0, a),), donations=((1, 0),), error=error)

    def plan_bad_before(self, a: Any) -> rt.Plan:
        """x + x, in place, after a check that fails."""
        steps = (rt.Launch(self.kernels["fail"], ((2, 0),), (), 1, 1), self.launch("add", (0, 0, 1), a))
        return rt.Plan(1, (a.size * 4,), steps, ((1, 0, a),), donations=((1, 0),), commit=1)

    def plan_copy_add(self, a: Any, b: Any) -> rt.Plan:
        """out = a + a; out += b. The first step stands for a copy, so it is skipped when a is donated."""
        steps = (self.launch("add", (0, 0, 2), a, skip_if=2), self.launch("add", (2, 1, 2), a))
        return rt.Plan(2, (a.size * 4,), steps, ((2, 0, a),), donations=((2, 0),))

    def plan_step(self, *descs: Any) -> rt.Plan:
        """p += g for every pair of many: inputs p0 … pn-1, g0 … gn-1."""
        n = len(descs) // 2
        steps = tuple(self.launch("add", (i, n + i, 2 * n + i), descs[i]) for i in range(n))
        outputs = tuple((2 * n + i, 0, descs[i]) for i in range(n))
        donations = tuple((2 * n + i, i) for i in range(n))
        return rt.Plan(2 * n, tuple(d.size * 4 for d in descs[:n]), steps, outputs, donations=donations)

    # -- gradients --

    def gradient(self, op: Op, inputs: Any, outputs: Any, needs: Any) -> tuple[int, ...] | None:
        self.gradients.append((op, inputs, outputs, needs))
        return {MUL: (0, 1), PAIR: (0, 1, 2), ADD: (), TWICE: ()}.get(op)

    def backward(self, op: Op, inputs: Any, outputs: Any, needs: Any, present: Any) -> tuple[Any, ...]:
        self.backwards.append((op, inputs, outputs, needs, present))
        if op is MUL:
            if needs == (True, False):
                return MUL, (2 + 1, 1), (0,)
            if needs == (False, True):
                return MUL, (2 + 1, 0), (1,)
            return PAIR, (0, 1, 3), (0, 1)
        if op is PAIR:
            assert present == (True, True)
            return PAIR_GRAD, (0, 1, 2, 5, 6), (0, 1, 2)
        if op is TWICE:
            return TWICE, (2,), (0,)
        assert op is ADD
        return COPIES, (3,) * sum(needs), tuple(i for i in range(2) if needs[i])

    def plan_copies(self, *descs: Any) -> rt.Plan:
        return rt.Plan(len(descs), (), (), tuple((i, 0, d) for i, d in enumerate(descs)))


class Tensor(rt.Tensor):
    """What tengen.Tensor is to the runtime."""

    def __init__(self, data: Any, dtype: str = "float32"):
        self._assign(np.asarray(data, dtype, order="C"), dtype, "cpu0")


class Parameter(Tensor):
    pass


OPERATORS = {"nb_add": ADD, "nb_multiply": MUL}

#: Every operator slot, so that a test can take the real operators away.
_BINARY = (
    "add subtract multiply true_divide floor_divide remainder and or xor lshift rshift matrix_multiply power".split()
)
SLOTS = (
    *"lt le eq ne gt ge nb_negative nb_absolute nb_invert".split(),
    *(f"nb_{name}" for name in _BINARY),
    *(f"nb_inplace_{name}" for name in _BINARY),
)
