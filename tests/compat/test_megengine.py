"""`tengen.compat.megengine`: programs written for MegEngine run as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

import tengen
import tengen.compat.megengine
from tengen.compat.megengine import table
from tengen.compat.megengine.earlier import REPLACED
from tengen.compat.megengine.missing import Missing, MissingName

RUN = ("-m", "tengen.compat.megengine")


def python(*arguments: object, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What a fresh Python gives, run in `folder`."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **settings}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


# -- names


def test_every_module_of_megengine_can_be_imported():
    assert len(table.modules()) > 200
    for place in table.modules():
        name = f"megengine.{place}".strip(".")
        assert import_module(name).__name__ == name
        assert dir(import_module(name))


def test_every_name_of_megengine_can_be_imported():
    found, missing = 0, 0
    for place, names in table.modules().items():
        module = import_module(f"megengine.{place}".strip("."))
        for name in names:
            value = getattr(module, name)
            found, missing = found + 1, missing + isinstance(value, Missing)
    assert found > 3000
    assert missing < found


def test_names_are_those_of_tengen():
    import megengine
    import megengine.functional as F
    import megengine.module.conv
    from megengine.module.adaptive_pooling import AdaptiveAvgPool2d

    assert F.relu is tengen.functional.relu
    assert F.nn.conv2d is tengen.functional.conv2d
    assert megengine.module.conv.Conv2d is megengine.module.Conv2d is tengen.module.Conv2d
    assert AdaptiveAvgPool2d is tengen.module.AdaptiveAvgPool2d
    assert megengine.functional is sys.modules["megengine.functional"]
    assert megengine.__version__.split(".")[:2] == ["1", "13"]


def test_functions_of_the_runtime_are_the_same_in_every_module_that_imports_them():
    from megengine.core._imperative_rt import core2

    places = [place for place, names in table.modules().items() if names.get("apply") == "core._imperative_rt.core2"]
    assert {"functional.inplace", "functional.quantized", "functional.vision", "module.rnn", "random.rng"} <= set(
        places
    )
    assert {place for place in places if import_module(f"megengine.{place}").apply is not core2.apply} == set()
    assert import_module("megengine.functional.tensor").dtype_promotion is core2.dtype_promotion


def test_tensor_is_the_function_and_a_module():
    import megengine
    import megengine.tensor as imported
    from megengine.tensor import Parameter, Tensor

    assert megengine.tensor is imported is tengen.tensor
    assert (Tensor, Parameter) == (tengen.Tensor, tengen.Parameter)
    assert isinstance(sys.modules["megengine.tensor"], ModuleType)
    assert isinstance(megengine.core.tensor, ModuleType)


def test_a_star_gives_the_public_names():
    scope: dict[str, object] = {}
    exec("from megengine.functional import *", scope)
    assert scope["relu"] is tengen.functional.relu
    assert not [name for name in scope if name.startswith("_") and name != "__builtins__"]


@pytest.mark.parametrize("old", REPLACED)
def test_a_name_of_earlier_versions_says_what_took_its_place(old):
    place, _, name = f"megengine.{old}".rpartition(".")
    new = f"megengine.{REPLACED[old]}"
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'; MegEngine 1.13 .* use {re.escape(new)}$"):
        getattr(import_module(place), name)
    import megengine as mge

    assert callable(attrgetter(REPLACED[old])(mge))


def test_names_that_megengine_does_not_have():
    import megengine.functional as F

    with pytest.raises(AttributeError, match=r"^module 'megengine\.functional' has no attribute 'no_such'$"):
        F.no_such  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'no_such' from 'megengine\.functional'"):
        exec("from megengine.functional import no_such")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'megengine\.no_such'$"):
        import_module("megengine.no_such")
    assert not hasattr(F, "no_such")


def test_settings_are_those_of_tengen():
    import megengine as mge

    before = tengen.config.async_level
    try:
        mge.config.async_level = 1
        assert tengen.config.async_level == mge.config.async_level == mge.core._config.async_level == 1
        mge.core._imperative_rt.core2.config_async_level(0)
        assert mge.config.async_level == 0
    finally:
        tengen.config.async_level = before
    with mge.config._override(compute_mode="float32"):
        assert mge.config._compute_mode == "float32"
    assert mge.config._compute_mode == "default"


def test_what_a_program_sets_is_found_there(monkeypatch):
    import megengine.functional as F

    monkeypatch.setattr(F, "of_the_program", 3, raising=False)
    assert F.of_the_program == 3
    function = F.relu
    monkeypatch.setattr(F, "relu", len)
    assert F.relu is tengen.functional.relu is len
    monkeypatch.undo()
    assert F.relu is tengen.functional.relu is function
    assert not hasattr(F, "of_the_program")


# -- names that are missing


def test_a_missing_name_fails_where_it_is_used():
    name = Missing("megengine.functional.nvof")
    for use in (
        lambda: name(1),
        lambda: name.Mode.FAST(),
        lambda: bool(name),
        lambda: list(name),
        lambda: name + 1,
        lambda: name[0],
    ):
        with pytest.raises(MissingName, match=r"does not have megengine\.functional\.nvof.* yet; please report it"):
            use()
    with pytest.raises(MissingName, match=r"megengine\.functional\.nvof\.Mode\.FAST yet"):
        name.Mode.FAST()


def test_a_missing_name_may_stand_in_annotations_and_signatures_and_be_derived_from():
    name = Missing("megengine.module.qat.Conv2d")

    def function(x: name | None = None, mode: object = name.Mode.FAST) -> list[name]:
        return [x, mode]

    assert function()[0] is None
    assert not isinstance(3, name)
    assert not isinstance(3, (str, name))
    assert not issubclass(int, name)

    class Derived(name):
        pass

    with pytest.raises(MissingName, match=r"megengine\.module\.qat\.Conv2d yet"):
        Derived()


# -- running programs

SCRIPT = '''\
"""The program's own docstring."""
import pickle, sys
from helper import VALUE

