"""How algorithms of convolutions and products are chosen, for programs that say it: tengen generates its kernels and has none to choose
from, and they give the same numbers in every run. So whatever is set here changes nothing.
"""

from __future__ import annotations

import enum

from ..base.usage import deprecated

__all__ = [
    "Strategy",
    "get_conv_execution_strategy",
    "get_execution_strategy",
    "set_conv_execution_strategy",
    "set_execution_strategy",
]


class Strategy(enum.Flag):
    """How algorithms are chosen: by rules, by trying, only those that are reproducible. They combine, `PROFILE | REPRODUCIBLE`.

    >>> F.debug_param.Strategy.PROFILE | F.debug_param.Strategy.REPRODUCIBLE == F.debug_param.Strategy(6)
    True
    """

    HEURISTIC = enum.auto()
    PROFILE = enum.auto()
    REPRODUCIBLE = enum.auto()
    OPTIMIZED = enum.auto()


_valid_string_option = {kind.name: kind for kind in (Strategy.HEURISTIC, Strategy.PROFILE, Strategy.REPRODUCIBLE)}
_strategy = Strategy.HEURISTIC


def get_execution_strategy() -> Strategy:
    """What set_execution_strategy has set, HEURISTIC at first.

    Returns: a Strategy.

    >>> type(F.debug_param.get_execution_strategy()).__name__
    'Strategy'
    """
    return _strategy


def set_execution_strategy(option: str | Strategy) -> None:
    """Say how algorithms are to be chosen, which changes nothing.

    Args:
        option: "HEURISTIC", "PROFILE", "REPRODUCIBLE" or several, joined by "_"; or a Strategy.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is neither.

    >>> F.debug_param.set_execution_strategy("HEURISTIC_REPRODUCIBLE")
    >>> F.debug_param.Strategy.REPRODUCIBLE in F.debug_param.get_execution_strategy()
    True
    """
    global _strategy
    if isinstance(option, Strategy):
        _strategy = option
        return
    if not isinstance(option, str):
        raise TypeError(f"set_execution_strategy: option must be a name or a Strategy, got {type(option).__name__}")
    chosen = Strategy(0)
    for name in option.split("_"):
        if name not in _valid_string_option:
            raise ValueError(
                f'set_execution_strategy: option must be one of {", ".join(map(str, _valid_string_option))}, or several joined by "_", got {option!r}'
            )
        chosen |= _valid_string_option[name]
    # As trying excludes rules.
    _strategy = chosen & ~Strategy.HEURISTIC if Strategy.PROFILE in chosen else chosen


def get_conv_execution_strategy() -> Strategy:
    """The old name of get_execution_strategy.

    Returns: a Strategy.
    """
    _warn("get")
    return get_execution_strategy()


def set_conv_execution_strategy(option: str | Strategy) -> None:
    """The old name of set_execution_strategy.

    Args:
        option: see set_execution_strategy.
    """
    _warn("set")
    set_execution_strategy(option)


def _warn(verb: str) -> None:
    deprecated(f"{verb}_conv_execution_strategy", f"{verb}_execution_strategy")
