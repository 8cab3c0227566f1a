"""Of `megengine.core.tensor`."""

__all__: list[str] = []
