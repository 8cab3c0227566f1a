"""The handle of a registered hook, under the name that MegEngine programs import."""

from ..module.hook import HookHandler

__all__ = ["HookHandler"]
