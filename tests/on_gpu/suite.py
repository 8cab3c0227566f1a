"""A pytest plugin: runs the tests with gpu0 as the default device, and fails if the GPU was not what ran them.

With TENGEN_XPU=gpu in the environment, tests/conftest.py calls `begin`. The driver is the test double, unless TENGEN_CUDA_LIBRARY names
another one. Tests that cannot run so are rows of `left_out.py`. Ops that run on the CPU in place of the GPU are rows of `by_cpu.py`.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
from double import library

from .by_cpu import BY_CPU
from .left_out import LEFT_OUT

TESTS = Path(__file__).resolve().parent.parent
launches = 0
missing: Counter[str] = Counter()  # what had no kernel, and in how many Plans


def begin(config):
    """Before tengen is imported: choose the driver. Its double looks for races in one launch of those that are alike."""
    os.environ.setdefault("TENGEN_CUDA_LIBRARY", library.library())
    os.environ.setdefault("DOUBLE_RACES", "1")
    config.pluginmanager.register(sys.modules[__name__])
    pytest.raises = raises


# -- which tests run ---------------------------------------------------------------------------------------------------


def is_whole(config):
    """Whether nobody selected tests."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("keyword")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out the tests of the table. A row that means no test is an error."""
    patterns = {pattern: 0 for _, rows in LEFT_OUT for pattern in rows}
    kept, left = [], []
    for item in items:
        found = [p for p in patterns if is_meant(item, p)]
        for pattern in found:
            patterns[pattern] += 1
        (left if found else kept).append(item)
    stale = [pattern for pattern, count in patterns.items() if not count]
    if stale and is_whole(config):
        raise pytest.UsageError(f"tests/on_gpu/left_out.py: no test is meant by {', '.join(stale)}")
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def is_meant(item, pattern):
    """A pattern is a folder, a file, or a file with `::test`, which means all its cases; * stands for anything."""
    name = f"{item.path.relative_to(TESTS)}::{item.nodeid.partition('::')[2]}"
    if pattern.endswith("/"):
        return name.startswith(pattern)
    return any(fnmatch.fnmatchcase(part, pattern) for part in (name, name.partition("[")[0], name.partition("::")[0]))


# -- errors ------------------------------------------------------------------------------------------------------------


class AtOnce:
    """`pytest.raises`, in whose block an operation itself raises its error, as on a CPU. Elsewhere it would be raised at the next wait."""

    def __init__(self, expected):
        self.expected = expected

    def __enter__(self):
        set_sync(True)
        return self.expected.__enter__()

    def __exit__(self, *error):
        set_sync(False)
        return self.expected.__exit__(*error)


def raises(expected, *args, **kwargs):
    if args and callable(args[0]):
        with raises(expected) as found:
            args[0](*args[1:], **kwargs)
        return found
    return AtOnce(raises_usually(expected, *args, **kwargs))


raises_usually = pytest.raises


def set_sync(on):
    if "tengen" in sys.modules:
        sys.modules["tengen"].config.sync = on


def wait():
    """Raise what has failed on the GPU."""
    if "tengen" in sys.modules:
        sys.modules["tengen"].device.synchronize("gpu0")


# -- what ran where ----------------------------------------------------------------------------------------------------


def pytest_sessionstart(session):
    if is_controller(session.config):
        return
    from tengen.core import build

    make = build.plan_by_cpu

    def plan_by_cpu(op, program, views, why):
        missing[why.partition(" has no ")[0]] += 1
        with warnings.catch_warnings():  # tests may take warnings for errors
            warnings.simplefilter("ignore")
            return make(op, program, views, why)

    build.plan_by_cpu = plan_by_cpu


def is_controller(config):
    """Whether other processes run the tests."""
    return not hasattr(config, "workerinput") and bool(getattr(config.option, "dist", "no") != "no")


@pytest.fixture(autouse=True)
def contract():
    """Nothing is left that has failed on the GPU, and the test kept to the driver's contract."""
    yield
    wait()
    if library.is_driver():
        found = library.double().problems()
        library.double().forget()
        assert found == []


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    global launches
    if not is_controller(session.config) and library.is_driver():
        launches = library.double().count("launches")
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["on_gpu"] = [launches, dict(missing)]
    elif failures(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    global launches
    if hasattr(node, "workeroutput"):
        count, names = node.workeroutput["on_gpu"]
        launches += count
        missing.update(names)


def failures(config):
    """What is wrong with the run as a whole."""
    found = []
    if library.is_driver() and not launches and not config.getoption("collectonly"):
        found.append("no kernel ran on the GPU")
    found += [f"{name} ran on the CPU: write its kernel" for name in sorted(missing.keys() - BY_CPU.keys())]
    if is_whole(config):
        found += [
            f"{name} has a kernel now: take it out of tests/on_gpu/by_cpu.py"
            for name in sorted(BY_CPU.keys() - missing.keys())
        ]
    return found


def pytest_terminal_summary(terminalreporter, config):
    write = terminalreporter.write_line
    terminalreporter.section("on the GPU")
    if library.is_driver():
        write(f"{launches} launches of kernels on the double of the driver")
    write(f"{sum(missing.values())} Plans of {len(missing)} ops ran on the CPU, as the GPU has no kernels for them:")
    for name, count in missing.most_common():
        write(f"  {count:5} {name}: {BY_CPU.get(name, 'NEW')}")
    for line in failures(config):
        write(f"FAILED {line}", red=True)
