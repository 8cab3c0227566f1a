"""Names of values, in scopes, with which graphs are annotated."""

from ..base.naming import AutoNaming, pop_scope, push_scope, record_scope

__all__ = ["AutoNaming", "pop_scope", "push_scope", "record_scope"]
