"""The rules of docs/architecture/README.md that no tool checks: order of imports, size of files, no op named in C++."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import tengen.core.ops

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "tengen"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [
    path
    for folder in ("src", "csrc", "tests", "benchmarks", "tools")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".cpp", ".c", ".h", ".pyi")
]
RUNTIME = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".cpp", ".h"))
MOST_LINES = 600


def rows() -> dict[str, int]:
    """The row of the table in docs/architecture/README.md that each folder or file directly in the package stands in."""
    text = (ROOT / "docs" / "architecture" / "README.md").read_text(encoding="utf-8")
    found = {}
    lines = re.findall(r"^\| \d \| (.*?) \|", text, flags=re.MULTILINE)
    for row, folders in enumerate(lines):
        for name in re.findall(r"`(?:tengen/)?([a-z_]+)(?:/|\.py|`)", folders):
            found.setdefault(name, row)
    return found


ROWS = rows()


def unit(module: str) -> str:
    """The folder or file directly in the package that a module belongs to; "" for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, unit) of each import of tengen in a module, those inside functions included."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            # `from .. import functional` names a module; `from .. import Tensor` means the package itself.
            names = [f"{module}.{alias.name}" if module == "tengen" else module for alias in node.names]
        for name in names:
            if name == "tengen" or name.startswith("tengen."):
                yield node.lineno, unit(name)


def test_the_table_is_found():
    order = ["_rt", "base", "compiler", "core", "functional", "module", "examples"]
    assert [ROWS[name] for name in order] == sorted({ROWS[name] for name in order})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_up_only(path):
    own = unit(name_of(path))
    if own == "":
        return  # tengen/__init__.py re-exports everything
    assert own in ROWS, f"{own} is missing in the table of docs/architecture/README.md"
    wrong = []
    for line, other in imported(path):
        # Leaves are programs on top of the whole package; they may use it under its public names.
        public = other not in ROWS and ROWS[own] >= ROWS["utils"]
        if other != own and not public and ROWS.get(other, ROWS[own]) >= ROWS[own]:
            wrong.append(f"line {line} imports {other or 'tengen'}")
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_of_tengen_is_hidden_in_a_function(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    hidden = {
        inner.lineno
        for function in functions
        for inner in ast.walk(function)
        if (isinstance(inner, ast.ImportFrom) and (inner.level or (inner.module or "").startswith("tengen")))
        or (isinstance(inner, ast.Import) and any(alias.name.startswith("tengen") for alias in inner.names))
    }
    assert not hidden


def test_files_are_small():
    sizes = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    assert len(sizes) > 50
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def op_names() -> set[str]:
    """The modes of the op table and the names of its classes."""
    names = set(tengen.core.ops.elemwise.ROWS)
    for found in iter_modules(tengen.core.ops.__path__, "tengen.core.ops."):
        module = import_module(found.name)
        names |= {name for name, kind in vars(module).items() if isinstance(kind, type) and hasattr(kind, "emit")}
    return names


def test_no_op_is_named_in_the_runtime():
    names = op_names()
    assert {"EXP", "ADD"} <= names
    pattern = re.compile(r"\b(" + "|".join(sorted(names)) + r")\b")
    found = {}
    for path in RUNTIME:
        if named := set(pattern.findall(path.read_text(encoding="utf-8"))):
            found[path.name] = named
    assert found == {}


def test_parts_of_the_runtime_do_not_go_round():
    """A part is what has one name: x.h and x.cpp. What a part needs is what it includes."""
    needs: dict[str, set[str]] = {}
    for path in RUNTIME:
        found = re.findall(r'#include "(?:cuda/)?(\w+)\.h"', path.read_text(encoding="utf-8"))
        needs.setdefault(path.stem, set()).update(set(found) - {path.stem})
    done: set[str] = set()

    def visit(part: str, way: tuple[str, ...]) -> None:
        assert part not in way, " -> ".join((*way[way.index(part) :], part))
        if part not in done:
            for other in sorted(needs[part]):
                visit(other, (*way, part))
            done.add(part)

    for part in needs:
        visit(part, ())


def code_of(path: Path) -> str:
    """A file of the runtime without its comments, which may name a device as an example."""
    return re.sub(r"//.*|/\*[\s\S]*?\*/", "", path.read_text(encoding="utf-8"))


KIND_OF_DEVICE = re.compile(r"(?i)cuda|nvidia|ptx|gpu")


def test_only_its_own_folder_knows_a_kind_of_device():
    """All else goes through device.h; the module says which kinds there are."""
    outside = [path for path in RUNTIME if path.parent.name == "csrc" and path.name != "module.cpp"]
    assert {path.name for path in outside if KIND_OF_DEVICE.search(code_of(path))} == set()
    own = [line.strip() for line in code_of(ROOT / "csrc" / "module.cpp").splitlines() if "cuda" in line]
    assert [line.partition("(")[0] for line in own if not line.startswith("#include")] == [
        "cuda::add_devices",
        "module.def",
    ]


def test_no_row_of_the_op_table_knows_where_it_runs():
    """It has the name of a device at most, which it was given. What a target needs of an op is decided behind the table."""
    wrong = {}
    for path in sorted((PACKAGE / "core" / "ops").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found = set(KIND_OF_DEVICE.findall(text)) | set(
            re.findall(r"\b(?:[cx]pu[x\d]?|def as_program|\w*Target)\b", text)
        )
        knowing = (
            "tengen.base.device",
            "tengen.compiler.backend",
            "tengen.compiler.kernels.target",
            "tengen.core.device_kernels",
        )
        found |= {name for name in imports_of(path) if name.startswith(knowing)}
        if found:
            wrong[path.name] = found
    assert wrong == {}


# -- inside compiler/ ------------------------------------------------------------------------------------------------

COMPILER = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] == "compiler"]


DOOR = "tengen.compiler.backend"
"""Imports what is behind it when something of that is first used; what it says for type checkers goes the other way round."""


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module, with what is imported for type checkers alone."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from statements([*node.body, *node.orelse])


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a module needs, for its types too, and llvmlite."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8")).body
    found = set()
    for node in tree if name_of(path) == DOOR else statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name if alias.name in NAMES else alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            found |= {name if name in NAMES else module for name in names if name != "tengen._rt"}
    return {name for name in found if name in NAMES or name.startswith("llvmlite")}


NAMES = {name_of(path) for path in MODULES}
IMPORTS = {name_of(path): imports_of(path) for path in MODULES}


def test_no_imports_go_round():
    """Those for type checkers neither."""
    order: dict[str, int] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in order:
            for other in sorted(IMPORTS.get(module, ())):
                visit(other, (*way, module))
            order[module] = len(order)

    for module in IMPORTS:
        visit(module, ())


@pytest.mark.parametrize("folder", ["kernels", "schedule", "passes"])
def test_what_a_kernel_is_and_what_to_run_knows_no_llvm(folder):
    """`kernels/` is data, and `schedule/` and `targets/` meet only there; the driver has kernels compiled by the cache."""
    wrong = []
    for module, others in IMPORTS.items():
        if module.startswith(f"tengen.compiler.{folder}"):
            wrong += [(module, other) for other in others if other.startswith(("llvmlite", "tengen.compiler.targets"))]
    assert not wrong


def test_classes_of_the_compiler_have_names_of_their_own():
    places: dict[str, list[str]] = {}
    for path in COMPILER:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
