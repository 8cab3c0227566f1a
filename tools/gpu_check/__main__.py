"""The process of one part: `python -m gpu_check MODULE:FUNCTION OPTIONS`. Each line that it writes is JSON."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

from .table import Options


def main() -> None:
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what anything else prints must not stand between the lines

    def say(**fields: Any) -> None:
        lines.write(json.dumps(fields) + "\n")

    module, _, function = sys.argv[1].partition(":")
    getattr(import_module(module), function)(Options(**json.loads(sys.argv[2])), say)


if __name__ == "__main__":
    main()
