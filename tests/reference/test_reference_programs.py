"""Every program gives with tengen what it gave with the reference; README.md says how that was recorded."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import replay

# A name that does not exist is never the refusal that a program expects, unless the program asks for one.
ACCIDENTS = (AttributeError, NameError, ImportError, NotImplementedError)

# set_value, reset_zero and zero_grad are deprecated in the reference; whether tengen says so is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = [
    pytest.param(program, expected, id=f"{family}-{number}")
    for family in replay.FAMILIES
    for number, (program, expected) in enumerate(replay.recorded(family))
]


@pytest.mark.parametrize("family", replay.FAMILIES)
def test_the_recording_is_of_the_programs(family: str) -> None:
    assert [program for program, _ in replay.recorded(family)] == replay.programs(family)


@pytest.mark.parametrize(("program", "expected"), ROWS)
def test_program(program: str, expected: Any, names: dict[str, Any]) -> None:
    if isinstance(expected, dict) and "raises" in expected:
        with pytest.raises(Exception) as caught:
            replay.encode(replay.evaluate(program, names), names)
        assert _is_refusal(caught.value, expected["raises"]), f"{program}\nraised {caught.value!r}, expected {expected}"
        return
    found = replay.encode(replay.evaluate(program, names), names)
    difference = replay.difference(found, expected)
    assert difference is None, f"{program}\n{difference}"


def _is_refusal(error: Exception, expected: str) -> bool:
    """Whether an exception does for the recorded one.

    The reference reports many wrong arguments by AssertionError or RuntimeError from its core; there any refusal will
    do. Where it chose a class (KeyError, ValueError, …), tengen raises that class, or ValueError or TypeError.
    """
    chosen = getattr(builtins, expected, None)
    if chosen in (None, AssertionError, RuntimeError):
        return not isinstance(error, ACCIDENTS)
    return isinstance(error, (chosen, ValueError, TypeError))


def test_comparison_sees_differences() -> None:
    tensor = {"Tensor": {"shape": [2], "values": [1.0, 2.0]}, "dtype": "float32"}
    assert replay.difference(tensor, tensor) is None
    for change in (
        {"Tensor": {"shape": [2], "values": [1.0, 2.001]}, "dtype": "float32"},
        {"Tensor": {"shape": [1, 2], "values": [1.0, 2.0]}, "dtype": "float32"},
        {"Tensor": {"shape": [2], "values": [1.0, 2.0]}, "dtype": "float16"},
        {"Parameter": {"shape": [2], "values": [1.0, 2.0]}, "dtype": "float32"},
        {"Tensor": {"shape": [2], "values": [1, 2]}, "dtype": "float32"},
        {"Tensor": {"shape": [2], "values": [1.0, float("nan")]}, "dtype": "float32"},
        {"raises": "ValueError"},
        None,
    ):
        assert replay.difference(change, tensor) is not None, change
    assert replay.difference([1.0, "a"], [1.0, "b"]) is not None
    assert replay.difference(float("nan"), float("nan")) is None
    assert not _is_refusal(NameError("F.foo"), "RuntimeError")
    assert not _is_refusal(KeyError("x"), "IndexError")
