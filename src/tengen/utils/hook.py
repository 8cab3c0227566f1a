"""The handle of a registered hook, under the name that MegEngine programs import it by."""

from ..module.hook import HookHandler

__all__ = ["HookHandler"]
