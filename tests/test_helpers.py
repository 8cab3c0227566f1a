"""What test files share stands in tests/helpers: no test file imports another, and no helper of two of them stands elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parent
HELPERS = TESTS / "helpers"
OWN_MACHINES = ("differential", "double", "programs", "reference", "traced_module")
FILES = sorted(TESTS.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The last parts of the names of what a file imports, such as `plans` or `rows_math`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return {name.rpartition(".")[2] for name in found if not name.startswith("tengen")}


def is_test(path: Path) -> bool:
    return path.name.startswith("test_") or path.name == "conftest.py"


IMPORTS = {path: imported(path) for path in FILES}


def test_no_test_file_imports_another():
    tests = {path.stem for path in FILES if is_test(path)}
    assert len(tests) > 100
    assert {str(path.relative_to(TESTS)): names & tests for path, names in IMPORTS.items() if names & tests} == {}


def test_what_two_test_files_import_is_a_helper():
    wrong = {}
    for path in FILES:
        folder = path.relative_to(TESTS).parts[0]
        if not is_test(path) and path.parent != HELPERS and folder not in OWN_MACHINES:
            users = [other.name for other, names in IMPORTS.items() if path.stem in names and is_test(other)]
            wrong |= {str(path.relative_to(TESTS)): users} if len(users) > 1 else {}
    assert wrong == {}


def test_each_helper_is_used_by_several_files_and_described():
    text = (HELPERS / "README.md").read_text(encoding="utf-8")
    modules = {path.stem for path in HELPERS.glob("*.py")}
    assert {name for name in modules if f"`{name}`" not in text} == set()
    assert {name for name in modules if sum(name in names for names in IMPORTS.values()) < 2} == set()
