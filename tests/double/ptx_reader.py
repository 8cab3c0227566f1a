"""PTX text as data: functions, variables and instructions, with the lines on which they stand."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

BITS = {
    "pred": 1,
    **{f"{kind}{bits}": bits for kind in "bsu" for bits in (8, 16, 32, 64)},
    "b128": 128,
    "f16": 16,
    "bf16": 16,
    "f32": 32,
    "f64": 64,
    "tf32": 32,
    "f16x2": 32,
    "bf16x2": 32,
}


class PtxError(Exception):
    """Text that the double does not know, or that is wrong."""


class Variable(NamedTuple):
    name: str
    space: str
    align: int
    bytes: int
    data: bytes  # empty without an initial value
    dynamic: bool  # `.extern .shared name[]`: its size comes with the launch


class Parameter(NamedTuple):
    name: str
    offset: int
    bytes: int


class Instruction(NamedTuple):
    line: int
    guard: str | None  # the predicate, "!" before it if it is negated
    op: str
    operands: list[str]


class Label(NamedTuple):
    line: int
    name: str
    targets: list[str]  # of `.branchtargets`


class Entry(NamedTuple):
    name: str
    parameters: list[Parameter]
    limits: dict[str, list[int]]  # maxntid, reqntid
    registers: dict[str, str]  # their types
    variables: list[Variable]
    code: list[Instruction | Label]


class Unit(NamedTuple):
    version: float
    target: str
    entries: list[Entry]
    variables: list[Variable]


def read(text: str) -> Unit:
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    version, target = re.search(r"^\s*\.version\s+([\d.]+)", text, re.M), re.search(r"^\s*\.target\s+(\w+)", text, re.M)
    if not version or not target:
        raise PtxError("no .version and .target: this is no PTX")
    entries, outside, at = [], [], 0
    for m in re.finditer(r"(?:\.(?:visible|weak|extern)\s+)*\.(entry|func)\b", text):
        if m.start() < at:
            continue
        outside.append(text[at : m.start()])
        end = closing(text, m.end())
        if m[1] == "func":
            raise PtxError(f"line {line_of(text, m.start())}: the double knows no .func; let LLVM inline all functions")
        entries.append(read_entry(text, m.end(), end))
        at = end
    outside.append(text[at:])
    variables = [v for part in outside for s in part.split(";") if (v := read_variable(s))]
    return Unit(float(version[1]), target[1], entries, variables)


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def closing(text: str, start: int) -> int:
    """Behind the brace that closes the first one after `start`."""
    depth = 0
    for m in re.finditer(r"[{}]", text[start:]):
        depth += 1 if m[0] == "{" else -1
        if depth == 0:
            return start + m.end()
    raise PtxError(f"line {line_of(text, start)}: a brace is not closed")


# -- declarations ------------------------------------------------------------------------------------------------------

VARIABLE = re.compile(
    r"\.(?P<space>shared|global|const|local)\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+(?P<name>[\w$.]+)"
    r"\s*(?P<dims>(?:\[\d*\]\s*)*)(?:=\s*(?P<init>.*))?$",
    re.DOTALL,
)


def read_variable(statement: str) -> Variable | None:
    m = VARIABLE.search(statement)
    if not m:
        return None
    if m["type"] not in BITS:
        raise PtxError(f"variable {m['name']}: unknown type .{m['type']}")
    size, dims = BITS[m["type"]] // 8, re.findall(r"\[(\d*)\]", m["dims"])
    data = b"".join(encode(x, m["type"]) for x in re.findall(r"[^{},\s]+", m["init"] or ""))
    count = 1
    for d in dims:
        count *= int(d) if d else len(data) // size
    dynamic = ".extern" in statement and dims == [""]
    return Variable(m["name"], m["space"], int(m["align"] or size), size * count, data, dynamic)


def encode(x: str, kind: str) -> bytes:
    if re.fullmatch(r"0[fFdD][0-9a-fA-F]+", x):
        return int(x[2:], 16).to_bytes(BITS[kind] // 8, "little")
    if kind in ("f32", "f64"):
        return struct.pack("<f" if kind == "f32" else "<d", float(x))
    if not re.fullmatch(r"-?\w+", x) or not x.lstrip("-")[0].isdigit():
        raise PtxError(f"initial value {x}: the double knows numbers only")
    return (int(x.rstrip("U"), 0) & (1 << BITS[kind]) - 1).to_bytes(BITS[kind] // 8, "little")


def read_parameters(text: str) -> list[Parameter]:
    found, offset = [], 0
    for part in filter(None, (p.strip() for p in text.split(","))):
        m = re.fullmatch(
            r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)(?:\s+\.ptr\b.*?)?\s+([\w$.]+)\s*(?:\[(\d+)\])?", part, re.S
        )
        if not m or m[2] not in BITS:
            raise PtxError(f"parameter `{' '.join(part.split())}`")
        size = BITS[m[2]] // 8
        align = max(size, int(m[1] or 1))
        offset = (offset + align - 1) // align * align
        found.append(Parameter(m[3], offset, size * int(m[4] or 1)))
        offset += found[-1].bytes
    if offset > 4096:
        raise PtxError(f"{offset} bytes of parameters: 4096 are allowed")
    return found


def read_entry(text: str, start: int, end: int) -> Entry:
    """`start` is behind `.entry`, `end` behind the brace that closes the body."""
    head = re.compile(r"\s*([\w$]+)\s*(?:\((.*?)\))?([^{]*)\{", re.DOTALL).match(text, start)
    if not head:
        raise PtxError(f"line {line_of(text, start)}: no name after .entry")
    limits = {name: numbers(x) for name, x in re.findall(r"\.(maxntid|reqntid)\s+([\d,\s]+)", head[3])}
    entry = Entry(head[1], read_parameters(head[2] or ""), limits, {}, [], [])
    read_body(text, head.end(), end - 1, entry)
    return entry


def numbers(text: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", text)]


# -- statements --------------------------------------------------------------------------------------------------------

LABEL = re.compile(r"([%\w$.]+)\s*:(?!:)\s*(?:\.branchtargets\s+([^;]*);)?")
SPACE = re.compile(r"[\s{};]*")
STATEMENT = re.compile(r"(?:@(!?%?[\w$.]+)\s+)?([\w.:]+)\s*(.*)")
SKIPPED = (".loc", ".pragma", ".file", ".section")


def read_body(text: str, at: int, end: int, entry: Entry) -> None:
    line, counted = line_of(text, at), at
    while True:
        start = SPACE.match(text, at)
        assert start
        at = start.end()
        if at >= end:
            return
        line, counted = line + text.count("\n", counted, at), at
        if label := LABEL.match(text, at, end):
            entry.code.append(Label(line, label[1], re.findall(r"[%\w$.]+", label[2] or "")))
            at = label.end()
            continue
        stop = text.find(";", at, end)
        if stop < 0:
            raise PtxError(f"line {line}: a statement without its semicolon")
        read_statement(" ".join(text[at:stop].split()), line, entry)
        at = stop + 1


def read_statement(statement: str, line: int, entry: Entry) -> None:
    if statement.split()[0] in SKIPPED:
        return
    if statement.startswith(".reg"):
        return read_registers(statement, line, entry)
    if statement.startswith("."):
        variable = read_variable(statement)
        if not variable:
            raise PtxError(f"line {line}: the double does not know `{statement}`")
        return entry.variables.append(variable)
    m = STATEMENT.match(statement)
    if not m:
        raise PtxError(f"line {line}: the double does not know `{statement}`")
    operands = split(m[3])
    if operands is None:
        raise PtxError(f"line {line}: `{statement}` has a bracket that is not closed")
    entry.code.append(Instruction(line, m[1], m[2], operands))


def read_registers(statement: str, line: int, entry: Entry) -> None:
    m = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", statement)
    if not m or m[1] not in BITS:
        raise PtxError(f"line {line}: the double does not know `{statement}`")
    for name in m[2].split(","):
        several = re.fullmatch(r"\s*([%\w$.]+)<(\d+)>\s*", name)
        names = [f"{several[1]}{i}" for i in range(int(several[2]))] if several else [name.strip()]
        entry.registers.update(dict.fromkeys(names, m[1]))


def split(operands: str) -> list[str] | None:
    """The operands of an instruction: commas in braces and brackets do not divide. None if one is not closed."""
    if not any(c in operands for c in "{[("):
        return [x.strip() for x in operands.split(",") if x.strip()]
    found, depth, start = [], 0, 0
    for i, c in enumerate(operands + ","):
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            found.append(operands[start:i].strip())
            start = i + 1
    return None if depth else [x for x in found if x]
