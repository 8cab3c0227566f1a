"""`python -m differential.show SEED …`: what the programs of these seeds do wrong, shrunk, or their code where nothing is wrong."""

from __future__ import annotations

import sys

from .code import snippet
from .generate import generate
from .pool import Worker, look


def main() -> None:
    worker = Worker()
    for seed in map(int, sys.argv[1:]):
        found = look(worker, seed)
        print(found or f"# seed {seed}: nothing is wrong\n{snippet(generate(seed), 'eager', '')}")
    worker.close()


if __name__ == "__main__":
    main()
