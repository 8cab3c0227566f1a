"""What the tests of the documents share: the text that a program printed, compared up to white space."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest


def squeeze(text: str) -> str:
    """The text with every run of white space made one space, and none beside a bracket."""
    text = " ".join(text.split())
    return re.sub(r"(?<=[\[(]) | (?=[\])])", "", text)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., bool]:
    """`printed(*lines)` says whether the test printed exactly these lines since it last asked, up to white space."""

    def check(*lines: str) -> bool:
        found, expected = squeeze(capsys.readouterr().out), squeeze("\n".join(lines))
        assert found == expected
        return True

    return check
