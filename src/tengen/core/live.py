"""Numbers that Python works out anew at each step, such as a learning rate or the place in a sequence of random numbers.

An op gets them like any other number. A traced function that runs without Python reads them again at each of its calls, while
all other numbers keep the value of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._rt import recording

Numbers = Sequence[float]


class _LiveFloat(float):
    source: tuple[Callable[[], Numbers], int]


class _LiveInt(int):
    source: tuple[Callable[[], Numbers], int]


def live(read: Callable[[], Numbers]) -> Numbers:
    """The numbers that `read()` gives now; it is called once at each step, and may count that.

    Give them to ops as they are: what Python computes of them is a number like any other.
    """
    numbers = read()
    if recording() is None:
        return numbers
    tagged = []
    for i, number in enumerate(numbers):
        made = _LiveFloat(number) if isinstance(number, float) else _LiveInt(number)
        made.source = (read, i)
        tagged.append(made)
    return tuple(tagged)


def plain(number: float) -> float:
    """The number alone."""
    if source_of(number) is None:
        return number
    return float(number) if isinstance(number, float) else int(number)


def source_of(number: float) -> tuple[Callable[[], Numbers], int] | None:
    """How to read a number again: the function, and which of its numbers it is; None for one that stays."""
    return getattr(number, "source", None)
