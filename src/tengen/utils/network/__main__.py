"""`python -m tengen.utils.network`: shows a file of a recorded function as a table or a picture."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from ...base.errors import SerializationError
from .draw import draw
from .info import info
from .network import Network


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = ArgumentParser(prog="python -m tengen.utils.network", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = commands.add_parser("info", help="print the ops, their sizes and operations")
    drawn = commands.add_parser("draw", help="draw the ops: an .svg, or a .dot for Graphviz")
    for command in (told, drawn):
        command.add_argument("model", help="a file that dump wrote")
    drawn.add_argument("picture", help="the file to write")
    drawn.add_argument("--weights", action="store_true", help="draw the weights too")
    given = parser.parse_args(arguments)
    try:
        net = Network.load(given.model)
        if given.command == "info":
            print(info(net))
        else:
            draw(net, given.picture, given.weights)
            print(given.picture)
    except (SerializationError, OSError, ValueError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
