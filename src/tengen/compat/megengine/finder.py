"""Makes `import megengine` find tengen, in this process and in those that it starts with multiprocessing."""

from __future__ import annotations

import multiprocessing.forkserver
import multiprocessing.spawn
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import pickles, table
from .mirror import ROOT, Mirror

PACKAGE = __package__ or ""


class Finder(MetaPathFinder, Loader):
    """Finds the modules of MegEngine, and makes them mirrors of tengen's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, place = fullname.partition(".")
        if root != ROOT or place not in table.modules():
            return None
        return ModuleSpec(fullname, self, origin=PACKAGE, is_package=bool(table.submodules(place)))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Mirror(spec.name, f"{spec.name}, as tengen has it.")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing needs to be executed: names are looked up when they are asked for."""


class _Install:
    """Pickled as the statements that a child process must run before it unpickles anything else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import sys\nsys.path[:] = {sys.path!r}\nimport {PACKAGE}",)


def install() -> None:
    """Make `import megengine` give tengen from here on. Raises ImportError if MegEngine itself has been imported."""
    present = sys.modules.get(ROOT)
    if present is not None and not isinstance(present, Mirror):
        raise ImportError(f"MegEngine itself has been imported; `import {PACKAGE}` before `import {ROOT}`")
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder())
    pickles.install()
    _follow_children()


def _follow_children() -> None:
    """Make children that do not inherit this process's memory install the finder before they import the program."""
    prepare = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**prepare(name), PACKAGE: _Install()}

    multiprocessing.spawn.get_preparation_data = get_preparation_data
    # A fork server would import the program before it has heard of the finder, so each child installs it.
    multiprocessing.set_forkserver_preload([PACKAGE])
