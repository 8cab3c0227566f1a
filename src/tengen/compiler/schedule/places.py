"""Where values lie while a Program is scheduled, and where they should lie."""

from __future__ import annotations

from typing import NamedTuple

from ..program import Value
from ..view import View


class Wanted(NamedTuple):
    """A reduction as a sum over rows: of the value `number` of the code, or with `degree` of its distances from the row
    value `about`, or of their squares."""

    number: int
    degree: int = 0
    about: Value | None = None


class Taken(NamedTuple):
    """Where the sums that a reduction wants are: in `buffer`. Each of `tiles` of the rows has `slots` numbers per
    channel; those of this sum begin at `slot`, and the count of rows is the last one."""

    wanted: Wanted
    buffer: int
    tiles: int
    slots: int
    slot: int
    shifted: bool


class Destination(NamedTuple):
    """How a result should lie. whole: the output of a Concat whose buffer it should lie in."""

    view: View
    whole: Value | None = None


class Part(NamedTuple):
    """A value's place in the output `whole` of a Concat: from the element `starts` on."""

    whole: Value
    starts: tuple[int, ...]


class Location(NamedTuple):
    """Where a value lies: which buffer (None: a running number, no memory) and how."""

    buffer: int | None
    view: View


#: What `locate` gives for a value that every kernel computes for itself.
UNIFORM = Location(None, View((), ()))
