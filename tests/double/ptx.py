"""PTX text to machine code of this machine: translated to LLVM IR, compiled, kept on the disk, and linked."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from . import ptx_arithmetic, ptx_machine
from .ptx_code import FUNCTIONS, HANDLERS, Code
from .ptx_reader import Instruction, Label, PtxError, Unit, read

assert ptx_arithmetic and ptx_machine  # they fill HANDLERS
SURE = 256  # threads that a device has registers for, whatever a kernel without .maxntid needs: 255 of 65536 each


class Compiled(NamedTuple):
    """Machine code and what the driver must know of it; as JSON behind the length of its text, then the code."""

    functions: list[dict[str, Any]]
    variables: list[tuple[str, int, int]]  # name, offset in the image, bytes
    image: bytes
    code: bytes


# -- translation -------------------------------------------------------------------------------------------------------


def translate(text: str) -> tuple[str, Compiled]:
    """LLVM IR of all functions of a text, and what it says of them. Raises PtxError for what the double does not know."""
    unit = read(text)
    image, places, variables = lay_out(unit)
    codes = [function(unit, entry, places) for entry in unit.entries]
    declared = {name: d for code in codes for name, d in code.declared.items()}
    ir = [*(f"declare {d}" for d in declared.values()), *(code.text() for code in codes)]
    return "\n".join(ir) + "\n", Compiled([described(code) for code in codes], variables, image, b"")


def lay_out(unit: Unit) -> tuple[bytes, dict[str, int], list[tuple[str, int, int]]]:
    """The variables in global and constant memory, one behind the other."""
    image, places, variables = b"", {}, []
    own = [v for entry in unit.entries for v in entry.variables]
    for v in [*unit.variables, *own]:
        if v.space in ("global", "const"):
            image = image.ljust(-(-len(image) // max(v.align, 16)) * max(v.align, 16), b"\0")
            places[v.name] = len(image)
            variables.append((v.name, len(image), v.bytes))
            image += v.data.ljust(v.bytes, b"\0")
    return image, places, variables


def function(unit: Unit, entry: Any, places: dict[str, int]) -> Code:
    code = Code(unit, entry, places)
    for item in entry.code:
        if isinstance(item, Label):
            if not item.targets:
                code.emit(f'br label %"{item.name}"')
                code.block(item.name)
        else:
            instruction(code, item)
    return code


def instruction(code: Code, item: Instruction) -> None:
    code.instruction = item
    handler = HANDLERS.get(item.op.split(".")[0])
    if not handler:
        raise code.error()
    after = None
    if item.guard:
        holds, then, after = code.get(item.guard.lstrip("!"), 1), code.fresh_block(), code.fresh_block()
        yes, no = (after, then) if item.guard[0] == "!" else (then, after)
        code.emit(f'br i1 {holds}, label %"{yes}", label %"{no}"')
        code.block(then)
    try:
        handler(code, item.operands)
    except (KeyError, IndexError, ValueError) as error:
        raise code.error(f"{type(error).__name__} {error}") from error
    if after:
        code.emit(f'br label %"{after}"')
        code.block(after)


def described(code: Code) -> dict[str, Any]:
    entry = code.entry
    block = (entry.limits.get("reqntid") or [0, 0, 0]) + [1, 1]
    threads = 1
    for n in entry.limits.get("maxntid", [SURE]):
        threads *= n
    return {
        "name": entry.name,
        "offsets": [p.offset for p in entry.parameters],
        "bytes": [p.bytes for p in entry.parameters],
        "limits": [code.shared_bytes, code.local_bytes, threads, *block[:3]],
    }


# -- machine code ------------------------------------------------------------------------------------------------------


@cache
def machine() -> llvm.TargetMachine:
    """A processor of a fixed level, so that the code of one machine runs on the next. Most kernels of tests run for less
    time than it takes to compile them, so LLVM shall be quick (opt=0)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    modern = platform.machine() in ("x86_64", "AMD64") and all(features.get(f) for f in ("avx2", "fma", "f16c"))
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu="x86-64-v3" if modern else "", opt=0, reloc="pic", codemodel="small")


def compile_ir(ir: str) -> bytes:
    module = llvm.parse_assembly(ir)
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()  # registers become values; more would cost more than such short runs give back
    builder = llvm.create_pass_builder(machine(), llvm.create_pipeline_tuning_options(speed_level=1))
    for f in module.functions:
        if not f.is_declaration:
            passes.run(f, builder)
    return machine().emit_object(module)


@cache
def linker() -> llvm.LLJIT:
    machine()
    return llvm.create_lljit_compiler()


_numbers = itertools.count()
_linked: list[llvm.ResourceTracker] = []  # code is unloaded with its tracker


def link(compiled: Compiled, symbols: dict[str, int]) -> dict[str, int]:
    """The addresses of the functions."""
    names = [f["name"] for f in compiled.functions]
    builder = llvm.JITLibraryBuilder().add_object_img(compiled.code).add_current_process()
    for name, address in symbols.items():
        builder = builder.import_symbol(name, address)
    for name in names:
        builder = builder.export_symbol(name)
    tracker = builder.link(linker(), f"ptx{next(_numbers)}")
    _linked.append(tracker)
    return {name: tracker[name] for name in names}


# -- the disk ----------------------------------------------------------------------------------------------------------


@cache
def made_by() -> bytes:
    """What machine code depends on beside the text."""
    digest = hashlib.sha256(f"{llvmlite.__version__} {platform.machine()} {machine().triple} {FUNCTIONS}".encode())
    for path in sorted(Path(__file__).parent.glob("ptx*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def compiled(text: str, folder: Path) -> Compiled:
    """From the folder, where several processes may read and write at once, or made now."""
    path = folder / f"{hashlib.sha256(made_by() + text.encode()).hexdigest()}.ptxo"
    try:
        return unpack(path.read_bytes())
    except (OSError, ValueError):
        ir, found = translate(text)
        found = found._replace(code=compile_ir(ir))
        write(path, pack(found))
        return found


def pack(c: Compiled) -> bytes:
    head = json.dumps([c.functions, c.variables, len(c.image), hashlib.sha256(c.image + c.code).hexdigest()]).encode()
    return len(head).to_bytes(4, "little") + head + c.image + c.code


def unpack(data: bytes) -> Compiled:
    size = 4 + int.from_bytes(data[:4], "little")
    functions, variables, image, digest = json.loads(data[4:size])
    if hashlib.sha256(data[size:]).hexdigest() != digest:
        raise ValueError("damaged")
    return Compiled(functions, [tuple(v) for v in variables], data[size : size + image], data[size + image :])


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    os.replace(part, path)


__all__ = ["Compiled", "PtxError", "compiled", "link", "translate"]
