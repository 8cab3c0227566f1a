"""Calls of the C library's double-precision functions, lane by lane."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from ..vector import ELEMENT, Vec, llvm_type


def call(name: str, *args: Vec) -> Vec:
    """The C function `name` (double arguments, double result) on each lane; the linker finds it in the process."""
    first = args[0]
    build, double, lanes = first.builder, ELEMENT["f64"], first.lanes
    function = build.module.globals.get(name)
    if function is None:
        function = ir.Function(build.module, ir.FunctionType(double, [double] * len(args)), name)
        function.attributes.add("nounwind")
    if lanes == 1:
        return first.like(build.call(function, [a.value for a in args]))
    result = ir.Constant(llvm_type("f64", lanes), ir.Undefined)
    for lane in range(lanes):
        at = ir.Constant(ir.IntType(32), lane)
        number = build.call(function, [build.extract_element(a.value, at) for a in args])
        result = build.insert_element(result, number, at)
    return first.like(result)


def per_lane(name: str) -> Callable[..., Vec]:
    """An emitter for f64 vectors that calls the C function `name`."""

    def emit(*args: Vec) -> Vec:
        return call(name, *args)

    return emit
