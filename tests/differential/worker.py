"""The process under test: reads a line with a seed or a program, runs it in all modes, writes a line with what is wrong.

It may die or hang; `pool` sees to that.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from double.library import double, is_driver

from .code import MODES
from .generate import generate
from .modes import Failure, check
from .program import parse

MEMORY = 16 << 30
"""Bytes of address space that a worker may take."""
RESERVED = 2 << 40
"""What the double of a GPU's driver reserves in addition, without filling it."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The failures of the program of a seed, or of a program that is given as text."""
    program = parse(request["program"]) if "program" in request else generate(int(request["seed"]))
    failures = [*check(program, request.get("modes") or MODES), *told_by_the_driver()]
    return {"program": repr(program), "failures": [list(f) for f in failures]}


def told_by_the_driver() -> list[Failure]:
    """What the double of a GPU's driver has found meanwhile, where it is the driver: races, accesses out of bounds."""
    if not is_driver():
        return []
    problems = double().problems()
    double().forget()
    return [Failure("driver", "problem", "\n".join(problems))] if problems else []


def main() -> None:
    limit = MEMORY + (RESERVED if os.environ.get("TENGEN_CUDA_LIBRARY") else 0)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not stand between the replies
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # of the machine itself: it is reported, not hidden
            reply = {"program": "", "failures": [["machine", f"machine {type(error).__name__}", repr(error)]]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
