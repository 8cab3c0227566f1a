"""The docstrings of all public functions and classes have one format and say what a user needs:

one line that ends in a full stop; then, each where it applies, `Args:` with every parameter, `Returns:`, `Raises:`, and an example, which
test_docstrings.py runs.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from enum import Enum
from importlib import import_module

import pytest
from public_areas import AREAS

import tengen
import tengen.module
import tengen.optimizer
from tengen.amp import GradScaler
from tengen.autodiff import Function, GradManager
from tengen.jit import trace
from tengen.random import RNG

# Whose example would need more than a machine has: files that must be downloaded, an accelerator, or a second process.
NEED_FILES = set(
    "CIFAR10 CIFAR100 COCO Cityscapes ImageFolder ImageNet MNIST Objects365 PascalVOC VisionDataset".split()
)
NEED_MORE = {name for name in import_module("tengen.functional.external").__all__} | {
    "load_serialized_obj_from_url", "override_backend", "remote_recv", "remote_send",
}  # fmt: skip
OLD_NAMES = {"get_conv_execution_strategy", "set_conv_execution_strategy"}  # warn when they are called
# Whose methods are documented in the same way, but shown by the example of their class.
CLASSES = (
    GradManager, Function, tengen.module.Module, tengen.optimizer.Optimizer, tengen.optimizer.LRScheduler, GradScaler, trace
)  # fmt: skip
NO_EXAMPLE = NEED_FILES | NEED_MORE | OLD_NAMES


def public():
    found = {}
    for area in AREAS:
        module = import_module(f"tengen.{area}")
        for name in module.__all__:
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("tengen"):
                found.setdefault(value, f"{area}.{name}")
    for kind in (tengen.Tensor, RNG, *CLASSES):
        for name, value in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(value):
                found.setdefault(value, f"{kind.__name__}.{name}")
    return [pytest.param(value, id=name) for value, name in found.items()]


PUBLIC = public()


def doc_of(value) -> str:
    return inspect.cleandoc((vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or "")


def parameters(value) -> set[str]:
    if inspect.isclass(value) and issubclass(value, (Exception, Enum)) and "__init__" not in vars(value):
        return set()
    return set(inspect.signature(value).parameters) - {"self"}


def described(doc: str) -> set[str]:
    """The parameters that stand under `Args:`, of which several may share a line."""
    block = re.search(r"^Args:\n((?:    .*\n?|\n(?=    ))+)", doc, flags=re.MULTILINE)
    entries = re.sub(r"\n     +", " ", block[1]) if block else ""
    heads = re.findall(r"^    (\w+(?:, \w+)*): ", entries, flags=re.MULTILINE)
    return {name for head in heads for name in head.split(", ")}


def test_they_are_found():
    assert len(PUBLIC) > 500


@pytest.mark.parametrize("value", PUBLIC)
def test_the_docstring_has_all_that_applies(value):
    doc, missing = doc_of(value), []
    first, _, rest = doc.partition("\n")
    if not first.endswith((".", ":")) or (rest and not rest.startswith("\n")):
        missing.append(f"one line that ends in a full stop: {first}")
    if left := parameters(value) - described(doc):
        missing.append(f"Args: {', '.join(sorted(left))}")
    returns = getattr(value, "__annotations__", {}).get("return", "None")
    if (
        inspect.isfunction(value)
        and returns not in ("None", None, "NoReturn")
        and not re.search(r"^Returns: \S", doc, flags=re.M)
    ):
        missing.append("Returns")
    if ">>>" not in doc and value.__name__ not in NO_EXAMPLE and not shown_by_class(value):
        missing.append("an example")
    if re.search(r"\bRaises \w+(Error|Exception)", doc):
        missing.append("Raises: as a block")
    if raises(value) and "Raises:" not in doc:
        missing.append("Raises")
    assert missing == []


def shown_by_class(value) -> bool:
    of_models = value.__module__.startswith("tengen.models.") and inspect.isfunction(value)  # each is a size of a class
    return value.__qualname__.partition(".")[0] in {kind.__name__ for kind in CLASSES} or value is RNG.draw or of_models


def raises(value) -> bool:
    """Whether it raises something itself, rather than what it calls."""
    if not inspect.isfunction(value):
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def test_names_without_an_example_are_still_without():
    names = {param.values[0].__name__: param.values[0] for param in PUBLIC}
    assert {name for name in NO_EXAMPLE if name not in names or ">>>" in doc_of(names[name])} == set()
