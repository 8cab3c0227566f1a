"""What a family of GPUs calls the things that threads have: their numbers, barriers, exchanges, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from ...kernels.device import from_memory
from ..flow import I64, Flow, i64

I32 = ir.IntType(32)
GLOBAL = ir.PointerType(addrspace=1)
SHARED_SPACE = 3
SHARED = ir.PointerType(addrspace=SHARED_SPACE)


class DeviceFlow(Flow):
    """Writes a kernel of NVIDIA's: `kernel(addresses of buffers, numbers)`, two arrays that are parameters by value, or
    lie in memory if they are long."""

    TRIPLE = "nvptx64-nvidia-cuda"
    CONVENTION = "ptx_kernel"

    def buffer(self, number: int) -> ir.Value:
        """The address of a buffer, in the memory of the device."""
        return self.at.addrspacecast(super().buffer(number), GLOBAL)

    @contextmanager
    def unless_failed(self, status: ir.Value | None) -> Iterator[None]:
        """What is written here is done unless the status word at this address is set. None: it is done."""
        if status is None:
            yield
            return
        with self.at.if_then(self.at.icmp_signed("==", self.at.load(status, typ=I64), i64(0))):
            yield

    def module_text(self, buffers: int, numbers: int, block: int = 0, blocks: int = 0) -> str:
        """The LLVM IR of the module, whose kernel takes so many addresses and numbers. block: how many threads a block
        has at most, needed for more than 256. blocks: how many a multiprocessor should have registers for."""
        self.module.triple = self.TRIPLE
        self.function.calling_convention = self.CONVENTION
        text = str(self.module)
        for argument, type, count in ((self._buffers, "ptr", buffers), (self._params, "i64", numbers)):
            plain = f"{argument.type} {argument.get_reference()}"
            how = "noalias readonly" if from_memory(buffers, numbers) else f"byval([{max(count, 1)} x {type}])"
            text = text.replace(plain, f"ptr {how} align 8 {argument.get_reference()}", 1)
        if block:  # llvmlite knows no such attributes
            name = f"@{self.function.get_reference()[1:]}("
            head = next(line for line in text.splitlines() if line.startswith("define") and name in line)
            text = text.replace(head, f'{head} "nvvm.maxntid"="{block}" "nvvm.minctasm"="{blocks}"', 1)
        return text

    # -- threads -----------------------------------------------------------------------------------------------------

    def thread(self, axis: str) -> ir.Value:
        """The number of the thread in its block, i32."""
        return self._special(f"tid.{axis}")

    def threads(self, axis: str) -> ir.Value:
        """How many threads a block has along an axis, i32."""
        return self._special(f"ntid.{axis}")

    def block_number(self) -> ir.Value:
        """The number of the block along x, i32."""
        return self._special("ctaid.x")

    def barrier(self) -> None:
        """Wait until all threads of the block are here."""
        self._call("llvm.nvvm.barrier.cta.sync.aligned.all", ir.VoidType(), ir.Constant(I32, 0))

    def exchange(self, bits: ir.Value, distance: int) -> ir.Value:
        """The i32 of the thread of the warp whose number differs in the bit `distance`. All threads take part."""
        whole, within = ir.Constant(I32, -1), ir.Constant(I32, 31)
        return self._call("llvm.nvvm.shfl.sync.bfly.i32", I32, whole, bits, ir.Constant(I32, distance), within)

    def add(self, pointer: ir.Value, value: ir.Value) -> None:
        """Add an integer to the one in memory, in one step."""
        self.at.atomic_rmw("add", pointer, value, "monotonic")

    def raise_to(self, pointer: ir.Value, value: ir.Value) -> None:
        """Write an integer over a smaller one in memory, in one step."""
        self.at.atomic_rmw("umax", pointer, value, "monotonic")

    def set_byte(self, pointer: ir.Value) -> None:
        """Write 1 to a byte in memory, where other threads may do the same."""
        signature = ir.FunctionType(ir.VoidType(), [GLOBAL, ir.IntType(16)])
        one = ir.Constant(ir.IntType(16), 1)
        self.at.asm(signature, "st.relaxed.gpu.global.u8 [$0], $1;", "l,h,~{memory}", [pointer, one], True)

    def shared(self, name: str, element: ir.Type, count: int, align: int = 8) -> ir.Value:
        """An array that all threads of a block see; one for each name."""
        if name not in self.module.globals:
            array = ir.ArrayType(element, count)
            memory = ir.GlobalVariable(self.module, array, name, addrspace=SHARED_SPACE)
            memory.linkage, memory.initializer, memory.align = "internal", ir.Constant(array, ir.Undefined), align
        return self.module.globals[name]

    def shared_of_launch(self, name: str) -> ir.Value:
        """The memory that a launch asks for, which all threads of a block see."""
        if name not in self.module.globals:
            memory = ir.GlobalVariable(self.module, ir.ArrayType(ir.IntType(8), 0), name, addrspace=SHARED_SPACE)
            memory.linkage, memory.align = "external", 16
        return self.module.globals[name]

    def copy_to_shared(self, to: ir.Value, source: ir.Value, size: int, given: ir.Value) -> None:
        """Begin to copy 4, 8 or 16 bytes from global to shared memory. given: how many there are, i32; the others are
        0."""
        how = "cg" if size == 16 else "ca"  # 16 bytes pass by the nearest cache
        self._call(f"llvm.nvvm.cp.async.{how}.shared.global.{size}.s", ir.VoidType(), to, source, given)

    def end_group(self) -> None:
        """What the thread has begun to copy is a group."""
        self._call("llvm.nvvm.cp.async.commit.group", ir.VoidType())

    def wait_for_groups(self, left: int) -> None:
        """Wait until what the thread copies is in shared memory, except for the last groups."""
        self._call("llvm.nvvm.cp.async.wait.group", ir.VoidType(), ir.Constant(I32, left))

    def matrices(self, place: ir.Value, turned: bool) -> list[ir.Value]:
        """Four matrices of 8 x 8 elements of 16 bits from shared memory, i32 each. place: each thread has that of one
        line. A thread gets two neighbours of a line; turned: of a column."""
        how = ".trans" if turned else ""
        four = ir.LiteralStructType([I32] * 4)
        found = self._call(f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{how}.b16.p3", four, place)
        return [self.at.extract_value(found, i) for i in range(4)]

    def shortened(self, number: ir.Value) -> ir.Value:
        """A float as the nearest one of 11 significant bits, i32."""
        return self._call("llvm.nvvm.f2tf32.rna", I32, number)

    def multiply_matrices(
        self, dtype: str, a: Sequence[ir.Value], b: Sequence[ir.Value], sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """sums + a b, for matrices of 16 x 16 and 16 x 8 elements that the threads of the warp share; of float32, 16 x 8
        and 8 x 8."""
        four = ir.LiteralStructType([ir.FloatType()] * 4)
        if dtype == "float32":
            found = self._call("llvm.nvvm.mma.m16n8k8.row.col.tf32", four, *a, *b, *sums)
        elif dtype == "bfloat16":
            found = self._call("llvm.nvvm.mma.m16n8k16.row.col.bf16", four, *a, *b, *sums)
        else:
            pair = ir.VectorType(ir.HalfType(), 2)
            factors = [self.at.bitcast(x, pair) for x in (*a, *b)]
            found = self._call("llvm.nvvm.mma.m16n8k16.row.col.f32.f32", four, *factors, *sums)
        return [self.at.extract_value(found, i) for i in range(4)]

    def _special(self, name: str) -> ir.Value:
        return self._call(f"llvm.nvvm.read.ptx.sreg.{name}", I32)

    def _call(self, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        known = self.module.globals.get(name)
        signature = ir.FunctionType(result, [a.type for a in args])
        return self.at.call(known or ir.Function(self.module, signature, name), args)
