"""Where in a network an exception came from."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from .module import Module


class _Origin:
    """Which module an exception comes from, and how far it has come. It lies on the exception, which others may keep, copy or
    send to another process: so it holds no module.
    """

    __slots__ = ("inner", "last", "message", "note", "path")

    def __init__(self, message: str | None, inner: str):
        self.message = message  # None: the arguments of the exception are no text
        self.inner = inner
        self.path = ""
        self.note = ""
        self.last: ref[Module] | None = None

    def __reduce__(self) -> tuple[type[_Origin], tuple[str | None, str]]:
        return _Origin, (self.message, self.inner)

    def passes(self, module: Module) -> str:
        """Where the exception comes from, seen from `module`, which it leaves now: "in backbone.0.conv2 (Conv2d) of Net"."""
        last = self.last() if self.last is not None else None
        if last is not None:
            step = next((name for name, inside in module.named_modules() if inside is last), "")
            self.path = f"{step}.{self.path}".strip(".")
        self.last = ref(module)
        outer = type(module).__name__
        return f"in {self.path} ({self.inner}) of {outer}" if self.path else f"in {outer}"


def add_module_path(error: Exception, module: Module) -> None:
    """Say in the message of `error`, which leaves `module`, where it is from: `in backbone.0.conv2 (Conv2d) of Net`.

    Called by each module that the exception passes on its way out. The first is remembered on the exception, and each
    module further out writes the way to it anew, so that in the end the way starts from the outermost. It becomes a part of
    a message that is one text, else a note: the argument of a KeyError is a key, those of an OSError are numbers that
    programs look at.
    """
    origin = error.__dict__.get("_tengen_origin")
    if origin is None:
        text = len(error.args) == 1 and isinstance(error.args[0], str) and str(error) == error.args[0]
        origin = error.__dict__["_tengen_origin"] = _Origin(error.args[0] if text else None, type(module).__name__)
    before, origin.note = origin.note, f"  {origin.passes(module)}"
    if origin.message is not None:
        object.__setattr__(error, "args", (f"{origin.message}\n{origin.note}",))  # classes of errors may be frozen
    else:
        notes = [note for note in error.__dict__.get("__notes__", ()) if note != before]
        error.__dict__["__notes__"] = [*notes, origin.note]  # what add_note does, from Python 3.11 on
