"""Numbers that Python computes anew at each step, such as a learning rate or the place in a sequence of random numbers.

An op takes them like any other number. A traced function that runs without Python reads them again at each call, while
all other numbers keep their values from the first call.
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
    """The numbers that `read()` gives now. It is called once per step, and may count on that.

    Pass them to ops unchanged: what Python computes from them is a number like any other.
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
    """How to read a number again: the function, and the position among its numbers. None for a number that stays."""
    return getattr(number, "source", None)
