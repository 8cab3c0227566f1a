"""Constant folding: cuts a Program in two, one part of which has to run only once.

It is not a pass of the pipeline, because it gives two Programs. It is used where a Program runs many times with inputs
that stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from ...base.dtype import ITEMSIZE
from ...base.quantized import storage
from ..program import Builder, Constant, Elementwise, Iota, Node, Number, Program, Value, ViewOp, needed
from ..values import uniform_values

NUMBERS = (Constant, Number, Iota)


class Split(NamedTuple):
    """constants: a Program of the inputs that stay, for everything that does not depend on the ones that vary. rest:
    what remains to be computed, from the inputs that vary and then the outputs of `constants`. An output of `constants`
    may be one of its inputs.
    """

    constants: Program
    rest: Program

    @property
    def computes(self) -> bool:
        """Whether it spares `rest` any work."""
        return bool(self.constants.nodes)


def split(program: Program, varying: Sequence[Value], most: float = inf) -> Split:
    """Cut a Program whose inputs other than `varying` stay the same. Values that are computed once, intermediate ones
    included, have at most `most` bytes in all.

    Views stay in the rest, where they cost nothing. So do values that kernels compute from numbers alone, if that costs
    less than reading them.
    """
    stays = tuple(v for v in program.inputs if v not in set(varying))
    fixed, moves = set(stays), set(varying)
    numbers = uniform_values(program) - moves
    for node in program.nodes:
        if node.op.effect or not moves.isdisjoint(node.inputs) or (size := _bytes(node)) > most:
            moves.update(node.outputs)
        elif not fixed.isdisjoint(node.inputs) or not (_is_cheap(node) or numbers.issuperset(node.outputs)):
            fixed.update(node.outputs)
            most -= size
    used = [v for node in program.nodes if not moves.isdisjoint(node.outputs) for v in node.inputs]
    wanted = tuple(dict.fromkeys(_viewed(v, fixed) for v in [*used, *program.outputs] if v in fixed))
    return Split(Program(stays, needed(program.nodes, wanted), wanted), _rest(program, (*varying, *wanted)))


def _bytes(node: Node) -> int:
    return (
        0 if isinstance(node.op, ViewOp) else sum(v.type.size * ITEMSIZE.get(storage(v.dtype), 8) for v in node.outputs)
    )


def _is_cheap(node: Node) -> bool:
    """Whether computing it again is better than reading it, if it reads nothing itself."""
    op = node.op
    return isinstance(op, (*NUMBERS, ViewOp)) or (isinstance(op, Elementwise) and not op.costly)


def _viewed(value: Value, fixed: set[Value]) -> Value:
    """What a view shows, if that is fixed too."""
    while isinstance(value.op, ViewOp) and value.operands[0] in fixed:
        value = value.operands[0]
    return value


def _rest(program: Program, inputs: Sequence[Value]) -> Program:
    """The Program of these values, which replace the nodes that compute them."""
    builder = Builder()
    names = {v: builder.input(v.type) for v in inputs}
    for node in program.nodes:
        if not names.keys() >= {*node.outputs} and all(v in names for v in node.inputs):
            made = builder.repeat(node, [names[v] for v in node.inputs])
            names.update((old, new) for old, new in zip(node.outputs, made, strict=True) if old not in names)
    return builder.finish(names[v] for v in program.outputs)
