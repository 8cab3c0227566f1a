"""Names of what a program computes, in scopes: what graphs are annotated with."""

from ..base.naming import AutoNaming, pop_scope, push_scope, record_scope

__all__ = ["AutoNaming", "pop_scope", "push_scope", "record_scope"]
