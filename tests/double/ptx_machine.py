"""Instructions of PTX that move data, jump, or speak to other threads."""

from __future__ import annotations

from .ptx_code import GENERIC, GLOBAL, READ, SHARED, SPACES, UPDATE, WRITE, Code, opcode
from .ptx_reader import BITS

SHUFFLES = {"up": 0, "down": 1, "bfly": 2, "idx": 3}
WARP_BARRIER, VOTE, LOAD_MATRIX, PRODUCT = 4, 5, 6, 7
# How memory is cached and ordered: without meaning where one thread runs at a time.
CACHED = (
    "weak volatile relaxed acquire release acq_rel cta gpu sys ca cg cs lu cv wb wt nc v2 v4 v8 global shared "
    "shared::cta local param const L1::evict_last L1::evict_first L1::no_allocate L2::128B L2::64B L2::256B"
).split()


def space_of(mods: list[str]) -> int:
    return next((SPACES[m] for m in mods if m in SPACES), GENERIC)


# -- control -------------------------------------------------------------------------------------------------------------


def end_block(code: Code) -> None:
    """Behind a jump: what follows without a label is never run."""
    code.block(code.fresh_block())


@opcode("ret exit")
def _ret(code: Code, args: list[str]) -> None:
    code.mods("uni")
    code.emit("ret void")
    end_block(code)


@opcode("bra")
def _bra(code: Code, args: list[str]) -> None:
    code.mods("uni")
    code.emit(f'br label %"{args[0]}"')
    end_block(code)


@opcode("brx")
def _brx(code: Code, args: list[str]) -> None:
    code.mods("idx", "uni")
    targets = next((x.targets for x in code.entry.code if getattr(x, "name", None) == args[1]), [])
    if not targets:
        raise code.error(f"no targets at {args[1]}")
    cases = " ".join(f'i32 {i}, label %"{t}"' for i, t in enumerate(targets))
    code.emit(f'switch i32 {code.get(args[0], 32)}, label %"{targets[0]}" [{cases}]')
    end_block(code)


@opcode("trap")
def _trap(code: Code, args: list[str]) -> None:
    code.call("double_trap", "ptr %me", f"i32 {code.instruction.line}")


@opcode("fence membar prefetch discard nanosleep")
def _nothing(code: Code, args: list[str]) -> None:
    """What has no meaning where one thread runs at a time."""


# -- other threads -------------------------------------------------------------------------------------------------------


@opcode("bar barrier")
def _bar(code: Code, args: list[str]) -> None:
    mods = code.mods("sync", "aligned", "cta", "warp")
    if "sync" not in mods:
        raise code.error()
    if "warp" in mods:
        code.post(WARP_BARRIER, code.get(args[0], 32), [])
    elif args == ["0"]:
        code.call("double_barrier", "ptr %me", f"i32 {code.instruction.line}")
    else:
        raise code.error("only barrier 0 of the whole block")


@opcode("shfl")
def _shfl(code: Code, args: list[str]) -> None:
    mods = code.mods("sync", *SHUFFLES)
    mode = [m for m in mods if m in SHUFFLES]
    if "sync" not in mods or len(mode) != 1 or len(args) != 5:
        raise code.error()
    value, lanes, clamp, mask = (code.get(a, 32) for a in args[1:])
    result = code.post(SHUFFLES[mode[0]], mask, [value, lanes, clamp])
    target, _, inside = args[0].partition("|")
    code.put(target, code.load("i32", result), 32)
    if inside:
        code.put(inside, code.op("icmp ne", "i32", code.load("i32", code.at(result, 4)), "0"), 1)


@opcode("vote")
def _vote(code: Code, args: list[str]) -> None:
    mods = code.mods("sync", "ballot", "any", "all", "uni")
    negated = args[1].startswith("!")
    holds = code.get(args[1].lstrip("!"), 1)
    if negated:
        holds = code.op("xor", "i1", holds, "true")
    mask = code.get(args[2], 32)
    ballot = code.load("i32", code.post(VOTE, mask, [code.cast("zext", "i1", holds, "i32")]))
    if "ballot" in mods:
        return code.put(args[0], ballot, 32)
    none, every = (code.op("icmp eq", "i32", ballot, x) for x in ("0", mask))
    result = every
    if "any" in mods:
        result = code.op("xor", "i1", none, "true")
    if "uni" in mods:
        result = code.op("or", "i1", none, every)
    code.put(args[0], result, 1)


