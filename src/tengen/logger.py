"""Loggers of tengen and of programs that use it: short lines on stderr, and in a file if one is set."""

from __future__ import annotations

import logging
import sys
from typing import Any

_MARKS = {logging.DEBUG: "DBG", logging.WARNING: "WRN", logging.ERROR: "ERR", logging.CRITICAL: "CRT"}
_COLOURS = {
    logging.DEBUG: "\x1b[34m",
    logging.WARNING: "\x1b[1;31m",
    logging.ERROR: "\x1b[1;4;31m",
    logging.CRITICAL: "\x1b[1;4;31m",
}
_RESET = "\x1b[0m"

_all_loggers: list[logging.Logger] = []
_file: logging.Handler | None = None
_level: int = logging.INFO


class LogFormatter(logging.Formatter):
    """`20 19:22:30 WRN message`: day and time, a mark unless the level is INFO; in a file also the place in the source.

    Args:
        colour: use terminal colours.
        place: add line, file and logger.
    """

    def __init__(self, colour: bool = False, place: bool = False):
        super().__init__(datefmt="%d %H:%M:%S")
        self._colour, self._place = colour, place

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, self.datefmt)
        if self._place:
            time = f"[{time} {record.lineno}@{record.filename}:{record.name}]"
        mark = _MARKS.get(record.levelno, "")
        text = " ".join(filter(None, (mark, record.getMessage())))
        if self._colour:
            time = f"\x1b[32m{time}{_RESET}"
            text = _COLOURS.get(record.levelno, "") + text + _RESET
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{time} {text}"


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg] # not subscriptable in Python 3.10
    """Writes to what sys.stderr is at the time of the message, so that redirection works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def get_logger(name: str | None = None, formatter: type[logging.Formatter] = LogFormatter) -> logging.Logger:
    """The logger of that name, ready to print.

    Args:
        name: usually `__name__`; None for the root logger.
        formatter: class of the formatter for messages on stderr.
    """
    logger = logging.getLogger(name)
    if logger in _all_loggers:
        return logger
    logger.propagate = False
    logger.setLevel(_level)
    handler = _Stderr()
    handler.setFormatter(LogFormatter(colour=sys.stderr.isatty()) if formatter is LogFormatter else formatter())
    logger.addHandler(handler)
    if _file is not None:
        logger.addHandler(_file)
    _all_loggers.append(logger)
    return logger


def set_log_file(fout: Any, mode: str = "a") -> None:
    """Write messages of all loggers to a file too.

    Args:
        fout: path of the file, or a file object open for text; None ends writing to the last one.
        mode: how the path is opened.
    """
    global _file
    new: logging.Handler | None = None
    if fout is not None:
        new = (
            logging.StreamHandler(fout)
            if hasattr(fout, "write")
            else logging.FileHandler(fout, mode=mode, encoding="utf-8")
        )
        new.setFormatter(LogFormatter(place=True))
    for logger in _all_loggers:
        if _file is not None:
            logger.removeHandler(_file)
        if new is not None:
            logger.addHandler(new)
    if _file is not None:
        _file.close()
    _file = new


def set_log_level(level: int | str, update_existing: bool = True) -> int:
    """Set the least level that is shown, a number or a name such as "WARNING"; returns the one before.

    Args:
        update_existing: also for loggers that have been made already.

    Raises ValueError for an unknown name.
    """
    global _level
    number = logging.getLevelName(level) if isinstance(level, str) else level
    if not isinstance(number, int):
        raise ValueError(f"unknown log level {level!r}; use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    before, _level = _level, number
    if update_existing:
        for logger in _all_loggers:
            logger.setLevel(_level)
    return before


def enable_debug_log() -> None:
    """Show debug messages."""
    set_log_level(logging.DEBUG)
