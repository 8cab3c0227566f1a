"""dir() of the packages that programs work with lists what they have, and everything there says what it does."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import tengen
import tengen.array_api
import tengen.functional as F
import tengen.module as M
import tengen.optimizer as optim
from tengen.functional import external as functions
from tengen.module import external, qat, quantized

PACKAGES = [F, M, optim, M.init, F.nn, F.loss, F.vision, tengen.random, tengen.autodiff, tengen.jit, tengen.utils]


@pytest.mark.parametrize(
    "package", [*PACKAGES, tengen.array_api, tengen.array_api.linalg], ids=lambda package: package.__name__
)
def test_every_public_name_is_listed_and_described(package):
    assert set(package.__all__) <= set(dir(package))
    assert len(set(package.__all__)) >= len(package.__all__) - 1  # `normalize` is in two modules
    numbers = [name for name in package.__all__ if isinstance(getattr(package, name), (float, str, type(None)))]
    assert [
        name for name in package.__all__ if name not in numbers and not inspect.getdoc(getattr(package, name))
    ] == []


def public(package):
    """What the modules of a package list themselves."""
    return {
        f"{module.__name__}.{name}"
        for module in vars(package).values()
        if isinstance(module, ModuleType) and module.__name__.startswith(package.__name__ + ".")
        for name in getattr(module, "__all__", ())
    }


def test_layers_have_a_docstring_of_their_own():
    found = [getattr(M, name) for name in M.__all__]
    layers = [layer for layer in found if isinstance(layer, type) and issubclass(layer, M.Module)]
    assert len(layers) > 30
    assert [layer.__name__ for layer in layers if not vars(layer).get("__doc__")] == []


def test_all_layers_and_functions_of_the_modules_are_there():
    elsewhere = {name for module in (M.init, external, qat, quantized) for name in dir(module)}
    assert {name.rpartition(".")[2] for name in public(M)} - elsewhere <= set(dir(M))
    modules = F.loss, F.vision, F.metric, F.inplace, F.distributed, F.quantized, F.debug_param, functions
    elsewhere = {name for module in modules for name in dir(module)}
    assert {name.rpartition(".")[2] for name in public(F)} <= set(dir(F)) | elsewhere
