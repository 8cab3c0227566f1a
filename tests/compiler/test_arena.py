"""Places of temporaries in one block of memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tengen.compiler.schedule.memory import arena
from tengen.compiler.schedule.memory.arena import LARGE, Temporary, place

TIMES = 12
TEMPORARIES = st.lists(
    st.builds(
        lambda size, first, length: Temporary(size, first, min(first + length, TIMES - 1)),
        st.sampled_from([0, 1, 64, 1000, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE, 20 * LARGE]),
        st.integers(0, TIMES - 1),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


def moved(*bytes: int) -> list[int]:
    """How many have been touched before each time, from those of each."""
    return [sum(bytes[:time]) for time in range(len(bytes) + 1)]


@given(TEMPORARIES)
def test_what_is_alive_together_lies_apart(temporaries):
    offsets, whole = place(temporaries, moved(*[5 * LARGE] * TIMES))
    for i, (a, start) in enumerate(zip(temporaries, offsets, strict=True)):
        assert start % 64 == 0 and start >= 0 and start + a.size <= whole
        for b, other in zip(temporaries[:i], offsets[:i], strict=True):
            together = a.first <= b.last and b.first <= a.last
            assert not together or start + a.size <= other or other + b.size <= start


@given(TEMPORARIES)
def test_places_apart_in_time_take_no_more_memory(temporaries):
    """Than the lowest ones do, which none leaves where nothing has been moved between."""
    lowest, whole = place(temporaries, [0] * (TIMES + 1))
    spread, same = place(temporaries, moved(*[5 * LARGE] * TIMES))
    assert same == whole == max(start + t.bytes for start, t in zip(lowest, temporaries, strict=True))
    assert all(start + t.bytes <= whole for start, t in zip(spread, temporaries, strict=True))


@pytest.mark.parametrize(
    "size, bytes, apart", [(LARGE, LARGE, True), (LARGE - 64, LARGE, False), (LARGE, arena.FORGOTTEN, False)]
)
def test_a_large_temporary_lies_where_nobody_was_for_a_while(size, bytes, apart):
    """Of two places the one that has not been used just before; small ones take the lowest, and so do all where much has been moved since."""
    temporaries = [Temporary(2 * size, 0, 0), Temporary(size, 3, 3), Temporary(size, 4, 4)]
    offsets, whole = place(temporaries, moved(*[bytes] * 5))
    assert whole == 2 * size
    assert (offsets[1] != offsets[2]) is apart
