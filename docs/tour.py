"""tengen in miniature: a Program, a pass, a kernel by llvmlite, and a tape. Read it from top to bottom; run it: python docs/tour.py

The parts have the names that they have in tengen, and each is as small as it can be: float64 only, one thread, and loops that LLVM
vectorises instead of us. Dims have names here, one letter each, by which operands meet; so no shape rules and no views are needed.
docs/architecture/ says what the real parts do. The example at the end is a linear layer and a relu, forward and backward.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir


# -- 1. Programs (tengen: compiler/program.py) ----------------------------------------------------------------------
# A Program is a list of ops in SSA form: each Value is computed once, from Values before it.
class Op(NamedTuple):
    name: str  # what it means stands in the op table; "recorded" is a Program as an op
    parameter: Any = None


class Value:
    """What an op gives when a Program runs; an input of the Program if `op` is None. dims: "nk" is a matrix with dims n and k."""

    def __init__(self, builder: Builder, dims: str, op: Op | None = None, operands: tuple[Value, ...] = ()):
        self.builder, self.dims, self.op, self.operands = builder, dims, op, operands


class Program(NamedTuple):
    inputs: tuple[Value, ...]
    nodes: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def __str__(self) -> str:
        names = {v: f"%{i}[{v.dims}]" for i, v in enumerate((*self.inputs, *self.nodes))}
        lines = [f"{names[v]} = {v.op.name}({', '.join(names[x] for x in v.operands)})" for v in self.nodes]
        return "\n  ".join(["program", *lines, f"return {', '.join(names[v] for v in self.outputs)}"])


class Builder:
    """Records ops. Equal ops on equal values are recorded once."""

    def __init__(self, *dims: str):
        self.inputs = [Value(self, d) for d in dims]
        self.known: dict[tuple[Op, tuple[Value, ...]], Value] = {}

    def record(self, op: Op, *operands: Any) -> list[Value]:
        values = tuple(v if isinstance(v, Value) else self.record(Op("constant", float(v)))[0] for v in operands)
        if op.name == "recorded":  # is replaced by what it is made of
            made = dict(zip(op.parameter.inputs, values, strict=True))
            for node in op.parameter.nodes:
                (made[node],) = self.record(node.op, *(made[v] for v in node.operands))
            return [made[v] for v in op.parameter.outputs]
        if (op, values) not in self.known:
            dims = values[1].dims if op.name == "like" else "".join(dict.fromkeys("".join(v.dims for v in values)))
            dims = "".join(d for d in dims if op.name != "sum" or d not in op.parameter)
            self.known[op, values] = Value(self, dims, op, values)
        return [self.known[op, values]]

    def finish(self, outputs: Sequence[Value]) -> Program:
        """The Program of these outputs, without what they do not need."""
        needed = set(outputs)
        for value in reversed(self.known.values()):
            needed |= set(value.operands) if value in needed else set()
        return Program(tuple(self.inputs), tuple(v for v in self.known.values() if v in needed), tuple(outputs))


def record(function: Callable[..., Any], *dims: str) -> Op:
    """One op of a function: one Program, so that what can be one kernel is one."""
    builder = Builder(*dims)
    return Op("recorded", builder.finish([function(*builder.inputs)]))


# -- 2. The op table (tengen: core/ops/) ----------------------------------------------------------------------------
# One row says all about an op. Gradient rules are written with ops again, so they need no kernels of their own.
class Row(NamedTuple):
    grad: Callable[..., Sequence[Value | None]]  # from the gradient g of the result, the result y, and the operands
    emit: Callable[..., ir.Value] | None = None  # of an element-wise op: instructions, from its parameter and operands


def call(name: str, parameter: Any = None) -> Callable[..., Any]:
    """A function that records an op on Values, and runs it on Tensors."""
    op = Op(name, parameter)
    return lambda x, *more: (x.builder.record(op, x, *more) if isinstance(x, Value) else apply(op, x, *more))[0]


F64, I64, POINTER = ir.DoubleType(), ir.IntType(64), ir.PointerType()
ROWS = {
    "constant": Row(lambda g, y: [], lambda b, number: F64(number)),
    "add": Row(lambda g, y, a, b: [g, g], lambda b, _, x, y: b.fadd(x, y)),
    "mul": Row(lambda g, y, a, b: [mul(g, b), mul(g, a)], lambda b, _, x, y: b.fmul(x, y)),
    "relu": Row(lambda g, y, x: [mul(g, step(y))], lambda b, _, x: b.select(b.fcmp_ordered(">", x, F64(0)), x, F64(0))),
    "step": Row(lambda g, y, x: [None], lambda b, _, x: b.select(b.fcmp_ordered(">", x, F64(0)), F64(1), F64(0))),
    "like": Row(lambda g, y, x, shape: [g, None], lambda b, _, x, shape: x),  # x with the dims of another value
    "sum": Row(lambda g, y, x: [g]),  # over the dims that are its parameter; `fit` repeats g along them
}
add, mul, relu, step, like = (call(name) for name in ("add", "mul", "relu", "step", "like"))


# -- 3. A pass (tengen: compiler/passes/) ---------------------------------------------------------------------------
def simplify(program: Program) -> Program:
    """An equal Program: x * 1 and x + 0 are x."""
    builder = Builder(*(v.dims for v in program.inputs))
    made = dict(zip(program.inputs, builder.inputs, strict=True))
    for node in program.nodes:
        operands = [made[v] for v in node.operands]
        neutral = Op("constant", {"add": 0.0, "mul": 1.0}.get(node.op.name))
        idle = operands and operands[-1].op == neutral
        made[node] = operands[0] if idle else builder.record(node.op, *operands)[0]
    return builder.finish([made[v] for v in program.outputs])


# -- 4. One kernel (tengen: compiler/kernels/, compiler/targets/) ---------------------------------------------------
# A loop nest, as data. Sizes and strides are arguments of the compiled function, so other shapes need no other kernel.
class Kernel(NamedTuple):
    kept: int  # loops
    summed: int  # loops inside of them
    buffers: int  # the last one gets the last value
    code: tuple[tuple[Op, tuple[int, ...]], ...]  # (op, operands): numbers of instructions; of "load" that of a buffer


@cache
def compile_kernel(kernel: Kernel) -> Callable[[np.ndarray, np.ndarray], None]:
    """Machine code: a function of an array of buffers, and of one of extents, followed by the strides of each buffer."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), opt=2)
    module = llvm.parse_assembly(emit(kernel))
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, machine)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address("kernel"))
    return lambda buffers, params, alive=engine: function(buffers.ctypes.data, params.ctypes.data)


