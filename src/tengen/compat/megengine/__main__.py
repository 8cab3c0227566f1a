"""Runs a program as `python` does, with tengen as its megengine."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType
from typing import Any

USAGE = """\
usage: python -m tengen.compat.megengine script.py [arguments …]
       python -m tengen.compat.megengine -m module [arguments …]

Runs a program written for MegEngine, unchanged: `import megengine` gives tengen."""


def run_script(script: str) -> None:
    """Run a Python file, a folder or a zip file as the main program."""
    folder = os.path.isdir(script) or script.endswith((".zip", ".pyz"))
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = script if folder else os.path.dirname(os.path.realpath(script))
    if folder:
        _without_our_frames(lambda: runpy._run_module_as_main("__main__", alter_argv=False))  # type: ignore[attr-defined]
        return
    path = os.path.abspath(script)
    main = _new_main()
    main.__dict__.update(__file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path))

    def run() -> None:
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)

    with io.open_code(path) as file:
        source = file.read()
    _without_our_frames(run)


def _new_main() -> ModuleType:
    """A main module without any content of this one."""
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = main
    sys.modules["__mp_main__"] = main  # the name that children of multiprocessing use
    return main


def run_module(name: str) -> None:
    """Run a module as the main program."""
    sys.argv[0] = "-m"
    _new_main()
    _without_our_frames(lambda: runpy._run_module_as_main(name))  # type: ignore[attr-defined]


def _without_our_frames(run: Callable[[], None]) -> None:
    """Call a function. An error that leaves it is shown without any frames of a caller."""
    try:
        run()
    except BaseException:
        show = sys.excepthook

        def show_rest(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> Any:
            rest = _beyond(traceback)
            return show(kind, error.with_traceback(rest), rest)

        sys.excepthook = show_rest
        raise


def _beyond(traceback: TracebackType | None) -> TracebackType | None:
    """The part of a traceback after the frames of this file, with which it begins."""
    rest = traceback
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == __file__:
            rest = traceback.tb_next
        traceback = traceback.tb_next
    return rest


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        print(USAGE, file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        raise SystemExit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        run_module(arguments[1])
        return
    sys.argv = arguments
    if not os.path.exists(arguments[0]):
        print(
            f"{sys.executable}: can't open file {os.path.abspath(arguments[0])!r}: [Errno 2] No such file or directory",
            file=sys.stderr,
        )
        raise SystemExit(2)
    run_script(arguments[0])


if __name__ == "__main__":
    main()
