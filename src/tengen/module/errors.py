"""Where in a network an exception came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module import Module


def add_module_path(error: Exception, module: Module) -> None:
    """Say in the message of `error`, which leaves `module`, where it is from: `in Net: backbone.0.conv2 (Conv2d)`.

    Called by each module that the exception passes on its way out. The first is remembered on the exception, and each
    module further out writes the way to it anew, so that in the end the way starts from the outermost.
    """
    origin = getattr(error, "_tengen_origin", None)
    if origin is None:
        # Only where the message is one text: the argument of a KeyError is a key, those of an OSError are numbers that
        # programs look at.
        if len(error.args) != 1 or not isinstance(error.args[0], str) or str(error) != error.args[0]:
            return
        message, inner, path = error.args[0], module, ""
    else:
        message, inner, path, last = origin
        step = next((name for name, inside in module.named_modules() if inside is last), "")
        path = f"{step}.{path}".strip(".")
    error._tengen_origin = message, inner, path, module  # type: ignore[attr-defined]
    where = f"{type(module).__name__}: {path} ({type(inner).__name__})" if path else type(module).__name__
    error.args = (f"{message}\n  in {where}",)