def emit(kernel: Kernel) -> str:
    """The kernel as LLVM IR."""
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), (POINTER, POINTER)), "kernel")
    b, dims = ir.IRBuilder(function.append_basic_block()), kernel.kept + kernel.summed
    pointers, sizes = function.args
    buffers = [b.load(b.gep(pointers, [I64(i)], source_etype=POINTER), typ=POINTER) for i in range(kernel.buffers)]
    params = [b.load(b.gep(sizes, [I64(i)], source_etype=I64), typ=I64) for i in range(dims * (1 + kernel.buffers))]
    counters, result = [b.alloca(I64) for _ in range(dims)], b.alloca(F64)  # LLVM makes registers of them

    def address(buffer: int, index: list[ir.Value]) -> ir.Value:
        place = I64(0)
        for i, stride in zip(index, params[dims * (1 + buffer) :], strict=False):
            place = b.add(place, b.mul(i, stride))
        return b.gep(buffers[buffer], [place], source_etype=F64)

    def nest(index: list[ir.Value]) -> None:
        d = len(index)
        if d == kernel.kept:
            b.store(F64(-0.0), result)  # -0.0 + x is x for every x
        if d == dims:
            values: list[ir.Value] = []
            for op, args in kernel.code:
                read = op.name == "load" and b.load(address(args[0], index), typ=F64)
                values.append(read or ROWS[op.name].emit(b, op.parameter, *(values[a] for a in args)))
            b.store(b.fadd(b.load(result, typ=F64), values[-1]), result)
        else:
            head, after = function.append_basic_block(), function.append_basic_block()
            b.store(I64(0), counters[d])
            b.branch(head)
            b.position_at_end(head)
            i = b.load(counters[d], typ=I64)
            nest([*index, i])
            b.store(b.add(i, I64(1)), counters[d])
            b.cbranch(b.icmp_signed("<", b.add(i, I64(1)), params[d]), head, after)  # extents are 1 or more
            b.position_at_end(after)
        if d == kernel.kept:
            b.store(b.load(result, typ=F64), address(kernel.buffers - 1, index))

    nest([])
    b.ret_void()
    return str(function.module)


# -- 5. From a Program to a Plan (tengen: compiler/schedule/) -------------------------------------------------------
# A Plan is a list of launches (kernel, dims of its loops, buffers that it reads, dims of the buffer that it makes), and the buffers
# of the outputs. Buffers are numbered: those of the inputs, then what each launch makes.
def schedule(program: Program) -> tuple[list[tuple[Kernel, str, list[int], str]], list[int]]:
    """The Plan of a Program. Each sum and each output is a kernel, which computes the element-wise ops before it as well."""
    launches: list[tuple[Kernel, str, list[int], str]] = []
    lies = {v: i for i, v in enumerate(program.inputs)}

    def visit(value: Value, code: list[Any], reads: list[int]) -> int:
        if value in lies:
            reads.append(lies[value])
            code.append((Op("load"), (len(reads) - 1,)))
        else:
            code.append((value.op, tuple([visit(v, code, reads) for v in value.operands])))
        return len(code) - 1

    for node in program.nodes:
        if node.op.name == "sum" or node in program.outputs:
            value, summed = (node.operands[0], node.op.parameter) if node.op.name == "sum" else (node, "")
            visit(value, code := [], reads := [])
            kernel = Kernel(len(node.dims), len(summed), len(reads) + 1, tuple(code))
            launches.append((kernel, node.dims + summed, reads, node.dims))
            lies[node] = len(program.inputs) + len(launches) - 1
    return launches, [lies[v] for v in program.outputs]


