"""Parts of `megengine.core.tensor`."""

__all__: list[str] = []