class Net:
    pass

print(__name__, __doc__, __file__, __package__, getattr(__spec__, "name", None), type(__loader__).__name__, __builtins__, __annotations__)
print(sys.argv, sys.path[0], VALUE, sys.modules["__main__"].Net is Net)
print(type(pickle.loads(pickle.dumps(Net()))) is Net, Net.__module__, pickle.dumps(Net(), 0))
print(sorted(name for name in globals() if name != "__cached__"))
def fail():
    raise ValueError("wrong")
if "exit" in sys.argv:
    sys.exit(3)
if "hook" in sys.argv:
    import traceback
    sys.excepthook = lambda kind, error, trace: print(kind, len(traceback.extract_tb(trace)), error.__traceback__ is trace)
fail()
'''


@pytest.fixture
def program(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "script.py").write_text(SCRIPT)
    (tmp_path / "inner" / "helper.py").write_text("VALUE = 7\n")
    (tmp_path / "inner" / "wrong.py").write_text("x = (1,\n")
    return tmp_path


@pytest.mark.parametrize("arguments", [["a", "--b"], ["exit", "3"], ["hook"]], ids=str)
def test_a_script_runs_as_with_plain_python(program, arguments):
    plain = python("inner/script.py", *arguments, folder=program)
    found = python(*RUN, "inner/script.py", *arguments, folder=program)
    assert plain.returncode == (3 if arguments[0] == "exit" else 1)
    assert (found.returncode, found.stdout, found.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_module_runs_as_with_plain_python(program):
    plain = python("-m", "script", "a", folder=program / "inner")
    found = python(*RUN, "-m", "script", "a", folder=program / "inner")
    assert (found.returncode, found.stdout, found.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert "ValueError: wrong" in found.stderr


def test_a_syntax_error_is_shown_as_with_plain_python(program):
    plain, found = python("inner/wrong.py", folder=program), python(*RUN, "inner/wrong.py", folder=program)
    assert (found.returncode, found.stderr) == (plain.returncode, plain.stderr)


def test_without_a_program_the_usage_is_shown(tmp_path):
    found = python(*RUN, folder=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("usage: python -m tengen.compat.megengine script.py")
    assert python(*RUN, "nowhere.py", folder=tmp_path).returncode == 2


CHILDREN = """\
import multiprocessing, pickle, sys
import megengine as mge
import megengine.functional as F

class Box:
    def __init__(self, x):
        self.x = x

def work(box, queue):
    queue.put((__name__, sys.argv, Box(F.relu(box.x))))

if __name__ == "__main__":
    for way in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(way)
        queue = context.Queue()
        child = context.Process(target=work, args=(Box(mge.tensor([-1.0, 2.0])), queue))
        child.start()
        name, argv, box = queue.get(timeout=60)
        child.join()
        print(way, name, argv, type(box) is Box, box.x.tolist(), child.exitcode)
"""


def test_children_have_it_too(tmp_path):
    (tmp_path / "script.py").write_text(CHILDREN)
    found = python(*RUN, "script.py", "a", folder=tmp_path)
    rows = [line.split(" ", 2) for line in found.stdout.splitlines()]
    assert found.stderr == ""
    assert [row[0] for row in rows] == ["spawn", "forkserver", "fork"]
    assert [row[1] for row in rows] == ["__mp_main__", "__mp_main__", "__main__"]
    assert {row[2] for row in rows} == {"['script.py', 'a'] True [0.0, 2.0] 0"}


def test_importing_it_is_enough(tmp_path):
    (tmp_path / "script.py").write_text(
        "import tengen.compat.megengine\nimport megengine.module as M\nprint(M.ReLU())\n"
    )
    assert python("script.py", folder=tmp_path).stdout == "ReLU()\n"


def test_it_does_not_take_the_place_of_megengine_that_is_imported(tmp_path):
    (tmp_path / "megengine.py").write_text("")
    (tmp_path / "script.py").write_text("import megengine\nimport tengen.compat.megengine\n")
    done = python("script.py", folder=tmp_path)
    assert "ImportError: MegEngine itself has been imported" in done.stderr


def test_pickles_that_name_classes_of_megengine():
    import pickle

    text = b"cmegengine.module.conv\nConv2d\n."
    assert pickle.loads(text) is tengen.module.Conv2d


def test_there_is_no_trace_of_it_in_tengen_itself():
    package = Path(tengen.__file__).parent
    for path in package.rglob("*.py"):
        if "compat" not in path.relative_to(package).parts:
            assert "compat" not in path.read_text(encoding="utf-8").replace("compatib", "").replace(
                "array-api-compat", ""
            ), path