# -- 6. Gradients (tengen: core/gradient.py) ------------------------------------------------------------------------
def fit(g: Value, x: Value) -> Value:
    """The gradient of x with its dims: summed where x was broadcast, repeated where x was summed."""
    if broadcast := "".join(d for d in g.dims if d not in x.dims):
        g = call("sum", broadcast)(g)
    return g if g.dims == x.dims else like(g, x)


@cache
def backward(op: Op, dims: tuple[str, ...], needs: tuple[int, ...]) -> tuple[Op, list[int]]:
    """The op that computes the gradients by the inputs `needs`, and its operands: numbers of inputs, result, gradient of the result.
    The rules run once, on Values. What they record is the backward Program."""
    builder = Builder(*dims)
    (made,) = builder.record(op, *builder.inputs)
    y, dy, forward = Value(builder, made.dims), Value(builder, made.dims), list(builder.known.values())
    grads, known = {made: dy}, [*builder.inputs, y, dy]
    for node in reversed(forward):
        if node in grads:
            rule, result = ROWS[node.op.name].grad, y if node is made else node
            for x, g in zip(node.operands, rule(grads[node], result, *node.operands), strict=True):
                if g is not None:
                    grads[x] = add(grads[x], fit(g, x)) if x in grads else fit(g, x)
    _, nodes, outputs = builder.finish([grads[known[i]] for i in needs])
    used = {v for node in nodes for v in node.operands} | set(outputs)
    args = [i for i, v in enumerate(known) if v in used]  # what is not used need not be kept
    return Op("recorded", Program(tuple(known[i] for i in args), nodes, outputs)), args


# -- 7. apply and the tape (tengen: csrc/) --------------------------------------------------------------------------
class Tensor:
    def __init__(self, array: Any, dims: str = ""):
        self.array, self.dims = np.asarray(array, np.float64), dims


@cache
def plan(op: Op, dims: tuple[str, ...]) -> Any:
    """The Plan cache: a miss compiles."""
    builder = Builder(*dims)
    return schedule(simplify(builder.finish(builder.record(op, *builder.inputs))))


def apply(op: Op, *inputs: Any) -> list[Tensor]:
    """Run an op: all that computes anything goes through here."""
    xs = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    tensors, extents = list(xs), {d: n for x in xs for d, n in zip(x.dims, x.array.shape, strict=True)}
    launches, outputs = plan(op, tuple(x.dims for x in xs))
    for kernel, loops, reads, makes in launches:
        tensors.append(Tensor(np.empty([extents[d] for d in makes]), makes))
        used = [tensors[i] for i in (*reads, -1)]
        strides = [dict(zip(x.dims, x.array.strides, strict=True)) for x in used]
        params = [extents[d] for d in loops] + [s.get(d, 0) // 8 for s in strides for d in loops]
        compile_kernel(kernel)(np.array([x.array.ctypes.data for x in used]), np.array(params, np.int64))
    results = [tensors[i] for i in outputs]
    for tape in Tape.active:
        if needs := tuple(i for i, x in enumerate(xs) if id(x) in tape.reached):
            tape.reached |= {id(y): y for y in results}
            tape.entries.append((op, xs, results[0], needs))
    return results


class Tape:
    """Keeps what is computed from the tensors that it watches, until `backward`."""

    active: tuple[Tape, ...] = ()

    def __init__(self, *watched: Tensor):
        self.reached, self.entries = {id(x): x for x in watched}, []
        Tape.active += (self,)

    def backward(self, y: Tensor, *wanted: Tensor) -> list[Tensor]:
        """The gradients of the sum of y. apply computes them, so a tape around this one can differentiate them again."""
        Tape.active = tuple(tape for tape in Tape.active if tape is not self)
        grads = {id(y): Tensor(np.ones(y.array.shape), y.dims)}
        for op, inputs, result, needs in reversed(self.entries):
            if id(result) in grads:
                gradient, args = backward(op, tuple(x.dims for x in inputs), needs)
                known = [*inputs, result, grads[id(result)]]
                for i, g in zip(needs, apply(gradient, *(known[a] for a in args)), strict=True):
                    grads[id(inputs[i])] = add(grads[id(inputs[i])], g) if id(inputs[i]) in grads else g
        return [grads[id(x)] for x in wanted]


# -- 8. The example -------------------------------------------------------------------------------------------------
if __name__ == "__main__":
    layer = record(lambda x, w, b: relu(add(call("sum", "k")(mul(x, w)), b)), "nk", "mk", "m")  # relu(x @ wᵀ + b)
    x, w, b = Tensor(np.eye(5, 3), "nk"), Tensor(np.cos(np.arange(12)).reshape(4, 3), "mk"), Tensor(np.ones(4), "m")
    tape = Tape(w, b)
    (y,) = apply(layer, x, w, b)
    dw, db = tape.backward(y, w, b)
    print("forward", layer.parameter, "\n\nbackward", backward(layer, ("nk", "mk", "m"), (1, 2))[0].parameter)
    print("\n", dw.array, "\n", db.array, "\n", y.array - np.maximum(x.array @ w.array.T + b.array, 0))
