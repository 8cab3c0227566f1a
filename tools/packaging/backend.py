"""The build backend: scikit-build-core's, after a look at whether anything can be compiled here."""

from __future__ import annotations

import sys

from compiler_check import missing
from scikit_build_core import build as _scikit
from scikit_build_core.build import *  # noqa: F403 - the names of this module are the backend


def get_requires_for_build_wheel(settings: dict[str, list[str] | str] | None = None) -> list[str]:
    """What scikit-build-core wants to have installed. Ends the build if it cannot succeed."""
    _check()
    return _scikit.get_requires_for_build_wheel(settings)


def get_requires_for_build_editable(settings: dict[str, list[str] | str] | None = None) -> list[str]:
    """As for a wheel."""
    _check()
    return _scikit.get_requires_for_build_editable(settings)


def _check() -> None:
    if sentence := missing():
        print(sentence, file=sys.stderr)
        raise SystemExit(1)
