"""LLVM IR of one PTX function while it is written: registers, operands, addresses.

Registers are stack slots, which LLVM turns into values again. Operands are integers of their size; floats are bits.
Before each access to memory the code asks `double_place`, which checks the address and says where its bytes are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .ptx_reader import BITS, Entry, Instruction, PtxError, Unit, Variable

# What kernels.h says of a Thread: numbers of `special`, bytes in front of the other fields.
SPECIAL = {
    **{
        f"%{name}.{axis}": 3 * i + j
        for i, name in enumerate(("tid", "ntid", "ctaid", "nctaid"))
        for j, axis in enumerate("xyz")
    },
    "%laneid": 12,
    "%warpid": 13,
    "%dynamic_smem_size": 14,
}
SHARED, LOCAL, PARAM, GLOBAL, GENERIC = range(5)
WINDOWS, IMAGE, LOCAL_BASE, LOCAL_BYTES = 64, 88, 96, 104
SPACES = {"shared": SHARED, "shared::cta": SHARED, "local": LOCAL, "param": PARAM, "global": GLOBAL, "const": GLOBAL}
READ, WRITE, UPDATE = range(3)
SIZES_DIFFER = ("ld", "ldu", "st", "cvt", "brx")  # whose registers may be wider than the type they name
FLOAT = {"f16": "half", "f32": "float", "f64": "double", "f16x2": "<2 x half>"}

FUNCTIONS = {
    "double_place": "ptr @double_place(ptr, i64, i32, i32)",
    "double_barrier": "void @double_barrier(ptr, i32)",
    "double_collective": "ptr @double_collective(ptr, i32, i32, i32)",
    "double_posted": "ptr @double_posted(ptr)",
    "double_trap": "void @double_trap(ptr, i32)",
    "double_copy_async": "void @double_copy_async(ptr, i64, i64, i32, i32, i32)",
    "double_commit_copies": "void @double_commit_copies(ptr)",
    "double_wait_copies": "void @double_wait_copies(ptr, i32, i32)",
}


class Code:
    def __init__(self, unit: Unit, entry: Entry, image: dict[str, int]):
        self.entry, self.image = entry, image
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self.number = 0
        self.instruction = Instruction(0, None, "", [])
        self.parameters = {p.name: p for p in entry.parameters}
        self.parameter_bytes = max((p.offset + p.bytes for p in entry.parameters), default=0)
        own = {v.name for v in entry.variables}
        variables = [*entry.variables, *(v for v in unit.variables if v.name not in own)]
        self.variables = {v.name: v for v in variables}
        self.places, self.shared_bytes = self.layout([v for v in variables if v.space == "shared"])
        places, self.local_bytes = self.layout([v for v in variables if v.space == "local"])
        self.places |= places

    def layout(self, variables: list[Variable]) -> tuple[dict[str, int], int]:
        """Where variables lie in the memory of a block or a thread. Dynamic ones share the place behind the others."""
        places, end = {}, 0
        for v in sorted(variables, key=lambda v: v.dynamic):
            end = -(-end // v.align) * v.align
            places[v.name] = end
            end += 0 if v.dynamic else v.bytes
        return places, end

    # -- lines of IR -----------------------------------------------------------------------------------------------
    def error(self, why: str = "the double does not know it") -> PtxError:
        at = self.instruction
        return PtxError(f"line {at.line} `{' '.join([at.op, ', '.join(at.operands)]).strip()}`: {why}")

    def emit(self, line: str) -> None:
        self.lines.append("  " + line)

    def let(self, line: str) -> str:
        self.number += 1
        name = f"%t{self.number}"
        self.emit(f"{name} = {line}")
        return name

    def op(self, name: str, kind: str, a: object, b: object) -> str:
        return self.let(f"{name} {kind} {a}, {b}")

    def cast(self, how: str, kind: str, value: str, to: str) -> str:
        return self.let(f"{how} {kind} {value} to {to}")

    def select(self, which: str, kind: str, a: object, b: object) -> str:
        return self.let(f"select i1 {which}, {kind} {a}, {kind} {b}")

    def at(self, pointer: str, offset: int) -> str:
        """A pointer to so many bytes behind another."""
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}") if offset else pointer

    def load(self, kind: str, pointer: str) -> str:
        return self.let(f"load {kind}, ptr {pointer}")

    def block(self, name: str) -> None:
        self.lines.append(f'"{name}":')

    def fresh_block(self) -> str:
        self.number += 1
        return f"b{self.number}"

    def call(self, name: str, *args: str) -> str:
        """A call of the double's own functions; arguments with their types."""
        self.declared[name] = FUNCTIONS[name]
        text = f"call {FUNCTIONS[name].split()[0]} @{name}({', '.join(args)})"
        if text.startswith("call void"):
            self.emit(text)
            return ""
        return self.let(text)

    def intrinsic(self, name: str, result: str, *args: str) -> str:
        """`name` is LLVM's without `llvm.`; arguments with their types."""
        types = ", ".join(a.rpartition(" ")[0] for a in args)
        self.declared[f"llvm.{name}"] = f"{result} @llvm.{name}({types})"
        return self.let(f"call {result} @llvm.{name}({', '.join(args)})")

    def mods(self, *known: str) -> list[str]:
        """The parts of the opcode behind its name that are not types. All must be known."""
        parts = self.instruction.op.split(".")[1:]
        extra = [p for p in parts if p not in BITS and p not in known]
        if extra:
            raise self.error(f"unknown .{extra[0]}")
        return [p for p in parts if p not in BITS]

    def types(self) -> list[str]:
        found = [p for p in self.instruction.op.split(".")[1:] if p in BITS]
        if not found:
            raise self.error()
        return found

    # -- operands --------------------------------------------------------------------------------------------------
    def slot(self, register: str) -> str:
        return f'%"r.{register}"'

    def bits_of(self, register: str) -> int:
        if register not in self.entry.registers:
            raise self.error(f"register {register} is not declared")
        return BITS[self.entry.registers[register]]

    def agree(self, operand: str, kind: str) -> None:
        """Refuse a register of another sort than the instruction's: of floats for integers, or the other way round."""
        have = self.entry.registers.get(operand)
        if have and have[0] != "b" and kind[0] != "b" and (have != kind if "f" in have + kind else False):
            raise self.error(f"{operand} is a register of .{have}")
        if have and have[0] != "b" and kind.startswith("bf"):
            raise self.error(f"{operand} is a register of .{have}")

    def holds(self, operand: str, kind: str) -> None:
        """Refuse a register that is too small. Where instructions move or convert, one of integers may be larger."""
        if operand in self.entry.registers:
            have, need = self.bits_of(operand), BITS[kind]
            if have < need or (have > need and "f" in kind):
                raise self.error(f"{operand} has {have} bits, not {need}")
            self.agree(operand, kind)

    def field(self, offset: int, kind: str) -> str:
        return self.load(kind, self.at("%me", offset))

    def get(self, x: str, bits: int) -> str:
        if x in self.entry.registers:
            have = self.bits_of(x)
            value = self.load(f"i{have}", self.slot(x))
            return value if self.fits(x, bits) else self.resized(value, have, bits)
        if x in SPECIAL:
            if self.instruction.op.split(".")[0] != "mov":
                raise self.error(f"{x} is a special register, which only mov may read")
            value = self.field(4 * SPECIAL[x], "i32")
            return value if bits == 32 else self.resized(value, 32, bits)
        if re.fullmatch(r"[\w$.]+(\s*\+\s*\d+)?", x) and not x[0].isdigit():
            value = self.symbol(*re.fullmatch(r"([\w$.]+)(?:\s*\+\s*(\d+))?", x).groups("0"))  # type: ignore[union-attr]
            return value if bits == 64 else self.resized(value, 64, bits)
        return str(self.immediate(x, bits))

    def fits(self, register: str, bits: int) -> bool:
        """Whether it has so many bits. An error if it must."""
        have = self.bits_of(register)
        if have != bits and self.instruction.op.split(".")[0] not in SIZES_DIFFER:
            raise self.error(f"{register} has {have} bits, not {bits}")
        return have == bits

    def resized(self, value: str, have: int, want: int, signed: bool = False) -> str:
        how = "trunc" if have > want else "sext" if signed else "zext"
        return self.cast(how, f"i{have}", value, f"i{want}")

    def immediate(self, x: str, bits: int) -> int:
        m = re.fullmatch(r"0[fFdD]([0-9a-fA-F]{8}(?:[0-9a-fA-F]{8})?)", x)
        if m and 4 * len(m[1]) == bits:
            return int(m[1], 16)
        if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", x):
            raise self.error(f"operand {x}")
        return int(x.rstrip("U"), 0) & ((1 << bits) - 1)

    def symbol(self, name: str, offset: str) -> str:
        """The address of a variable or parameter within its space; of a global one, in the memory of the device."""
        if name in self.parameters:
            return str(self.parameters[name].offset + int(offset))
        if name in self.places:
            return str(self.places[name] + int(offset))
        if name in self.image:
            return self.op("add", "i64", self.field(IMAGE, "i64"), self.image[name] + int(offset))
        raise self.error(f"operand {name}")

    def put(self, register: str, value: str, bits: int, signed: bool = False) -> None:
        if register == "_":
            return
        have = self.bits_of(register)
        if not self.fits(register, bits):
            value = self.resized(value, bits, have, signed)
        self.emit(f"store i{have} {value}, ptr {self.slot(register)}")

    def registers(self, operand: str) -> list[str]:
        return [r.strip() for r in operand.strip("{}").split(",")]

    # -- floats ----------------------------------------------------------------------------------------------------
    def get_float(self, x: str, kind: str) -> str:
        self.agree(x, kind)
        return self.cast("bitcast", f"i{BITS[kind]}", self.get(x, BITS[kind]), FLOAT[kind])

    def bits_float(self, value: str, kind: str) -> str:
        return self.cast("bitcast", FLOAT[kind], value, f"i{BITS[kind]}")

    def put_float(self, register: str, value: str, kind: str) -> None:
        self.agree(register, kind)
        self.put(register, self.bits_float(value, kind), BITS[kind])

    # -- memory ----------------------------------------------------------------------------------------------------
    def address(self, operand: str, space: int) -> str:
        m = re.fullmatch(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
        if not m:
            raise self.error(f"address {operand}")
        self.agree(m[1], "u64")
        if m[1] in self.variables and SPACES[self.variables[m[1]].space] != space:
            raise self.error(f"{m[1]} is in {self.variables[m[1]].space} memory")
        have = self.bits_of(m[1]) if m[1] in self.entry.registers else 64
        narrow = have == 32 and space in (SHARED, LOCAL, PARAM)
        if have != 64 and not narrow:
            raise self.error(f"{m[1]} has {have} bits, not 64")
        base = self.resized(self.get(m[1], 32), 32, 64) if narrow else self.get(m[1], 64)
        offset = int(m[2] or "0", 0)
        return self.op("add", "i64", base, offset) if offset else base

    def place(self, operand: str, space: int, size: int, how: int) -> str:
        """A pointer to the bytes of a checked address."""
        m = re.fullmatch(r"\[\s*([\w$.]+)\s*(?:\+\s*(\d+))?\s*\]", operand)
        if space == PARAM and m and m[1] in self.parameters:  # by far the most frequent: checked here
            offset = self.parameters[m[1]].offset + int(m[2] or 0)
            if offset + size > self.parameter_bytes:
                raise self.error("past the end of the parameters")
            return self.at("%params", offset)
        what = size | space << 8 | how << 16
        address = self.address(operand, space)
        return self.call("double_place", "ptr %me", f"i64 {address}", f"i32 {what}", f"i32 {self.instruction.line}")

    def post(self, kind: int, mask: str, values: list[str]) -> str:
        """Give 32-bit values to the other lanes of the warp; a pointer to what came of it."""
        posted = self.call("double_posted", "ptr %me")
        for i, v in enumerate(values):
            self.emit(f"store i32 {v}, ptr {self.at(posted, 4 * i)}")
        return self.call("double_collective", "ptr %me", f"i32 {kind}", f"i32 {mask}", f"i32 {self.instruction.line}")

    # -- the function ----------------------------------------------------------------------------------------------
    def text(self) -> str:
        slots = [f"  {self.slot(r)} = alloca i{BITS[kind]}" for r, kind in self.entry.registers.items()]
        if self.local_bytes:
            slots += [
                f"  %local = alloca [{self.local_bytes} x i8], align 16",
                f"  %local.base = getelementptr i8, ptr %me, i64 {LOCAL_BASE}",
                "  store ptr %local, ptr %local.base",
                f"  %local.bytes = getelementptr i8, ptr %me, i64 {LOCAL_BYTES}",
                f"  store i32 {self.local_bytes}, ptr %local.bytes",
            ]
        head = f'define void @"{self.entry.name}"(ptr %me, ptr %params) nounwind {{'
        return "\n".join([head, "entry:", *slots, *self.lines, "  ret void", "}"])


Handler = Callable[[Code, list[str]], None]
HANDLERS: dict[str, Handler] = {}


def opcode(names: str) -> Callable[[Handler], Handler]:
    """Register the function that writes the IR of instructions with these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names.split(), handler))
        return handler

    return register
