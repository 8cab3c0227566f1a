"""The dtype of every result is the one that the reference gave, for every operand dtype and every pair.

Where the reference refuses (`!`: for instance uint8 with int32, or sigmoid of integers) tengen is free.
"""

from __future__ import annotations

from typing import Any

import dtype_rows
import pytest
import replay

RECORDED = replay.recorded("dtypes")


def test_the_recording_is_of_the_rows() -> None:
    assert [row for row, _ in RECORDED] == dtype_rows.ROWS


@pytest.mark.parametrize(("row", "expected"), RECORDED)
def test_dtypes(row: str, expected: str, names: dict[str, Any]) -> None:
    wrong = {
        operands: f"{found} instead of {wanted}"
        for operands, wanted in zip(dtype_rows.operands(row), expected.split(), strict=True)
        if wanted != "!" and (found := dtype_rows.result(row, operands, names)) != wanted
    }
    assert not wrong, f"{row}: {wrong}"