# -- matrices ----------------------------------------------------------------------------------------------------------------
OPERANDS = {"bf16": 0, "f16": 1, "tf32": 2, "s8": 3, "u8": 4}
# Bytes of k that one word of B holds, by the bits of an element: see warp.c.
DEPTH = {"bf16": 8, "f16": 8, "tf32": 4, "s8": 16, "u8": 16}


@opcode("mma")
def _mma(code: Code, args: list[str]) -> None:
    """mma.sync.aligned.m16n8kK.row.col.D.A.B.C with float or int32 sums."""
    parts = code.instruction.op.split(".")[1:]
    if len(parts) != 9 or parts[:2] != ["sync", "aligned"] or parts[3:5] != ["row", "col"]:
        raise code.error()
    shape, (d, a, b, c) = parts[2], parts[5:]
    sums = "s32" if a in ("s8", "u8") else "f32"
    if not shape.startswith("m16n8k") or a not in OPERANDS or a != b or (d, c) != (sums, sums):
        raise code.error("only m16n8 with operands of one type and 32-bit sums")
    k = int(shape[6:])
    fragments = [code.registers(x) for x in args]
    if [len(f) for f in fragments] != [4, k // DEPTH[a] * 2, k // DEPTH[a], 4]:
        raise code.error("fragments of another size")
    words = [code.get(r, 32) for f in fragments[1:] for r in f]
    result = code.post(PRODUCT | OPERANDS[a] << 8 | k << 11, "-1", words)
    for i, r in enumerate(fragments[0]):
        code.put(r, code.load("i32", code.at(result, 4 * i)), 32)


@opcode("ldmatrix")
def _ldmatrix(code: Code, args: list[str]) -> None:
    mods = code.mods("sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared::cta")
    registers = code.registers(args[0])
    if "m8n8" not in mods or f"x{len(registers)}" not in mods or space_of(mods) != 0:
        raise code.error()
    address = code.cast("trunc", "i64", code.address(args[1], SHARED), "i32")
    result = code.post(LOAD_MATRIX | len(registers) << 8 | ("trans" in mods) << 11, "-1", [address])
    for i, r in enumerate(registers):
        code.put(r, code.load("i32", code.at(result, 4 * i)), 32)


@opcode("cp")
def _cp(code: Code, args: list[str]) -> None:
    """cp.async: 4, 8 or 16 bytes from global to shared memory, at some time before they are waited for."""
    mods = code.mods("async", "commit_group", "wait_group", "wait_all", *CACHED)
    line = f"i32 {code.instruction.line}"
    if "commit_group" in mods:
        code.call("double_commit_copies", "ptr %me")
    elif "wait_group" in mods:
        code.call("double_wait_copies", "ptr %me", f"i32 {code.get(args[0], 32)}", line)
    elif "wait_all" in mods:
        code.call("double_wait_copies", "ptr %me", "i32 -1", line)
    elif code.instruction.op.startswith(("cp.async.ca.shared", "cp.async.cg.shared")) and args[2] in ("4", "8", "16"):
        given = code.get(args[3], 32) if len(args) > 3 else args[2]
        to, source = code.address(args[0], SHARED), code.address(args[1], GLOBAL)
        code.call("double_copy_async", "ptr %me", f"i64 {to}", f"i64 {source}", f"i32 {args[2]}", f"i32 {given}", line)
    else:
        raise code.error()


# -- data ----------------------------------------------------------------------------------------------------------------


def moved(code: Code, operand: str, kind: str) -> list[str]:
    registers = code.registers(operand)
    for r in registers:
        code.holds(r, kind)
    if len({code.bits_of(r) for r in registers if r in code.entry.registers}) > 1:
        raise code.error("registers of different sizes in a vector")
    return registers


@opcode("ld ldu")
def _ld(code: Code, args: list[str]) -> None:
    mods, kind = code.mods(*CACHED), code.types()[-1]
    bits, registers = BITS[kind], moved(code, args[0], kind)
    place = code.place(args[1], space_of(mods), bits // 8 * len(registers), READ)
    for i, r in enumerate(registers):
        code.put(r, code.load(f"i{bits}", code.at(place, bits // 8 * i)), bits, kind[0] == "s")


@opcode("st")
def _st(code: Code, args: list[str]) -> None:
    mods, kind = code.mods(*CACHED), code.types()[-1]
    bits, registers = BITS[kind], moved(code, args[1], kind)
    values = [code.get(r, bits) for r in registers]
    # What is relaxed may meet others of its kind, as atomic operations do.
    how = UPDATE if "relaxed" in mods else WRITE
    place = code.place(args[0], space_of(mods), bits // 8 * len(registers), how)
    for i, v in enumerate(values):
        code.emit(f"store i{bits} {v}, ptr {code.at(place, bits // 8 * i)}")


@opcode("red atom")
def _atom(code: Code, args: list[str]) -> None:
    operations = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
    mods, kind = code.mods(*CACHED, *operations), code.types()[-1]
    bits, gives = BITS[kind], code.instruction.op.startswith("atom")
    name = next((m for m in mods if m in operations), "")
    where, *values = args[1:] if gives else args
    new = [code.get(v, bits) for v in values]
    place = code.place(where, space_of(mods), bits // 8, UPDATE)
    old = code.load(f"i{bits}", place)
    code.emit(f"store i{bits} {updated(code, name, kind, old, new)}, ptr {place}")
    if gives:
        code.put(args[0], old, bits)


def updated(code: Code, name: str, kind: str, old: str, new: list[str]) -> str:
    """What an atomic operation leaves behind."""
    bits, typ = BITS[kind], f"i{BITS[kind]}"
    if name == "exch":
        return new[0]
    if name == "cas":
        same = code.op("icmp eq", typ, old, new[0])
        return code.select(same, typ, new[1], old)
    if name == "add" and kind in ("f32", "f64"):
        real = {"f32": "float", "f64": "double"}[kind]
        a, b = (code.cast("bitcast", typ, x, real) for x in (old, new[0]))
        return code.cast("bitcast", real, code.op("fadd", real, a, b), typ)
    if name in ("min", "max") and kind[0] in "su":
        return code.intrinsic(f"{'s' if kind[0] == 's' else 'u'}{name}.i{bits}", typ, f"{typ} {old}", f"{typ} {new[0]}")
    if name in ("add", "and", "or", "xor") and kind[0] in "sub":
        return code.op(name, typ, old, new[0])
    raise code.error()


@opcode("mov")
def _mov(code: Code, args: list[str]) -> None:
    code.mods()
    bits = BITS[code.types()[-1]]
    if args[0].startswith("{"):
        registers = code.registers(args[0])
        each, value = bits // len(registers), code.get(args[1], bits)
        for i, r in enumerate(registers):
            part = code.op("lshr", f"i{bits}", value, i * each)
            code.put(r, code.cast("trunc", f"i{bits}", part, f"i{each}"), each)
    elif args[1].startswith("{"):
        registers, whole = code.registers(args[1]), "0"
        each = bits // len(registers)
        for i, r in enumerate(registers):
            part = code.cast("zext", f"i{each}", code.get(r, each), f"i{bits}")
            whole = code.op("or", f"i{bits}", whole, code.op("shl", f"i{bits}", part, i * each))
        code.put(args[0], whole, bits)
    else:
        code.put(args[0], code.get(args[1], bits), bits)


@opcode("cvta")
def _cvta(code: Code, args: list[str]) -> None:
    """Between an address in a space and a generic one."""
    mods, kind = code.mods("to", *SPACES), code.types()[-1]
    bits = BITS[kind]
    code.agree(args[0], kind)
    code.agree(args[1], kind)
    space, value = space_of(mods), code.get(args[1], bits)
    if bits != 64:
        raise code.error("64-bit addresses only")
    if space < 3:  # shared, local, param
        window = code.field(64 + 8 * space, "i64")
        value = code.op("sub" if "to" in mods else "add", "i64", value, window)
    code.put(args[0], value, bits)
