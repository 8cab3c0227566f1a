"""tengen's own exceptions."""

from __future__ import annotations

from collections.abc import Sequence


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used by this process."""


class NoKernelError(NotImplementedError):
    """A device has no kernel for an op yet, or none of that size or dtype."""


class SerializationError(ValueError):
    """A file is damaged, cut short, not written by tengen, or holds something that is never loaded."""


class StateDictError(KeyError, ValueError):
    """A state dict does not fit the module or optimizer. The message lists every problem."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would show a message of several lines as one.
        return str(self.args[0]) if self.args else ""


class ExportError(ValueError):
    """A function cannot be written in another format, because the format cannot express what it does."""


def some(names: Sequence[object], most: int = 20) -> str:
    """Names for a message: the first of them, and how many more there are."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
