"""Lines of a sliding window against the plain definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tengen.compiler.schedule.convolutions.borders import Line

lines = st.builds(
    Line,
    size=st.integers(1, 9),
    base=st.integers(-40, 12),
    rows=st.integers(1, 30),
    row_step=st.integers(1, 12),
    taps=st.integers(1, 5),
    tap_step=st.sampled_from([-9, -3, -2, -1, 1, 2, 3, 9]),
)


def inside(line: Line, row: int) -> list[int]:
    return [tap for tap in range(line.taps) if 0 <= line.position(row, tap) < line.size]


@given(lines)
def test_cuts_see_what_each_row_sees(line: Line) -> None:
    found = [(cut.row + i, list(range(cut.tap, cut.tap + cut.taps))) for cut in line.cuts() for i in range(cut.rows)]
    assert found == [(row, inside(line, row)) for row in range(line.rows)]


@given(lines)
def test_with_margins_every_row_sees_all(line: Line) -> None:
    wide = line.within(*line.margins)
    assert [(cut.rows, cut.taps) for cut in wide.cuts()] == [(line.rows, line.taps)]


@given(lines)
def test_meetings_are_the_pairs_inside(line: Line) -> None:
    assert line.meetings == sum(len(inside(line, row)) for row in range(line.rows))
