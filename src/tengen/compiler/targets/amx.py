"""The instructions of AMX: registers of up to 16 rows of 16 words, which a kernel gives their shapes and releases. Intel SDM, volume 1,
chapter 18."""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from .flow import I64, i64
from .kernel_emitter import KernelEmitter

WORD = 4
"""Bytes of a word."""
CONFIGURATION = 64
"""The bytes of the configuration that gives registers their shapes."""
I8 = ir.IntType(8)


def instruct(emitter: KernelEmitter, name: str, *arguments: ir.Value | int) -> None:
    """An instruction. Numbers are registers."""
    given = [ir.Constant(I8, x) if isinstance(x, int) else x for x in arguments]
    function = emitter.intrinsic(f"llvm.x86.{name}", ir.VoidType(), [x.type for x in given])
    emitter.at.call(function, given)


def configure(emitter: KernelEmitter, shapes: Mapping[int, tuple[ir.Value, ir.Value]]) -> None:
    """Give registers their shapes: how many rows, and words of a row."""
    memory = emitter.reserve(I64, CONFIGURATION // 8, "configuration")
    words = dict.fromkeys(range(CONFIGURATION // 8), i64(0)) | {0: i64(1)}
    for register, (rows, columns) in shapes.items():
        for number, shift, size in (
            (2 + register // 4, 16 * (register % 4), emitter.mul(columns, WORD)),
            (6, 8 * register, rows),
        ):
            words[number] = emitter.at.or_(words[number], emitter.at.shl(size, i64(shift)))
    for number, word in words.items():
        emitter.at.store(word, emitter.at.gep(memory, [i64(number)], source_etype=I64))
    instruct(emitter, "ldtilecfg", memory)


def release(emitter: KernelEmitter) -> None:
    """Release the registers, so that a thread switch need not save them."""
    instruct(emitter, "tilerelease")
